//! The Workload API as its client sees it: where it is, what it says, and whether to believe it.
//!
//! Most programs want [`X509Source`](crate::source::X509Source) or
//! [`JwtSource`](crate::source::JwtSource), which keep what they have up to date.
//! [`WorkloadApiClient`] is for those who ask once, or who watch by themselves.
//!
//! # What an answer means
//!
//! Sources open a stream again when it ends, and wait longer from time to time: up to half a second
//! the first time and up to thirty in the long run, drawn by lot. What the API answered decides
//! whether they do (SPIFFE Workload Endpoint section 6 and appendix A):
//!
//! | answer | meaning | what sources do |
//! |---|---|---|
//! | `InvalidArgument` | we are not understood | stop, and say so |
//! | `Unimplemented` | it serves no such thing | stop, and say so |
//! | `PermissionDenied` | there is no identity for this workload, or no more | withdraw what there is, and try again |
//! | any other, or no connection | the agent is away, or not ready | keep what there is, and try again |
//!
//! # What is believed
//!
//! What comes is judged before it is shown, and one bad part does not take the others down:
//!
//! | flaw | what becomes of it |
//! |---|---|
//! | an SVID that peers would not believe, or whose key is another's | the old one stays while it is valid |
//! | our own bundle is malformed | the old one stays |
//! | a federated bundle is malformed | nobody of that trust domain is believed |
//! | a key of a bundle is of no use | the other keys count |
//! | no SVID of a message can be used | all old ones stay while they are valid |
//! | a message without SVIDs, or more than the [`Limits`] | it is discarded |

mod bundles;
mod client;
mod codes;
mod decode;
mod driver;
mod endpoint;
mod feed;
mod flaw;
mod limits;
mod session;
mod tokens;
mod x509;

use std::io;
use std::time::Duration;

pub use bundles::BundleWatch;
pub use client::WorkloadApiClient;
pub use endpoint::{ENDPOINT_SOCKET, Endpoint, EndpointError};
pub use flaw::Flaw;
pub use limits::Limits;
pub use session::WhenDenied;
pub use tokens::AgentVerdict;
#[cfg(feature = "incubating-wit")]
pub use tokens::WitWatch;
pub use x509::X509Watch;

#[cfg(any(feature = "delegated-identity", feature = "incubating-broker"))]
pub(crate) use self::{
    client::refused,
    decode::{Decoded, Wanted, jwt_keys, x509_authorities},
    tokens::named,
};
#[cfg(feature = "incubating-broker")]
pub(crate) use self::{codes::meaning, endpoint::Io, session::Break};
pub(crate) use driver::{News, Settings, follow};
pub(crate) use feed::{Feed, JwtBundles, X509Bundles, X509Identities};

/// Why the Workload API gave no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkloadApiError {
    /// The stream ended. It is to be opened again.
    #[error("the agent ended the stream")]
    Ended,
    /// It is not known where the Workload API is.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// Whoever listens there does not speak gRPC.
    #[error("no gRPC connection over {endpoint}")]
    Handshake {
        /// Where.
        endpoint: Endpoint,
        /// What went wrong.
        source: tonic::transport::Error,
    },
    /// No audience was named for a token, or one with an empty name (SPIFFE Workload API section
    /// 6.2.1).
    #[error("a token needs an audience: name at least one, and none with an empty name")]
    NoAudience,
    /// A workload was named by the number of its process, which means nothing to an agent on another
    /// machine, and perhaps a stranger (SPIFFE Broker API section 3.1.2).
    #[error(
        "{endpoint} may be another machine, where the number of a process means another one: ask the \
         agent of this machine, or refer to the workload in another way"
    )]
    NotOnThisMachine {
        /// Who was to be asked.
        endpoint: Endpoint,
    },
    /// The Workload API answered with an error.
    #[error("the agent answered {:?}: {}", .0.code(), .0.message())]
    // Its words are told above, so it is no `source`.
    Refused(Box<tonic::Status>),
    /// The Workload API does not answer.
    #[error("{endpoint} has not answered within {waited:?}")]
    Silent {
        /// Who.
        endpoint: Endpoint,
        /// How long that was awaited.
        waited: Duration,
    },
    /// Nobody listens there.
    #[error("cannot connect to {endpoint}")]
    Unreachable {
        /// Where.
        endpoint: Endpoint,
        /// What the system says.
        source: io::Error,
    },
    /// The message was discarded as a whole, or no identity in it could be used.
    #[error("the agent sent nothing that can be used")]
    Unusable(#[from] Flaw),
}

impl WorkloadApiError {
    /// The reason as a word, for those who count.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Refused(status) if status.code() == tonic::Code::PermissionDenied => "denied",
            Self::NoAudience | Self::NotOnThisMachine { .. } | Self::Refused(_) => "refused",
            Self::Silent { .. } => "timeout",
            Self::Endpoint(_) | Self::Handshake { .. } | Self::Unreachable { .. } => "unreachable",
            Self::Unusable(_) => "unusable",
        }
    }
}

//! The Workload API as its client sees it: where it is, what it says, and whether to believe it.
//!
//! Most programs want [`X509Source`](crate::source::X509Source), which keeps a snapshot up to date.
//! [`WorkloadApiClient`] is for those who ask once, or who watch by themselves.

mod client;
mod decode;
mod driver;
mod endpoint;
mod session;

use std::io;

pub use client::{WorkloadApiClient, X509Watch};
pub use decode::Flaw;
pub use endpoint::{ENDPOINT_SOCKET, Endpoint, EndpointError};

pub(crate) use driver::{News, follow};

/// Why the Workload API gave no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkloadApiError {
    /// The stream ended. It is to be opened again.
    #[error("the Workload API ended the stream")]
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
    /// The Workload API answered with an error.
    #[error("the Workload API answered {:?}: {}", .0.code(), .0.message())]
    Refused(#[source] Box<tonic::Status>),
    /// Nobody listens there.
    #[error("cannot connect to {endpoint}: {source}")]
    Unreachable {
        /// Where.
        endpoint: Endpoint,
        /// What the system says.
        source: io::Error,
    },
    /// The message was discarded as a whole, or no identity in it could be used.
    #[error("the Workload API sent nothing that can be used: {0}")]
    Unusable(#[from] Flaw),
}

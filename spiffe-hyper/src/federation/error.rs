//! Why a bundle was not had from its endpoint.

use std::io;
use std::time::Duration;

use http::StatusCode;
use spiffe_core::bundle::DocumentError;
use spiffe_core::tls::HandshakeError;
use spiffe_core::{SpiffeId, TrustDomain};

use super::UrlError;

/// Why a bundle was not had from its endpoint. What was held before still is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// What came is no bundle.
    #[error("the endpoint does not serve a bundle")]
    Document(#[from] DocumentError),
    /// The server did not prove that it has the ID of the endpoint.
    #[error("no secure connection to the endpoint")]
    Handshake(#[from] HandshakeError),
    /// The server does not speak HTTP, or broke off.
    #[error("the endpoint does not answer by HTTP")]
    Http(#[from] hyper::Error),
    /// There are no web authorities to believe the server by.
    #[error("there are no web authorities on this machine")]
    NoRoots(#[source] TlsError),
    /// There is no bundle to believe the server by (SPIFFE Federation section 5.2.2.2).
    #[error(
        "there is no bundle yet to believe {0} by: tell the first one of its trust domain, or \
         federate with that as well"
    )]
    NoTrust(SpiffeId),
    /// The server leads to what is no bundle endpoint.
    #[error("the endpoint leads to where no endpoint may be")]
    Redirect(#[source] UrlError),
    /// The server leads elsewhere and does not say where.
    #[error("the endpoint leads elsewhere and does not say where to")]
    RedirectToNowhere,
    /// The bundle is older than the one that is held (SPIFFE Federation section 4.2).
    #[error(
        "the endpoint serves bundle {offered} of {trust_domain}, which is older than bundle {held} \
         that it served before; where that is meant, an administrator sets the bundle"
    )]
    Rollback {
        /// Whose bundle it is.
        trust_domain: TrustDomain,
        /// The number of the one that is held.
        held: u64,
        /// The number of the one that was offered.
        offered: u64,
    },
    /// The server has an answer, and it is no bundle.
    #[error("the endpoint answers {0}, and 200 is what a bundle comes with")]
    Status(StatusCode),
    /// It took too long, all in all.
    #[error("the fetch took longer than {0:?}")]
    TimedOut(Duration),
    /// The answer is longer than any bundle.
    #[error("the endpoint's answer is longer than {limit} bytes")]
    TooLarge {
        /// How much is read.
        limit: usize,
    },
    /// The server leads on and on.
    #[error("the endpoint leads elsewhere more than {limit} times")]
    TooManyRedirects {
        /// How often is followed.
        limit: usize,
    },
    /// Nobody answers there.
    #[error("cannot connect to {authority}")]
    Unreachable {
        /// Where.
        authority: String,
        /// What the system said.
        source: io::Error,
    },
    /// The server did not prove to the web's authorities that it is the host of the URL.
    #[error("the endpoint is not the host of its URL, or does not speak TLS")]
    Web(#[source] io::Error),
}

/// What the TLS library says, whose own types are no part of this interface.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TlsError(pub(super) rustls::Error);

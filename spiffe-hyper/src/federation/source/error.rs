//! Why federation does not begin, or does not do as it is told.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use spiffe_core::TrustDomain;

use crate::federation::FetchError;

/// Why federation does not begin, or does not do as it is told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FederationError {
    /// There are two relationships with one trust domain.
    #[error("{0} is federated with already")]
    AlreadyFederated(TrustDomain),
    /// The folder of the bundles cannot be had.
    #[error("cannot keep bundles in {}", path.display())]
    Directory {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The fetch that was asked for failed.
    #[error("no bundle fetched")]
    Fetch(#[source] Arc<FetchError>),
    /// The first bundle of an endpoint that serves itself is not told (SPIFFE Federation section
    /// 5.2.2.2).
    #[error(
        "nothing is told by which to believe the endpoint of {0} the first time: a bootstrap bundle \
         of {0} in the SPIFFE bundle format is needed"
    )]
    NoBootstrap(TrustDomain),
    /// There is no relationship with that trust domain.
    #[error("{0} is not federated with")]
    NotFederated(TrustDomain),
    /// Not all bundles came in time.
    #[error("no bundle within {waited:?} of {}", names(missing))]
    NotReady {
        /// How long.
        waited: Duration,
        /// Whose.
        missing: Vec<TrustDomain>,
    },
    /// It is our own trust domain, whose bundle comes from where our identity does.
    #[error("{0} is our own trust domain, and its bundle comes from where our identity does")]
    OwnTrustDomain(TrustDomain),
    /// The source was shut down.
    #[error("federation was shut down")]
    Shutdown,
}

fn names(domains: &[TrustDomain]) -> String {
    let names: Vec<_> = domains.iter().map(TrustDomain::to_string).collect();
    names.join(", ")
}

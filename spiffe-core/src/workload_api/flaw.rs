//! What can be wrong with what the Workload API sends.

use crate::bundle::{DocumentError, Skipped};
use crate::jwt::JwtError;
use crate::verify::VerifyError;
use crate::x509::X509Error;
use crate::{IdError, SpiffeId, TrustDomain};

/// What is wrong with a message of the Workload API, or with a part of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// The bundle that came with an SVID is malformed.
    #[error("the bundle of our own trust domain {trust_domain} is malformed")]
    Bundle {
        /// Whose bundle it is.
        trust_domain: TrustDomain,
        /// What is wrong with it.
        source: X509Error,
    },
    /// A revocation list is malformed.
    #[error("revocation list {index} is malformed")]
    Crl {
        /// Which one, counted from 0.
        index: usize,
        /// What is wrong with it.
        source: X509Error,
    },
    /// A JWT-SVID that has ended already.
    #[error("the token of {0} has expired")]
    Expired(SpiffeId),
    /// A federated bundle is malformed.
    #[error("the federated bundle of {trust_domain} is malformed")]
    FederatedBundle {
        /// Whose bundle it is.
        trust_domain: TrustDomain,
        /// What is wrong with it.
        source: X509Error,
    },
    /// A federated bundle names no trust domain.
    #[error("a federated bundle names no trust domain")]
    FederatedName(#[source] IdError),
    /// The SVID and what is said about it differ.
    #[error("the SVID is said to be {said} and is {found}")]
    ForeignSvid {
        /// The identity in the message, or the one that was asked for.
        said: SpiffeId,
        /// The identity in the certificate or token.
        found: SpiffeId,
    },
    /// The identity of an SVID is malformed.
    #[error("the identity of an SVID is malformed")]
    Id(#[source] IdError),
    /// The keys that a trust domain signs its tokens with are malformed.
    #[error("the keys of {trust_domain} are malformed")]
    Keys {
        /// Whose keys they are.
        trust_domain: TrustDomain,
        /// What is wrong with them.
        source: DocumentError,
    },
    /// There is no bundle in the message.
    #[error("the message holds no bundle")]
    NoBundle,
    /// There is no SVID in the message.
    #[error("the message holds no SVID")]
    NoSvid,
    /// A token is not for whom it was asked for.
    #[error("the token of {id} is not for the audience {audience:?}")]
    OtherAudience {
        /// Whose token it is.
        id: SpiffeId,
        /// For whom it was asked for.
        audience: Box<str>,
    },
    /// A key of a bundle is of no use, and the others count.
    #[error(transparent)]
    SkippedKey(Skipped),
    /// An SVID is malformed.
    #[error("the SVID {id} is malformed")]
    Svid {
        /// The identity in the message.
        id: SpiffeId,
        /// What is wrong with it.
        source: X509Error,
    },
    /// An SVID comes without the bundle that peers of its own trust domain are verified with, which
    /// is mandatory (SPIFFE Workload API sections 4.5 and 5.2.1).
    #[error("the SVID {0} comes without the bundle of its trust domain")]
    SvidWithoutBundle(SpiffeId),
    /// A token is malformed.
    #[error("the token of {id} is malformed")]
    Token {
        /// The identity in the message.
        id: SpiffeId,
        /// What is wrong with it.
        source: JwtError,
    },
    /// There are more bundles in the message than anyone needs.
    #[error("the message holds more than {limit} bundles")]
    TooManyBundles {
        /// How many are read.
        limit: usize,
    },
    /// There are more revocation lists in the message than anyone needs.
    #[error("the message holds more than {limit} revocation lists")]
    TooManyCrls {
        /// How many are read.
        limit: usize,
    },
    /// There are more SVIDs in the message than anyone needs.
    #[error("the message holds more than {limit} SVIDs")]
    TooManySvids {
        /// How many are read.
        limit: usize,
    },
    /// Peers would not believe the SVID.
    #[error("the SVID {id} would not be believed")]
    Unbelievable {
        /// The identity in the message.
        id: SpiffeId,
        /// What a peer would say.
        source: VerifyError,
    },
}

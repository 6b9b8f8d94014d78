//! Why something is not the certificate, key or SVID that it should be.

use crate::IdError;

/// Why bytes are not a certificate, a key, or the two together an X.509-SVID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum X509Error {
    /// A leaf that claims to be an authority (X509-SVID section 4.1).
    #[error("the leaf certificate is an authority (cA is true)")]
    CaLeaf,
    /// Bytes that are no certificate.
    #[error("certificate {index} is malformed at byte {at}")]
    Certificate {
        /// Which certificate of the input, counted from 0.
        index: usize,
        /// At which byte of it reading failed.
        at: usize,
    },
    /// Bytes that are no certificate revocation list.
    #[error("the certificate revocation list is malformed")]
    Crl,
    /// A private key that does not belong to the leaf certificate.
    #[error("the private key does not belong to the leaf certificate")]
    ForeignKey,
    /// The URI name is not a SPIFFE ID.
    #[error("the URI name of the certificate is not a SPIFFE ID")]
    Id(#[from] IdError),
    /// Making a key failed.
    #[error("a private key could not be made")]
    KeyGeneration,
    /// Key usage is missing, or lacks `digitalSignature` (X509-SVID section 4.3).
    #[error("the leaf certificate's key usage does not allow digital signatures")]
    NoDigitalSignature,
    /// No certificate where one was expected.
    #[error("there is no certificate")]
    NoCertificate,
    /// PEM without a block of the kind that was asked for.
    #[error("the PEM text holds no {what}")]
    NotInPem {
        /// What was looked for.
        what: &'static str,
    },
    /// PEM that cannot be read.
    #[error("the PEM text is malformed")]
    Pem,
    /// PEM where DER is due.
    #[error("this is PEM, where DER is due")]
    PemForDer,
    /// Bytes that are no PKCS#8 private key of a kind that we know.
    #[error("the private key is not an unencrypted PKCS#8 key of type EC, RSA or Ed25519")]
    PrivateKey,
    /// Bytes that are no public key.
    #[error("the public key is malformed")]
    PublicKey,
    /// An ID without a path cannot be a workload's (X509-SVID section 3.1).
    #[error("the SPIFFE ID of the leaf certificate has no path")]
    RootPath,
    /// A leaf that may sign certificates or revocation lists (X509-SVID section 4.3).
    #[error("the leaf certificate may sign certificates or revocation lists")]
    SigningLeaf,
    /// Signing failed.
    #[error("signing failed")]
    Signing,
    /// More certificates than anybody needs.
    #[error("there are more than {limit} certificates")]
    TooMany {
        /// How many are read at the most.
        limit: usize,
    },
    /// An empty subject, and a subject alternative name that is not critical (X509-SVID section
    /// 3.1).
    #[error("the subject is empty but the subject alternative name is not critical")]
    UncriticalName,
    /// A URI name in the constructed form, which DER has for no string (RFC 5280 section 4.2.1.6).
    #[error("the URI name of the certificate has a constructed tag, where it must be 0x86")]
    UriNameInPieces,
    /// Not exactly one URI name (X509-SVID section 2).
    #[error("the certificate has {count} URI names instead of exactly one")]
    UriNames {
        /// How many there are.
        count: usize,
    },
}

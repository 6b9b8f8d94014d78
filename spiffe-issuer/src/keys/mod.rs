//! Private keys: who makes them, who keeps them, and the right to sign with one.

mod disk;
mod memory;
mod pem;

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use rustls_pki_types::alg_id;
use spiffe_core::x509::{KeyKind, PrivateKey, PublicKey, X509Error};

pub use disk::{AGENT_DISK, DiskKeys, SERVER_DISK};
pub use memory::{MEMORY, MemoryKeys};
pub use pem::private_key_from_pem;

use crate::domain::{Fault, Kind};
use crate::runtime::files::WriteError;

/// Makes and keeps private keys.
#[async_trait]
pub trait KeyManager: Send + Sync + 'static {
    /// Makes the key `id` anew. A key that had this ID is gone once this returns; until then, and
    /// where this fails, it is still there.
    ///
    /// # Errors
    ///
    /// Where the key cannot be made or kept.
    async fn generate(&self, id: &KeyId, kind: KeyKind) -> Result<Arc<dyn Signer>, KeyError>;

    /// The key of this ID, if there is one.
    ///
    /// # Errors
    ///
    /// Where the keys cannot be read.
    async fn find(&self, id: &KeyId) -> Result<Option<Arc<dyn Signer>>, KeyError>;
}

/// The right to use a private key, which stays where it is.
pub trait Signer: fmt::Debug + Send + Sync + 'static {
    /// The public half.
    fn public_key(&self) -> &PublicKey;

    /// The scheme that this key signs certificates with.
    fn scheme(&self) -> Scheme;

    /// Signs a message: hashes it as the scheme says, and signs the hash.
    ///
    /// This blocks, up to the tens of milliseconds that a TPM takes. Call it where blocking does no
    /// harm, never on a thread that serves others.
    ///
    /// # Errors
    ///
    /// Where the scheme is not one of this key, or the keeper of the key fails.
    fn sign(&self, message: &[u8], scheme: Scheme) -> Result<Vec<u8>, KeyError>;

    /// The key itself, where it is one in memory: a TLS configuration wants it in its own hands.
    /// `None` where the key cannot leave its keeper.
    fn in_memory(&self) -> Option<&PrivateKey> {
        None
    }
}

/// A signer with this key in memory; `None` for a key of another kind than those that we make.
#[must_use]
pub fn in_memory(key: PrivateKey) -> Option<Arc<dyn Signer>> {
    let key = memory::SoftwareKey::of(key)?;
    Some(Arc::new(key))
}

/// How a message is hashed and signed. ECDSA signatures are ASN.1, as certificates carry them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// ECDSA on P-256 with SHA-256.
    EcdsaP256Sha256,
    /// ECDSA on P-384 with SHA-384.
    EcdsaP384Sha384,
    /// RSA PKCS#1 v1.5 with SHA-256.
    RsaPkcs1Sha256,
}

impl Scheme {
    /// The scheme that this key signs certificates with; `None` for a key of another kind than those
    /// that we make.
    #[must_use]
    pub fn of(key: &PublicKey) -> Option<Self> {
        let has = |algorithm: alg_id::AlgorithmIdentifier| key.algorithm() == algorithm.as_ref();
        if has(alg_id::ECDSA_P256) {
            Some(Self::EcdsaP256Sha256)
        } else if has(alg_id::ECDSA_P384) {
            Some(Self::EcdsaP384Sha384)
        } else if has(alg_id::RSA_ENCRYPTION) {
            Some(Self::RsaPkcs1Sha256)
        } else {
            None
        }
    }
}

/// What a key is called, e.g. `x509-CA-A`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Cow<'static, str>);

impl KeyId {
    /// The agent's own key, and the one that follows it: `agent-svid-A` and `agent-svid-B`.
    pub const AGENT_SVID: [Self; 2] = [
        Self::constant("agent-svid-A"),
        Self::constant("agent-svid-B"),
    ];
    /// The keys of authorities for JWT-SVIDs: `JWT-Signer-A` and `JWT-Signer-B`.
    pub const JWT_SIGNER: [Self; 2] = [
        Self::constant("JWT-Signer-A"),
        Self::constant("JWT-Signer-B"),
    ];
    /// The keys of authorities for WIT-SVIDs: `WIT-Signer-A` and `WIT-Signer-B`.
    pub const WIT_SIGNER: [Self; 2] = [
        Self::constant("WIT-Signer-A"),
        Self::constant("WIT-Signer-B"),
    ];
    /// The X.509 authority's keys: `x509-CA-A` and `x509-CA-B`.
    pub const X509_CA: [Self; 2] = [Self::constant("x509-CA-A"), Self::constant("x509-CA-B")];

    const fn constant(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// The key of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(Cow::Owned(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a key cannot be had or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file is there, but it is no file of keys.
    #[error("{}: not a key file: expected JSON like {{\"keys\": {{\"<id>\": \"<base64 PKCS#8>\"}}}}", path.display())]
    Format {
        /// The key file.
        path: PathBuf,
        /// Where the JSON went wrong.
        source: serde_json::Error,
    },
    /// One of the keys in the file is no key.
    #[error("{}: the key `{id}` is not a base64 PKCS#8 private key", path.display())]
    Garbled {
        /// The key file.
        path: PathBuf,
        /// The key that is wrong.
        id: KeyId,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A key could not be made.
    #[error("making the key `{id}`")]
    Generate {
        /// The key that was to be made.
        id: KeyId,
        /// What went wrong.
        source: X509Error,
    },
    /// Others than the owner may read or write the key file.
    #[error(
        "{}: mode {mode:04o} lets others than its owner at the keys; run `chmod 600 {}`",
        path.display(),
        path.display()
    )]
    Loose {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file cannot be read.
    #[error("{}: cannot read the key file", path.display())]
    Read {
        /// The key file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The key does not sign in this way.
    #[error("the key cannot sign with {0:?}")]
    Scheme(Scheme),
    /// The key would not sign.
    #[error("signing failed")]
    Sign(#[source] X509Error),
    /// The task that was to sign or write was stopped.
    #[error("the work was stopped")]
    Stopped,
    /// The key file cannot be written.
    #[error("writing the key file")]
    Write(#[source] WriteError),
}

impl Fault for KeyError {
    fn kind(&self) -> Kind {
        match self {
            Self::Stopped => Kind::Unavailable,
            _ => Kind::Internal,
        }
    }
}

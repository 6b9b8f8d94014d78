//! The seam to an authority above ours, and the test that what it gives us is of use.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use spiffe_core::verify::{Role, VerifyError, x509_peer};
use spiffe_core::x509::{Certificate, KeyKind, PrivateKey, X509Error};
use spiffe_core::{BundleSet, SpiffeId, TrustBundle, TrustDomain};

use super::csr::CsrError;
use super::sign::X509Authority;
use super::{CaError, Leaf};
use crate::config::ReadError;
use crate::domain::{Fault, Kind};
use crate::keys::Signer;

/// Makes authorities for us that stand below one of its own.
#[async_trait]
pub trait UpstreamAuthority: Send + Sync + 'static {
    /// What the configuration calls it.
    fn name(&self) -> &'static str;

    /// Makes an authority for the key of a certificate request, to live so long if it can.
    ///
    /// # Errors
    ///
    /// Where it will not, or cannot.
    async fn mint_ca(
        &self,
        request: &[u8],
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<MintedCa, UpstreamError>;

    /// The roots that it signs below now.
    ///
    /// # Errors
    ///
    /// Where they cannot be had.
    async fn roots(&self) -> Result<Vec<Certificate>, UpstreamError>;
}

/// An authority that one above it made.
#[derive(Debug, Clone)]
pub struct MintedCa {
    /// Its own certificate, and those above it; no root.
    pub chain: Vec<Certificate>,
    /// The roots above it.
    pub roots: Vec<Certificate>,
}

impl MintedCa {
    /// Shows that what the new authority signs can be verified, by signing something that nobody gets.
    pub(super) fn prove(
        &self,
        trust_domain: &TrustDomain,
        signer: Arc<dyn Signer>,
        now: SystemTime,
    ) -> Result<(), CaError> {
        let own = self.chain.first().ok_or(UpstreamError::Nothing)?;
        if own.public_key() != signer.public_key() {
            return Err(UpstreamError::OtherKey.into());
        }
        let authority = X509Authority {
            certificate: own.clone(),
            signer,
            intermediates: self.chain.clone(),
            signed: Arc::default(),
        };
        let id = SpiffeId::from_segments(trust_domain, ["spire", "throwaway"])?;
        let key = PrivateKey::generate(KeyKind::EcP256)?;
        let leaf = Leaf::throwaway(id, key.public_key().clone());
        let chain = authority.sign(&leaf, now)?;
        let chain: Vec<_> = chain.iter().map(|one| one.der().clone()).collect();
        let roots = TrustBundle::new(trust_domain.clone(), self.roots.clone());
        x509_peer(&chain, &BundleSet::from(roots), Role::Client, now)
            .map_err(UpstreamError::Unverifiable)?;
        Ok(())
    }
}

/// Why there is no authority from above.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The request is none that it takes.
    #[error("the request for an authority is refused")]
    Csr(#[from] CsrError),
    /// A file does not hold what it should.
    #[error("{}: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong with it.
        source: X509Error,
    },
    /// The key is of a kind that signs no certificates here.
    #[error("{}: the key is none of EC P-256, EC P-384 or RSA", path.display())]
    KeyKind {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not belong together.
    #[error("unable to load upstream CA: certificate and private key do not match: {} and {}", certificate.display(), key.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// There is no certificate.
    #[error("the upstream authority sent no certificate")]
    Nothing,
    /// Without a bundle the certificate has to be a root.
    #[error("{}: with no bundle_file_path configured only self-signed CAs are supported", path.display())]
    NotRoot {
        /// The certificate's file.
        path: PathBuf,
    },
    /// The certificate is for a key of somebody else's.
    #[error("the upstream authority certified another key than ours")]
    OtherKey,
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It would not sign.
    #[error("unable to sign CSR")]
    Sign(#[source] Box<CaError>),
    /// The work was stopped.
    #[error("the work was stopped")]
    Stopped,
    /// All roots that it signs below are tainted.
    #[error("the upstream authority still signs below a tainted root; give it another one")]
    Tainted,
    /// What an authority of its making signs cannot be verified with its roots.
    #[error("what the upstream authority's CA signs cannot be verified with its roots")]
    Unverifiable(#[source] VerifyError),
}

impl Fault for UpstreamError {
    fn kind(&self) -> Kind {
        match self {
            Self::Stopped | Self::Tainted => Kind::Unavailable,
            _ => Kind::Internal,
        }
    }
}

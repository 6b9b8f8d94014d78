//! `UpstreamAuthority "disk"`: a root, or an intermediate below one, with its key in files.
//!
//! The files are read again whenever they are needed. While they cannot be read, or do not fit together
//! since one of them was replaced before the other, what was read last counts.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use spiffe_core::x509::Certificate;
use spiffe_core::{TrustDomain, with_causes};
use tokio::task::spawn_blocking;
use tracing::warn;
use zeroize::Zeroizing;

use crate::config::{self, Issues, path};
use crate::keys::{self, Signer};
use crate::plugin::BuiltIn;
use crate::server::ca::csr::CaRequest;
use crate::server::ca::{
    Intermediate, MintedCa, UpstreamAuthority, UpstreamError, sign_intermediate,
};

/// The plugin.
pub const DISK: BuiltIn<dyn UpstreamAuthority> = BuiltIn {
    name: NAME,
    make: |settings, surroundings| {
        let mut issues = Issues::default();
        let files = settings.fields(&mut issues, |fields| {
            let certificate = fields.optional("cert_file_path", path);
            let key = fields.optional("key_file_path", path);
            let bundle = fields.optional("bundle_file_path", path);
            let given = |path: &PathBuf| !path.as_os_str().is_empty();
            match (certificate.filter(given), key.filter(given)) {
                (Some(certificate), Some(key)) => Some(Files {
                    certificate,
                    key,
                    bundle: bundle.filter(given),
                }),
                (certificate, _) => {
                    let missing = match certificate {
                        None => "cert_file_path",
                        Some(_) => "key_file_path",
                    };
                    fields.fault(
                        missing,
                        "is missing: 'cert_file_path' and 'key_file_path' must be set and not empty",
                    );
                    None
                }
            }
        });
        let files = issues.finish(files)?.logged();
        let trust_domain = surroundings.trust_domain.clone();
        Ok(Arc::new(DiskUpstream::new(trust_domain, files)))
    },
};

const NAME: &str = "disk";

/// Where the authority is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Its certificate, and behind it those between it and the root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The roots above it; none where it is a root itself.
    pub bundle: Option<PathBuf>,
}

/// An authority in files.
#[derive(Debug)]
pub struct DiskUpstream {
    trust_domain: TrustDomain,
    files: Files,
    /// What was read last, so that it was of use.
    last: Mutex<Option<Arc<Loaded>>>,
}

#[derive(Debug)]
struct Loaded {
    own: Certificate,
    signer: Arc<dyn Signer>,
    /// What stands between the authorities that are made here and the roots.
    chain: Vec<Certificate>,
    roots: Vec<Certificate>,
}

impl DiskUpstream {
    /// The authority in these files. They are not read yet.
    #[must_use]
    pub fn new(trust_domain: TrustDomain, files: Files) -> Self {
        Self {
            trust_domain,
            files,
            last: Mutex::default(),
        }
    }

    /// Reads the files, beside the reactor.
    async fn load(&self) -> Result<Arc<Loaded>, UpstreamError> {
        let files = self.files.clone();
        let loaded = spawn_blocking(move || Loaded::read(&files)).await;
        let loaded = loaded.map_err(|_| UpstreamError::Stopped)?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match (loaded, &*last) {
            (Ok(loaded), _) => {
                let loaded = Arc::new(loaded);
                *last = Some(Arc::clone(&loaded));
                Ok(loaded)
            }
            (Err(error), Some(last)) => {
                warn!(
                    error = with_causes(&error),
                    "The upstream authority's files are of no use now; what was read last counts"
                );
                Ok(Arc::clone(last))
            }
            (Err(error), None) => Err(error),
        }
    }
}

#[async_trait]
impl UpstreamAuthority for DiskUpstream {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn mint_ca(
        &self,
        request: &[u8],
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<MintedCa, UpstreamError> {
        let loaded = self.load().await?;
        let request = CaRequest::from_der(request, &self.trust_domain)?;
        let below = Intermediate::requested(self.trust_domain.clone(), request, lifetime);
        let sign = move || {
            let made = sign_intermediate(&loaded.own, &*loaded.signer, &below, now)?;
            let mut chain = vec![made];
            chain.extend_from_slice(&loaded.chain);
            Ok(MintedCa {
                chain,
                roots: loaded.roots.clone(),
            })
        };
        let minted = spawn_blocking(sign).await;
        let minted = minted.map_err(|_| UpstreamError::Stopped)?;
        minted.map_err(|error| UpstreamError::Sign(Box::new(error)))
    }

    async fn roots(&self) -> Result<Vec<Certificate>, UpstreamError> {
        Ok(self.load().await?.roots.clone())
    }
}

impl Loaded {
    fn read(files: &Files) -> Result<Self, UpstreamError> {
        let mut chain = certificates(&files.certificate)?;
        let own = chain.first().ok_or(UpstreamError::Nothing)?.clone();
        let roots = match &files.bundle {
            Some(bundle) => certificates(bundle)?,
            None if chain.len() == 1 && own.is_self_issued() => chain.clone(),
            None => {
                return Err(UpstreamError::NotRoot {
                    path: files.certificate.clone(),
                });
            }
        };
        // A root is never sent along with what it signed.
        chain.retain(|certificate| !roots.contains(certificate));
        let signer = signer(&files.key)?;
        if signer.public_key() != own.public_key() {
            return Err(UpstreamError::Mismatch {
                certificate: files.certificate.clone(),
                key: files.key.clone(),
            });
        }
        Ok(Self {
            own,
            signer,
            chain,
            roots,
        })
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, UpstreamError> {
    let text = read(path)?;
    let certificates = Certificate::many_from_pem(text.as_bytes());
    certificates.map_err(|source| UpstreamError::File {
        path: path.to_owned(),
        what: "expected certificates in PEM",
        source,
    })
}

fn signer(path: &Path) -> Result<Arc<dyn Signer>, UpstreamError> {
    let text = Zeroizing::new(read(path)?);
    let key =
        keys::private_key_from_pem(text.as_bytes()).map_err(|source| UpstreamError::File {
            path: path.to_owned(),
            what: "expected a private key in PEM (PKCS#8, SEC 1 or PKCS#1)",
            source,
        })?;
    keys::in_memory(key).ok_or_else(|| UpstreamError::KeyKind {
        path: path.to_owned(),
    })
}

fn read(path: &Path) -> Result<String, UpstreamError> {
    config::read_file(path).map_err(UpstreamError::Read)
}

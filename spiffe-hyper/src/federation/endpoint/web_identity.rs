//! A certificate of the web and its key, from files that others replace.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::with_causes;
use spiffe_core::x509::Certificate;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{info, warn};
use webpki::EndEntityCert;
use zeroize::Zeroizing;

use crate::federation::TlsError;
use crate::federation::file::{self, MAX_LEN, Unread};

/// What a server of the web presents: always what the files hold, once that is good.
pub(super) struct WebIdentity {
    files: Files,
    presented: ArcSwap<CertifiedKey>,
    read: ArcSwap<Content>,
}

#[derive(Clone)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    /// Whom the certificate has to be for, if that is known.
    name: Option<ServerName<'static>>,
}

/// What was in the files.
#[derive(PartialEq, Eq)]
struct Content {
    certificate: Zeroizing<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
}

impl WebIdentity {
    pub(super) fn open(
        name: Option<ServerName<'static>>,
        certificate: PathBuf,
        key: PathBuf,
    ) -> Result<Self, WebIdentityError> {
        let files = Files {
            certificate,
            key,
            name,
        };
        let content = files.read()?;
        Ok(Self {
            presented: ArcSwap::from_pointee(files.identity(&content, SystemClock.now())?),
            read: ArcSwap::from_pointee(content),
            files,
        })
    }

    /// Looks at the files for good. What is no good is told once, and what was there before stays.
    pub(super) async fn keep_fresh(&self, look_every: Duration) {
        let mut is_told = false;
        loop {
            sleep(look_every).await;
            let files = self.files.clone();
            // It goes only where the runtime does.
            let Ok(content) = spawn_blocking(move || files.read()).await else {
                return;
            };
            let taken = content.and_then(|content| self.take(content));
            if let Err(error) = &taken
                && !is_told
            {
                warn!(error = %with_causes(error), "certificate and key are no good, what was there before stays");
            }
            is_told = taken.is_err();
        }
    }

    fn take(&self, content: Content) -> Result<(), WebIdentityError> {
        if content == **self.read.load() {
            return Ok(());
        }
        let identity = self.files.identity(&content, SystemClock.now())?;
        self.presented.store(Arc::new(identity));
        self.read.store(Arc::new(content));
        info!(certificate = %self.files.certificate.display(), "a new certificate is presented");
        Ok(())
    }
}

impl Files {
    fn read(&self) -> Result<Content, WebIdentityError> {
        let read = |path: &Path| {
            file::read(path).map_err(|why| {
                let path = path.to_owned();
                match why {
                    Unread::Io(source) => WebIdentityError::File { path, source },
                    Unread::NotAFile => WebIdentityError::NotAFile { path },
                    Unread::TooLarge => WebIdentityError::TooLarge {
                        path,
                        limit: MAX_LEN,
                    },
                }
            })
        };
        Ok(Content {
            certificate: read(&self.certificate)?,
            key: read(&self.key)?,
        })
    }

    /// The identity that is in the files, where certificate and key go together and are for the host
    /// that others are told of (SPIFFE Federation section 5.2.1.3), and are valid `now`.
    fn identity(
        &self,
        content: &Content,
        now: SystemTime,
    ) -> Result<CertifiedKey, WebIdentityError> {
        let no_pem = |path: &Path| WebIdentityError::Pem { path: path.into() };
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(&content.certificate).collect();
        let chain = chain.map_err(|_| no_pem(&self.certificate))?;
        let leaf = chain.first().ok_or_else(|| no_pem(&self.certificate))?;
        self.check_host(leaf)?;
        self.check_time(leaf, now)?;
        let key = PrivateKeyDer::from_pem_slice(&content.key).map_err(|_| no_pem(&self.key))?;
        CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|source| {
            WebIdentityError::Key {
                path: self.key.clone(),
                source: TlsError(source),
            }
        })
    }

    fn check_host(&self, leaf: &CertificateDer<'_>) -> Result<(), WebIdentityError> {
        let Some(name) = &self.name else {
            return Ok(());
        };
        EndEntityCert::try_from(leaf)
            .and_then(|leaf| leaf.verify_is_valid_for_subject_name(name))
            .map_err(|_| WebIdentityError::OtherHost {
                path: self.certificate.clone(),
                host: name.to_str().into_owned(),
            })
    }

    fn check_time(&self, leaf: &[u8], now: SystemTime) -> Result<(), WebIdentityError> {
        let path = || self.certificate.clone();
        let leaf =
            Certificate::from_der(leaf).map_err(|_| WebIdentityError::Pem { path: path() })?;
        if now < leaf.not_before() {
            return Err(WebIdentityError::NotYetValid { path: path() });
        }
        if leaf.not_after() < now {
            return Err(WebIdentityError::Expired { path: path() });
        }
        Ok(())
    }
}

impl ResolvesServerCert for WebIdentity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.presented.load_full())
    }
}

impl fmt::Debug for WebIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebIdentity")
            .field("certificate", &self.files.certificate)
            .finish_non_exhaustive()
    }
}

/// Why files are no identity of a server of the web.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebIdentityError {
    /// The certificate has ended.
    #[error("the certificate in {} has expired", path.display())]
    Expired {
        /// Where the certificate is.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key is of no use, or is not that of the certificate.
    #[error("the key in {} is not that of the certificate, or of no use", path.display())]
    Key {
        /// Where the key is.
        path: PathBuf,
        /// Why.
        source: TlsError,
    },
    /// A file is something else: a directory, a device, a FIFO.
    #[error("{} is no regular file", path.display())]
    NotAFile {
        /// Which.
        path: PathBuf,
    },
    /// The certificate is for later.
    #[error("the certificate in {} is not valid yet", path.display())]
    NotYetValid {
        /// Where the certificate is.
        path: PathBuf,
    },
    /// The certificate is that of another host than the URL names.
    #[error("the certificate in {} is not for {host}, the host that others are told", path.display())]
    OtherHost {
        /// Where the certificate is.
        path: PathBuf,
        /// The host.
        host: String,
    },
    /// There is no PEM text of what should be there.
    #[error("{} does not hold what it should, in PEM", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
    },
    /// A file is larger than anyone needs.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// How much is read.
        limit: u64,
    },
}

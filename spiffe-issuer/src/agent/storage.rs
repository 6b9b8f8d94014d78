//! What an agent knows again after a restart: its own SVID and the bundle of its trust domain, in
//! the file that SPIRE's agent keeps them in.

#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use spiffe_core::x509::{Certificate, X509Error};
use tokio::task::spawn_blocking;

use crate::runtime::files::{WriteError, write_atomically};

/// The file `agent-data.json` of one agent; cheap to clone. Its private key is not in there.
#[derive(Debug, Clone)]
pub struct Storage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    /// What the file is to hold.
    data: Data,
    /// Whether it does.
    is_written: bool,
}

/// What an agent knew when it stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Its chain, leaf first; empty where it had none.
    pub chain: Vec<Certificate>,
    /// Whether it could attest again by itself.
    pub can_reattest: bool,
    /// The authorities of its trust domain; empty where it knew none.
    pub authorities: Vec<Certificate>,
}

/// The file as it is written: certificates as base64 of their DER.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Data {
    #[serde(default, deserialize_with = "null_is_empty")]
    svid: Vec<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    bundle: Vec<String>,
    #[serde(default)]
    reattestable: bool,
    /// What SPIRE's agent keeps there beside, for the day it takes over again.
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

impl Storage {
    /// Opens the file in this directory and reads what it holds, which is nothing before the first
    /// start. The directory is made if need be, and it is made sure that it can be written: an agent
    /// that spends a join token and then cannot keep what it got for it is lost.
    ///
    /// # Errors
    ///
    /// Where the directory cannot be written, or the file is there but is not what we wrote. The file
    /// stays as it is then.
    pub async fn open(data_dir: &Path) -> Result<(Self, Found), StorageError> {
        let data_dir = data_dir.to_owned();
        blocking(move || {
            prepare(&data_dir)?;
            let path = data_dir.join(FILE);
            let data = read(&path)?;
            let found = data.certificates().map_err(|(what, source)| {
                let path = path.clone();
                StorageError::Certificate { path, what, source }
            })?;
            let kept = Mutex::new(Kept {
                data,
                is_written: true,
            });
            Ok((Self(Arc::new(Inner { path, kept })), found))
        })
        .await
    }

    /// Keeps a new SVID and, in the same breath, the authorities that vouched for it, where those are
    /// not kept yet.
    ///
    /// # Errors
    ///
    /// Where the file cannot be written. It is as it was then, and the next success writes this too.
    pub async fn keep_svid(
        &self,
        chain: &[Certificate],
        can_reattest: bool,
        authorities: Option<&[Certificate]>,
    ) -> Result<(), StorageError> {
        let (svid, bundle) = (encode(chain), authorities.map(encode));
        self.change(move |data| {
            data.svid = svid;
            data.reattestable = can_reattest;
            if let Some(bundle) = bundle {
                data.bundle = bundle;
            }
        })
        .await
    }

    /// Forgets the SVID.
    ///
    /// # Errors
    ///
    /// As for [`keep_svid`](Self::keep_svid).
    pub async fn forget_svid(&self) -> Result<(), StorageError> {
        self.change(|data| {
            data.svid = Vec::new();
            data.reattestable = false;
        })
        .await
    }

    /// Keeps a new bundle.
    ///
    /// # Errors
    ///
    /// As for [`keep_svid`](Self::keep_svid).
    pub async fn keep_bundle(&self, authorities: &[Certificate]) -> Result<(), StorageError> {
        let bundle = encode(authorities);
        self.change(move |data| data.bundle = bundle).await
    }

    /// Writes what could not be written when it was to be kept.
    ///
    /// # Errors
    ///
    /// As for [`keep_svid`](Self::keep_svid).
    pub async fn catch_up(&self) -> Result<(), StorageError> {
        let inner = self.0.clone();
        blocking(move || match &mut *inner.lock() {
            Kept {
                is_written: true, ..
            } => Ok(()),
            behind => behind.write(&inner.path),
        })
        .await
    }

    async fn change(
        &self,
        change: impl FnOnce(&mut Data) + Send + 'static,
    ) -> Result<(), StorageError> {
        let inner = self.0.clone();
        blocking(move || {
            // Held while writing, so that the file ends up as the last change wants it.
            let mut kept = inner.lock();
            change(&mut kept.data);
            kept.write(&inner.path)
        })
        .await
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn write(&mut self, path: &Path) -> Result<(), StorageError> {
        self.is_written = false;
        let text =
            serde_json::to_vec_pretty(&self.data).map_err(|source| StorageError::Garbled {
                path: path.to_owned(),
                source,
            })?;
        write_atomically(path, &text, MODE)?;
        self.is_written = true;
        Ok(())
    }
}

impl Data {
    fn certificates(&self) -> Result<Found, (&'static str, CertificateError)> {
        Ok(Found {
            chain: decode(&self.svid).map_err(|why| ("svid", why))?,
            can_reattest: self.reattestable,
            authorities: decode(&self.bundle).map_err(|why| ("bundle", why))?,
        })
    }
}

fn prepare(data_dir: &Path) -> Result<(), StorageError> {
    use std::os::unix::fs::DirBuilderExt;
    let failed = |source| StorageError::Directory {
        path: data_dir.to_owned(),
        source,
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(failed)?;
    let probe = data_dir.join(PROBE);
    write_atomically(&probe, b"", MODE)?;
    fs::remove_file(probe).map_err(failed)
}

fn read(path: &Path) -> Result<Data, StorageError> {
    let path = path.to_owned();
    match fs::read(&path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map_err(|source| StorageError::Garbled { path, source })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Data::default()),
        Err(source) => Err(StorageError::Read { path, source }),
    }
}

fn encode(certificates: &[Certificate]) -> Vec<String> {
    let encoded = certificates.iter().map(|one| STANDARD.encode(one.der()));
    encoded.collect()
}

fn decode(texts: &[String]) -> Result<Vec<Certificate>, CertificateError> {
    let decoded = texts.iter().map(|text| {
        let der = STANDARD.decode(text)?;
        Ok(Certificate::from_der(&der)?)
    });
    decoded.collect()
}

/// Go writes a list that was never made as `null`.
fn null_is_empty<'de, D: serde::Deserializer<'de>>(list: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(list)?.unwrap_or_default())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    spawn_blocking(work)
        .await
        .unwrap_or(Err(StorageError::Stopped))
}

/// Why what the agent knew cannot be had or kept.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A certificate in the file is none.
    #[error("{}: a certificate of `{what}` cannot be read; {HEAL}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Which list it stands in.
        what: &'static str,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// The data directory cannot be used.
    #[error("{}: the data directory cannot be used", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is there, but torn or not ours.
    #[error("{}: not the data of an agent; {HEAL}", path.display())]
    Garbled {
        /// The file.
        path: PathBuf,
        /// Where the JSON went wrong.
        source: serde_json::Error,
    },
    /// The file cannot be read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The task that was to read or write was stopped.
    #[error("the work was stopped")]
    Stopped,
    /// The file cannot be written.
    #[error("the agent's data cannot be written")]
    Write(#[from] WriteError),
}

/// Why a text is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It is no base64.
    #[error(transparent)]
    Base64(#[from] base64::DecodeError),
    /// It is no certificate.
    #[error(transparent)]
    X509(#[from] X509Error),
}

const HEAL: &str = "put it back from a backup, or move it away and start the agent as a new one \
                    (with join_token attestation it then needs a new token)";

const FILE: &str = "agent-data.json";
const PROBE: &str = ".write-test";
const MODE: u32 = 0o600;

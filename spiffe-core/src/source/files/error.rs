//! What can be wrong with files that hold an identity.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::SpiffeId;
use crate::bundle::BundleMapError;
use crate::verify::VerifyError;
use crate::x509::X509Error;

/// Why files are no identity, or no bundle.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The bundle is malformed.
    #[error("the bundle {} is malformed", path.display())]
    Bundle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: X509Error,
    },
    /// The bundle map is malformed.
    #[error("the bundle map {} is malformed", path.display())]
    BundleMap {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: BundleMapError,
    },
    /// Something else than a file: a directory, a device, a FIFO.
    #[error("{} is no regular file", path.display())]
    NotAFile {
        /// What should be a file.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// Certificate and key are no SVID. They may be of two moments, and then that passes.
    #[error("{} is no SVID with its key", path.display())]
    Svid {
        /// The file of the certificates.
        path: PathBuf,
        /// What is wrong with it.
        source: X509Error,
    },
    /// A file is larger than anyone needs.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// How much is read.
        limit: u64,
    },
    /// Peers would not believe the SVID.
    #[error("the SVID {id} in {} would not be believed", directory.display())]
    Unbelievable {
        /// Where the files are.
        directory: PathBuf,
        /// Whose SVID it is.
        id: SpiffeId,
        /// What a peer would say.
        source: VerifyError,
    },
    /// The files never stay the same for as long as it takes to read them twice.
    #[error("the files in {} are being written all the time", directory.display())]
    Unsettled {
        /// Where they are.
        directory: PathBuf,
    },
}

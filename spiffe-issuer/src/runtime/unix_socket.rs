//! Our own Unix sockets: never open to more than they should be, not for a moment, and never taken
//! from a process that still listens.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixSocket, UnixStream};

/// Who may use a socket, as permission bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modes {
    /// Those of the directories that have to be made for it.
    pub directory: u32,
    /// Those of the socket: connecting takes the right to write.
    pub socket: u32,
}

/// The name of a socket in the file system, which goes when this is dropped.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode: by then another process may listen under the same name.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // What stays is taken away by whoever listens there next.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Listens on a socket at `path`. One that nobody answers on any more is taken away first.
///
/// # Errors
///
/// Where somebody answers on it, something else is there, or the system does not let us.
pub async fn listen(path: &Path, modes: Modes) -> Result<(UnixListener, SocketFile), SocketError> {
    let failed = |step| move |source| SocketError::failed(path, step, source);
    if let Some(directory) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(modes.directory)
            .create(directory)
            .map_err(failed("make the directory of"))?;
    }
    remove_stale(path).await?;
    let socket = UnixSocket::new_stream().map_err(failed("make"))?;
    socket.bind(path).map_err(failed("bind"))?;
    let file = SocketFile {
        path: path.to_owned(),
        identity: identity(path).map_err(failed("look at"))?,
    };
    // Before anyone is listened to, whatever the umask made of it.
    std::fs::set_permissions(path, Permissions::from_mode(modes.socket))
        .map_err(failed("set the mode of"))?;
    let listener = socket.listen(BACKLOG).map_err(failed("listen on"))?;
    Ok((listener, file))
}

/// Takes away a socket that the process before us left behind.
async fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let failed = |step| move |source| SocketError::failed(path, step, source);
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at")(error)),
        Ok(there) if !there.file_type().is_socket() => {
            return Err(SocketError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed("remove"))
        }
        Err(error) => Err(failed("try")(error)),
    }
}

/// Why a socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The system does not let us.
    #[error("{}: cannot {step} the socket", path.display())]
    Failed {
        /// Where the socket was to be.
        path: PathBuf,
        /// What could not be done.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody answers on it.
    #[error("{}: another process listens on this socket; stop it, or choose another path", .0.display())]
    InUse(PathBuf),
    /// Something else has its name.
    #[error("{}: exists and is no socket; remove it, or choose another path", .0.display())]
    NotASocket(PathBuf),
}

impl SocketError {
    fn failed(path: &Path, step: &'static str, source: io::Error) -> Self {
        Self::Failed {
            path: path.to_owned(),
            step,
            source,
        }
    }
}

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const MODES: Modes = Modes {
        directory: 0o750,
        socket: 0o770,
    };

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn directory_and_socket_are_open_to_whom_they_should_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("private").join("api.sock");
        let (listener, file) = listen(&path, MODES).await.unwrap();
        assert_eq!(mode(&path), 0o770);
        assert_eq!(mode(path.parent().unwrap()) & !0o750, 0);
        let (accepted, connected) = tokio::join!(listener.accept(), UnixStream::connect(&path));
        assert!(accepted.is_ok() && connected.is_ok());
        drop(file);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn only_our_own_socket_is_taken_away_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let ours = listen(&path, MODES).await.unwrap();
        std::fs::rename(&path, dir.path().join("moved")).unwrap();
        let _theirs = listen(&path, MODES).await.unwrap();
        drop(ours);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_was_left_behind_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let (listener, file) = listen(&path, MODES).await.unwrap();
        // As a process does that is killed.
        std::mem::forget(file);
        drop(listener);
        assert!(path.exists());
        assert!(listen(&path, MODES).await.is_ok());
    }

    #[tokio::test]
    async fn a_socket_in_use_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let first = listen(&path, MODES).await.unwrap();
        let refused = listen(&path, MODES).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!(
                "{}: another process listens on this socket; stop it, or choose another path",
                path.display()
            )
        );
        first.0.accept().await.unwrap();
        assert!(UnixStream::connect(&path).await.is_ok(), "it still listens");
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        std::fs::write(&path, "precious").unwrap();
        let refused = listen(&path, MODES).await.unwrap_err();
        assert!(matches!(refused, SocketError::NotASocket(_)));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn a_path_that_cannot_be_is_told_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("a".repeat(120));
        let refused = listen(&long, MODES).await.unwrap_err().to_string();
        assert!(refused.ends_with("cannot bind the socket"), "{refused}");
        std::fs::write(dir.path().join("file"), "").unwrap();
        let below = dir.path().join("file").join("api.sock");
        let refused = listen(&below, MODES).await.unwrap_err().to_string();
        assert!(
            refused.ends_with("cannot make the directory of the socket"),
            "{refused}"
        );
    }
}

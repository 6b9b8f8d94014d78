//! Who called on this socket.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::{PeerCredentials, PeerPidfd};

use crate::attestation::workload::{ProcessError, ProcessRef};

/// The process at the other end of a Unix socket, as the kernel tells it: the one that connected,
/// whoever holds the descriptor by now.
#[derive(Debug, Clone)]
pub struct Caller {
    process: ProcessRef,
    uid: u32,
}

impl Caller {
    /// Asks the kernel.
    ///
    /// # Errors
    ///
    /// Where the caller has ended, or is not visible from here.
    pub fn of(socket: &impl AsFd) -> Result<Self, CallerError> {
        let credentials = getsockopt(socket, PeerCredentials)?;
        let process = match getsockopt(socket, PeerPidfd) {
            Ok(pidfd) => ProcessRef::by_pidfd(pidfd)?,
            // Before Linux 6.5 the number is all there is.
            Err(Errno::ENOPROTOOPT) => ProcessRef::by_pid(credentials.pid())?,
            Err(Errno::ESRCH | Errno::ENODATA | Errno::EINVAL) => {
                return Err(ProcessError::Ended.into());
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self {
            process,
            uid: credentials.uid(),
        })
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &ProcessRef {
        &self.process
    }

    /// The user that it ran as when it connected.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }
}

/// Why a caller is not known.
#[derive(Debug, thiserror::Error)]
pub enum CallerError {
    /// The process cannot be looked at.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The socket does not tell.
    #[error("asking a socket for its peer")]
    Socket(#[from] Errno),
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};
    use std::sync::Arc;

    use super::*;
    use crate::attestation::workload::unix::Unix;
    use crate::attestation::workload::{WorkloadAttestors, WorkloadError};

    const PROGRAM: &str = "SPIFFE_TEST_PEER_DOES";
    const SOCKET: &str = "SPIFFE_TEST_PEER_SOCKET";

    /// This very program as another process, and our end of its connection.
    pub(crate) fn another_process(what: &str) -> (Child, UnixStream) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "agent::peer::tests::as_another_process",
                "--ignored",
            ])
            .env(PROGRAM, what)
            .env(SOCKET, &path)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        (child, listener.accept().unwrap().0)
    }

    #[test]
    #[ignore = "started by the other tests, as another process"]
    #[expect(clippy::disallowed_methods, reason = "what to do comes from the test")]
    fn as_another_process() {
        let mut socket = UnixStream::connect(std::env::var(SOCKET).unwrap()).unwrap();
        socket.read_exact(&mut [0]).unwrap();
        // `cat` ends when the test drops its end.
        let mut cat = Command::new("cat");
        cat.stdin(Stdio::from(OwnedFd::from(socket)));
        match std::env::var(PROGRAM).unwrap().as_str() {
            "pass" => drop(cat.spawn().unwrap()),
            "exec" => panic!("{}", cat.exec()),
            what => panic!("{what}?"),
        }
    }

    pub(crate) fn proceed(mut socket: &UnixStream) {
        socket.write_all(&[0]).unwrap();
    }

    #[test]
    fn the_kernel_names_the_caller() {
        let (mut child, socket) = another_process("pass");
        let caller = Caller::of(&socket).unwrap();
        assert_eq!(caller.process().pid(), child.id() as i32);
        assert_eq!(caller.uid(), nix::unistd::geteuid().as_raw());
        let unknown = getsockopt(&socket, PeerPidfd).err() == Some(Errno::ENOPROTOOPT);
        assert_eq!(caller.process().is_pinned_from_the_start(), !unknown);
        caller.process().check().unwrap();
        proceed(&socket);
        child.wait().unwrap();
    }

    #[test]
    fn fd_passed_to_other_process() {
        // Whoever holds the descriptor: its identity is that of the caller, and ends with it.
        let (mut child, socket) = another_process("pass");
        let caller = Caller::of(&socket).unwrap();
        proceed(&socket);
        child.wait().unwrap();
        let gone = caller.process().check().unwrap_err();
        assert!(matches!(gone, ProcessError::Gone { .. }), "{gone:?}");

        let (mut child, socket) = another_process("pass");
        proceed(&socket);
        child.wait().unwrap();
        let gone = Caller::of(&socket).unwrap_err();
        assert!(
            matches!(
                gone,
                CallerError::Process(ProcessError::Ended | ProcessError::Gone { .. })
            ),
            "{gone:?}"
        );
    }

    #[tokio::test]
    async fn exec_after_connect() {
        let (_child, socket) = another_process("exec");
        let caller = Caller::of(&socket).unwrap();
        let attestors = WorkloadAttestors::new(vec![("unix", Arc::new(Unix::with_programs(-1)))]);
        let before = attestors.attest(caller.process()).await.unwrap();
        before.check(caller.process()).unwrap();

        proceed(&socket);
        let error = loop {
            match before.check(caller.process()) {
                Ok(()) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, WorkloadError::Replaced { .. }), "{error:?}");

        // While `execve` is under way there is nothing to look at.
        let after = loop {
            match attestors.attest(caller.process()).await {
                Ok(found) => break found,
                Err(_) => caller.process().check().unwrap(),
            }
        };
        let is_cat = |selector: &crate::domain::Selector| {
            selector.value().starts_with("path:") && selector.value().ends_with("/cat")
        };
        assert!(after.selectors.iter().any(is_cat), "{after:?}");
        assert!(!before.selectors.iter().any(is_cat), "{before:?}");
    }
}

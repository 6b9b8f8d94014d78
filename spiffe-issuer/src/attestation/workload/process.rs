//! A process pinned by more than its number, so that a reused number is never taken for it.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::ErrorKind::NotFound;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, readlinkat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{FileStat, Mode, fstatat};

use crate::domain::{Fault, Kind};

/// A process of this machine; cheap to clone.
///
/// All that is read of it comes through one descriptor of its `/proc` directory. The kernel binds
/// that to the process and not to its number, so once the process has ended nothing can be read
/// through it any more, whoever has the number by then.
#[derive(Debug, Clone)]
pub struct ProcessRef(Arc<Pinned>);

#[derive(Debug)]
struct Pinned {
    pid: i32,
    /// When it started, in clock ticks since boot.
    started: u64,
    proc: OwnedFd,
    /// From the socket itself, where the kernel has `SO_PEERPIDFD` (Linux 6.5).
    pidfd: Option<OwnedFd>,
}

/// The program that a process runs: this changes with `execve`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    device: u64,
    inode: u64,
}

impl ProcessRef {
    /// The process that a pidfd stands for.
    ///
    /// # Errors
    ///
    /// Where the process has ended, or is not visible from here.
    pub fn by_pidfd(pidfd: OwnedFd) -> Result<Self, ProcessError> {
        let pid = pid_of(&pidfd)?;
        // Opened before the pidfd is asked whether the process lives: if it still does, then the
        // number was its own all the while.
        let pinned = Pinned::open(pid, Some(pidfd))?;
        pinned.check()?;
        Ok(Self(Arc::new(pinned)))
    }

    /// The process that has this number now.
    ///
    /// Weaker than [`by_pidfd`](Self::by_pidfd): whoever named the number may have meant a process
    /// that ended meanwhile. From here on the process is pinned all the same.
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub fn by_pid(pid: i32) -> Result<Self, ProcessError> {
        if pid <= 0 {
            return Err(ProcessError::Invisible);
        }
        let pinned = Pinned::open(pid, None)?;
        pinned.check()?;
        Ok(Self(Arc::new(pinned)))
    }

    /// Its number. Good for logs; nothing may be looked up by it.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.0.pid
    }

    /// Whether it is pinned since the moment that it was named.
    #[must_use]
    pub fn is_pinned_from_the_start(&self) -> bool {
        self.0.pidfd.is_some()
    }

    /// Makes sure that it still runs.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Gone`] where it does not.
    pub fn check(&self) -> Result<(), ProcessError> {
        self.0.check()
    }

    /// A file of its `/proc` directory, e.g. `status`, as text.
    ///
    /// # Errors
    ///
    /// Where it cannot be read, or the process has ended.
    pub fn read(&self, name: &'static str) -> Result<String, ProcessError> {
        self.0.read(name)
    }

    /// The program it runs, to be read. This is the very file that was executed, whatever stands
    /// at its path now, and in whatever mount namespace.
    ///
    /// # Errors
    ///
    /// Where this agent may not look, or the process has ended.
    pub fn executable(&self) -> Result<File, ProcessError> {
        self.0.open_file("exe")
    }

    /// What a link of its `/proc` directory says, e.g. `exe` or `ns/mnt`.
    ///
    /// # Errors
    ///
    /// Where this agent may not look, or the process has ended.
    pub fn link(&self, name: &'static str) -> Result<PathBuf, ProcessError> {
        readlinkat(&self.0.proc, name)
            .map(PathBuf::from)
            .map_err(|error| self.0.failed(name, error.into()))
    }

    /// Which program it runs, or `None` where this agent may not see that.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Gone`] where it has ended.
    pub fn image(&self) -> Result<Option<Image>, ProcessError> {
        match fstatat(&self.0.proc, "exe", AtFlags::empty()) {
            Ok(stat) => Ok(Some(Image::of(&stat))),
            Err(Errno::EACCES | Errno::EPERM) => Ok(None),
            Err(error) => match self.0.failed("exe", error.into()) {
                // A kernel thread has none.
                ProcessError::Read { source, .. } if source.kind() == NotFound => Ok(None),
                why => Err(why),
            },
        }
    }
}

impl Image {
    /// The program that this file is.
    pub(super) fn of(stat: &FileStat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }
}

impl Pinned {
    fn open(pid: i32, pidfd: Option<OwnedFd>) -> Result<Self, ProcessError> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let proc =
            open(&*format!("/proc/{pid}"), flags, Mode::empty()).map_err(|error| match error {
                Errno::ENOENT | Errno::ESRCH => ProcessError::Gone { pid },
                error => ProcessError::Read {
                    pid,
                    name: "",
                    source: error.into(),
                },
            })?;
        let mut pinned = Self {
            pid,
            started: 0,
            proc,
            pidfd,
        };
        pinned.started = pinned.stat()?.started;
        Ok(pinned)
    }

    fn check(&self) -> Result<(), ProcessError> {
        let gone = ProcessError::Gone { pid: self.pid };
        if let Some(pidfd) = &self.pidfd {
            // A pidfd becomes readable when its process ends.
            let mut asked = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            match poll(&mut asked, PollTimeout::ZERO) {
                Ok(0) => {}
                Ok(_) => return Err(gone),
                Err(error) => return Err(self.failed("pidfd", error.into())),
            }
        }
        let stat = self.stat()?;
        // The state is that of the first thread only, which may end before the others do, and does
        // for a moment when another one calls `execve`. A pidfd knows better.
        let has_ended = self.pidfd.is_none() && stat.has_ended;
        if has_ended || stat.started != self.started {
            return Err(gone);
        }
        Ok(())
    }

    fn stat(&self) -> Result<Stat, ProcessError> {
        let text = self.read("stat")?;
        Stat::read(&text).ok_or(ProcessError::Malformed {
            pid: self.pid,
            name: "stat",
        })
    }

    fn read(&self, name: &'static str) -> Result<String, ProcessError> {
        let mut bytes = Vec::new();
        self.open_file(name)?
            .take(LONGEST_FILE)
            .read_to_end(&mut bytes)
            .map_err(|error| self.failed(name, error))?;
        // The process chooses its own name, which need not be text.
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn open_file(&self, name: &'static str) -> Result<File, ProcessError> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        openat(&self.proc, name, flags, Mode::empty())
            .map(File::from)
            .map_err(|error| self.failed(name, error.into()))
    }

    fn failed(&self, name: &'static str, error: io::Error) -> ProcessError {
        let pid = self.pid;
        // What an ended process leaves behind is a directory in which nothing is found.
        let is_gone = match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ESRCH) => true,
            Some(Errno::ENOENT) => fstatat(&self.proc, "stat", AtFlags::empty()).is_err(),
            _ => false,
        };
        if is_gone {
            return ProcessError::Gone { pid };
        }
        ProcessError::Read {
            pid,
            name,
            source: error,
        }
    }
}

/// What we need of `/proc/<pid>/stat`.
struct Stat {
    has_ended: bool,
    started: u64,
}

impl Stat {
    fn read(text: &str) -> Option<Self> {
        // The process chooses its own name, which may hold spaces and parentheses; nothing after it
        // does.
        let (_, fields) = text.rsplit_once(") ")?;
        let mut fields = fields.split_ascii_whitespace();
        let has_ended = matches!(fields.next()?, "Z" | "X" | "x");
        let started = fields.nth(18)?.parse().ok()?;
        Some(Self { has_ended, started })
    }
}

/// The number that a process has in this PID namespace.
fn pid_of(pidfd: &OwnedFd) -> Result<i32, ProcessError> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let told = std::fs::read_to_string(path).map_err(ProcessError::Pidfd)?;
    let pid = told
        .lines()
        .find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    match pid {
        Some(pid) if pid > 0 => Ok(pid),
        Some(-1) => Err(ProcessError::Ended),
        _ => Err(ProcessError::Invisible),
    }
}

/// Why a process cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It ended before its number was known.
    #[error("the process has ended")]
    Ended,
    /// It has ended.
    #[error("process {pid} has ended")]
    Gone {
        /// The number that it had.
        pid: i32,
    },
    /// It runs in a PID namespace that this agent cannot see into.
    #[error("the process is not visible in this agent's PID namespace; the agent needs the host's")]
    Invisible,
    /// A file of the kernel says something else than expected.
    #[error("/proc/{pid}/{name} is not understood")]
    Malformed {
        /// Whose file.
        pid: i32,
        /// Which file.
        name: &'static str,
    },
    /// A pidfd would not tell whom it stands for.
    #[error("asking a pidfd for its process")]
    Pidfd(#[source] io::Error),
    /// A file of the process cannot be read.
    #[error("reading /proc/{pid}/{name}")]
    Read {
        /// Whose file.
        pid: i32,
        /// Which file.
        name: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl Fault for ProcessError {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }
}

/// `status` has about 1500 bytes, and a few more for every supplementary group.
const LONGEST_FILE: u64 = 1 << 20;

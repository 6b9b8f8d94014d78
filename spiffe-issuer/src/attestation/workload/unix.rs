//! The `unix` attestor: what the kernel itself says of a process, and the hash of its program.

mod hash;
mod per_user;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use nix::sys::stat::{FileStat, fstat, stat};
use nix::unistd::{Gid, Group, Uid, User};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::{Image, ProcessError, ProcessRef, WorkloadAttestor, WorkloadError};
use crate::config::{Issues, boolean, whole};
use crate::domain::{Selector, SelectorError, SelectorSet};
use crate::plugin::BuiltIn;

use hash::Hashes;
use per_user::PerUser;

/// Finds `unix:uid`, `unix:user`, `unix:gid`, `unix:group`, `unix:supplementary_gid` and
/// `unix:supplementary_group`; and, where it shall look at programs, `unix:path` and `unix:sha256`.
#[derive(Debug)]
pub struct Unix {
    programs: Option<Arc<Programs>>,
    /// Threads are what may run out here. Work on one goes on also when whoever asked has gone, so
    /// the place belongs to the work and not to the call.
    places: PerUser<Semaphore>,
}

/// `WorkloadAttestor "unix" {}`.
pub const ATTESTOR: BuiltIn<dyn WorkloadAttestor> = BuiltIn {
    name: KIND,
    make: |settings, _| {
        let mut issues = Issues::default();
        let attestor = settings.fields(&mut issues, |fields| {
            let looks_at_programs = fields.or("discover_workload_path", boolean, false);
            let limit = fields.or("workload_size_limit", whole::<SizeLimit>, 0);
            Some(match looks_at_programs {
                true => Unix::with_programs(limit),
                false => Unix::without_programs(),
            })
        });
        Ok(Arc::new(issues.finish(attestor)?.logged()))
    },
};

/// How programs are looked at.
#[derive(Debug)]
struct Programs {
    /// Larger programs are not hashed; no program at all where this is `None`.
    largest: Option<u64>,
    hashes: Hashes,
}

/// The setting `workload_size_limit`: 0 is no limit, and below 0 no program is hashed.
pub type SizeLimit = i64;

impl Unix {
    /// An attestor that does not look at programs.
    #[must_use]
    pub fn without_programs() -> Self {
        Self::looking_at(None)
    }

    /// An attestor that also tells the path and the hash of the program.
    #[must_use]
    pub fn with_programs(limit: SizeLimit) -> Self {
        let largest = match u64::try_from(limit) {
            Ok(0) => Some(u64::MAX),
            Ok(limit) => Some(limit),
            Err(_) => None,
        };
        Self::looking_at(Some(Arc::new(Programs {
            largest,
            hashes: Hashes::default(),
        })))
    }

    fn looking_at(programs: Option<Arc<Programs>>) -> Self {
        Self {
            programs,
            places: PerUser::new(|| Semaphore::new(AT_ONCE)),
        }
    }
}

#[async_trait]
impl WorkloadAttestor for Unix {
    async fn attest(&self, process: &ProcessRef) -> Result<SelectorSet, WorkloadError> {
        let owners = Owners::of(process)?;
        let (process, programs, uid) = (process.clone(), self.programs.clone(), owners.uid);
        // Nobody closes it.
        let place = self.places.of(uid).acquire_owned().await.ok();
        // Names may have to be asked over the network, and programs are read from disk.
        spawn_blocking(move || {
            let _until_done = place;
            let mut found = Findings::default();
            found.owners(owners)?;
            if let Some(programs) = programs {
                found.program(&process, uid, &programs)?;
            }
            Ok(found.0)
        })
        .await
        .unwrap_or(Err(WorkloadError::Stopped))
    }
}

#[derive(Default)]
struct Findings(SelectorSet);

impl Findings {
    fn add(&mut self, name: &str, value: &str) -> Result<(), SelectorError> {
        self.0
            .insert(Selector::new(KIND, &format!("{name}:{value}"))?);
        Ok(())
    }

    /// Whom the process runs as: the effective IDs, as SPIRE has it.
    fn owners(&mut self, owners: Owners) -> Result<(), SelectorError> {
        self.add("uid", &owners.uid.to_string())?;
        if let Some(user) = user_name(owners.uid) {
            self.add("user", &user)?;
        }
        self.add("gid", &owners.gid.to_string())?;
        if let Some(group) = group_name(owners.gid) {
            self.add("group", &group)?;
        }
        for gid in owners.supplementary {
            self.add("supplementary_gid", &gid.to_string())?;
            if let Some(group) = group_name(gid) {
                self.add("supplementary_group", &group)?;
            }
        }
        Ok(())
    }

    fn program(
        &mut self,
        process: &ProcessRef,
        uid: u32,
        how: &Programs,
    ) -> Result<(), WorkloadError> {
        let failed = |source| WorkloadError::Hash {
            pid: process.pid(),
            source,
        };
        let file = process.executable()?;
        let facts = fstat(&file).map_err(|error| failed(error.into()))?;
        if let Some(path) = path_of(process, &facts)? {
            self.add("path", &path.to_string_lossy())?;
        }
        match how.largest {
            None => {}
            Some(largest) if facts.st_size.unsigned_abs() > largest => {
                tracing::warn!(
                    pid = process.pid(),
                    size = facts.st_size,
                    limit = largest,
                    "Program is larger than workload_size_limit: no sha256 selector"
                );
            }
            Some(_) => {
                let digest = how.hashes.of(&file, &facts, uid).map_err(failed)?;
                self.add("sha256", &digest)?;
            }
        }
        Ok(())
    }
}

/// Where the program lies, as this agent sees it; `None` where it sees no such program there.
///
/// A path means something in one mount namespace only. And the program may have been deleted,
/// replaced or mounted over: its path names it only if the file there is the one that runs.
fn path_of(process: &ProcessRef, program: &FileStat) -> Result<Option<PathBuf>, WorkloadError> {
    let own = std::fs::read_link("/proc/self/ns/mnt").ok();
    if own.is_none() || process.link("ns/mnt").ok() != own {
        process.check()?;
        return Ok(None);
    }
    let path = process.link("exe")?;
    Ok(names(&path, program).then_some(path))
}

fn names(path: &Path, program: &FileStat) -> bool {
    // A selector is text; a path that is none could only be matched by another one.
    path.to_str().is_some() && stat(path).is_ok_and(|there| Image::of(&there) == Image::of(program))
}

/// What `/proc/<pid>/status` says of the owners.
struct Owners {
    uid: u32,
    gid: u32,
    supplementary: Vec<u32>,
}

impl Owners {
    fn of(process: &ProcessRef) -> Result<Self, ProcessError> {
        Self::read(&process.read("status")?).ok_or(ProcessError::Malformed {
            pid: process.pid(),
            name: "status",
        })
    }

    fn read(status: &str) -> Option<Self> {
        // The process chooses what stands behind `Name:`, but the kernel escapes line breaks there.
        let numbers = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            let numbers = line.split_ascii_whitespace().map(str::parse);
            numbers.collect::<Result<Vec<u32>, _>>().ok()
        };
        Some(Self {
            uid: *numbers("Uid:")?.get(EFFECTIVE)?,
            gid: *numbers("Gid:")?.get(EFFECTIVE)?,
            supplementary: numbers("Groups:")?,
        })
    }
}

fn user_name(uid: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(uid))
        .unwrap_or_else(|error| nameless("user", uid, error))
        .map(|user| user.name)
        .filter(|name| !name.is_empty())
}

fn group_name(gid: u32) -> Option<String> {
    Group::from_gid(Gid::from_raw(gid))
        .unwrap_or_else(|error| nameless("group", gid, error))
        .map(|group| group.name)
        .filter(|name| !name.is_empty())
}

/// Who asks by number is still served when the directory of names is away.
fn nameless<T>(what: &str, id: u32, error: nix::Error) -> Option<T> {
    tracing::warn!(what, id, %error, "Name could not be looked up");
    None
}

const KIND: &str = "unix";

/// How many processes of one user are looked at side by side.
const AT_ONCE: usize = 16;

/// The kernel lists the real ID, the effective, the saved and that for files.
const EFFECTIVE: usize = 1;

#[cfg(test)]
mod tests;

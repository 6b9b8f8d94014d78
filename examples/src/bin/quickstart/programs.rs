//! The programs that take part. All of them are built into the folder of this one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest;

use crate::trouble::Trouble;

pub(crate) struct Programs {
    pub(crate) server: PathBuf,
    pub(crate) agent: PathBuf,
    pub(crate) greeter_server: PathBuf,
    pub(crate) greeter_client: PathBuf,
    pub(crate) stranger: PathBuf,
}

impl Programs {
    pub(crate) fn beside_this_one() -> Result<Self, Trouble> {
        // Without symbolic links, for that is how an agent sees the path of a process.
        let this = std::env::current_exe()
            .and_then(|path| path.canonicalize())
            .map_err(|source| Trouble::io("finding the path of this program", source))?;
        let folder = this.parent().unwrap_or(&this);
        let program = |name| -> Result<PathBuf, Trouble> {
            let path = folder.join(name);
            path.canonicalize().map_err(|_| Trouble::NotBuilt(path))
        };
        Ok(Self {
            server: program("spiffe-server")?,
            agent: program("spiffe-agent")?,
            greeter_server: program("greeter-server")?,
            greeter_client: program("greeter-client")?,
            stranger: program("stranger")?,
        })
    }
}

/// Selectors that only processes of this very program fit, run by this user.
pub(crate) fn selectors_of(program: &Path, uid: u32) -> Result<[String; 3], Trouble> {
    let content = fs::read(program)
        .map_err(|source| Trouble::io(format!("reading {}", program.display()), source))?;
    let digest = digest::digest(&digest::SHA256, &content);
    let sha256: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    Ok([
        format!("unix:uid:{uid}"),
        format!("unix:path:{}", program.display()),
        format!("unix:sha256:{sha256}"),
    ])
}

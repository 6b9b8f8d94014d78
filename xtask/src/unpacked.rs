//! What `cargo package` leaves behind of packages that others are built with.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Removes what `cargo package` unpacked of this package to build others with it. Cargo knows it by name
/// and version, so the next run would build with the source of the last one.
pub(crate) fn forget(package: &str) -> io::Result<()> {
    match cargo_home() {
        Some(home) => forget_below(&home.join("registry/src"), package),
        None => Ok(()),
    }
}

fn forget_below(registries: &Path, package: &str) -> io::Result<()> {
    for registry in folders(registries)? {
        // One without a host in its name was made up for one run.
        if !registry.name.starts_with('-') {
            continue;
        }
        for unpacked in folders(&registry.path)? {
            if is_version_of(&unpacked.name, package) {
                fs::remove_dir_all(unpacked.path)?;
            }
        }
    }
    Ok(())
}

/// Whether a folder is named by this package and a version of it.
fn is_version_of(folder: &str, package: &str) -> bool {
    let rest = folder.strip_prefix(package);
    let version = rest.and_then(|rest| rest.strip_prefix('-'));
    version.is_some_and(|version| version.starts_with(|first: char| first.is_ascii_digit()))
}

struct Folder {
    name: String,
    path: PathBuf,
}

/// What is in a folder; nothing where there is none.
fn folders(of: &Path) -> io::Result<Vec<Folder>> {
    let entries = match fs::read_dir(of) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let folder = |entry: fs::DirEntry| Folder {
        name: entry.file_name().to_string_lossy().into_owned(),
        path: entry.path(),
    };
    entries.map(|entry| entry.map(folder)).collect()
}

/// Where cargo keeps what it fetched and unpacked.
#[expect(
    clippy::disallowed_methods,
    reason = "cargo itself is told by the environment"
)]
fn cargo_home() -> Option<PathBuf> {
    let told = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    told.or_else(|| Some(std::env::home_dir()?.join(".cargo")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_package_goes_and_only_where_cargo_made_the_registry_up() {
        let home = tempfile::tempdir().unwrap();
        let all = [
            ("-1234/spiffe-core-0.1.0", false),
            ("-5678/spiffe-core-0.2.0-rc.1", false),
            ("-1234/spiffe-core-more-0.1.0", true),
            ("-1234/spiffe-tower-0.1.0", true),
            ("somewhere-1234/spiffe-core-0.1.0", true),
        ];
        for (folder, _) in all {
            fs::create_dir_all(home.path().join(folder).join("src")).unwrap();
        }
        forget_below(home.path(), "spiffe-core").unwrap();
        for (folder, stays) in all {
            assert_eq!(home.path().join(folder).exists(), stays, "{folder}");
        }
        forget_below(&home.path().join("nowhere"), "spiffe-core").unwrap();
    }
}

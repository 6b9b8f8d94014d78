//! What cargo knows of a workspace: its packages, their features and dependencies.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// A package of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// From the top of the workspace.
    pub(crate) folder: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    /// All but `default`, sorted.
    pub(crate) features: Vec<String>,
    /// Whether others may depend on it.
    pub(crate) published: bool,
    /// The oldest Rust that can build it.
    pub(crate) rust_version: Option<String>,
}

/// What a package is built from, tests left aside.
#[derive(Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) optional: bool,
}

/// Asks cargo for the packages of a workspace, sorted by name.
pub(crate) fn packages(root: &Path) -> Result<Vec<Package>, WorkspaceError> {
    let answer = Command::new(cargo())
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()
        .map_err(WorkspaceError::Start)?;
    if !answer.status.success() {
        let message = String::from_utf8_lossy(&answer.stderr).trim().to_owned();
        return Err(WorkspaceError::Metadata { message });
    }
    read(&serde_json::from_slice(&answer.stdout).map_err(WorkspaceError::Json)?)
}

/// The cargo that runs this program.
#[expect(
    clippy::disallowed_methods,
    reason = "the one thing a chore asks the environment"
)]
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn read(metadata: &Value) -> Result<Vec<Package>, WorkspaceError> {
    let root = Path::new(text(metadata, "workspace_root")?);
    let mut packages = list(metadata, "packages")?
        .iter()
        .map(|package| read_package(package, root))
        .collect::<Result<Vec<_>, _>>()?;
    packages.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(packages)
}

fn read_package(package: &Value, root: &Path) -> Result<Package, WorkspaceError> {
    let folder = Path::new(text(package, "manifest_path")?)
        .parent()
        .unwrap_or(root);
    let mut dependencies = Vec::new();
    for dependency in list(package, "dependencies")? {
        if dependency["kind"] != "dev" {
            let optional = dependency["optional"] == true;
            dependencies.push(Dependency {
                name: text(dependency, "name")?.to_owned(),
                optional,
            });
        }
    }
    let features = package["features"]
        .as_object()
        .ok_or(WorkspaceError::Missing { key: "features" })?;
    Ok(Package {
        name: text(package, "name")?.to_owned(),
        folder: folder.strip_prefix(root).unwrap_or(folder).to_path_buf(),
        dependencies,
        features: features
            .keys()
            .filter(|name| *name != "default")
            .cloned()
            .collect(),
        // `publish = false` is an empty list of registries.
        published: package["publish"] != serde_json::json!([]),
        rust_version: package["rust_version"].as_str().map(str::to_owned),
    })
}

fn text<'a>(object: &'a Value, key: &'static str) -> Result<&'a str, WorkspaceError> {
    object[key].as_str().ok_or(WorkspaceError::Missing { key })
}

fn list<'a>(object: &'a Value, key: &'static str) -> Result<&'a [Value], WorkspaceError> {
    object[key]
        .as_array()
        .map(Vec::as_slice)
        .ok_or(WorkspaceError::Missing { key })
}

/// Why cargo could not be asked, or not be understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkspaceError {
    #[error("reading what `cargo metadata` printed")]
    Json(#[source] serde_json::Error),
    #[error("`cargo metadata` failed: {message}")]
    Metadata { message: String },
    #[error("`cargo metadata` printed no {key:?}")]
    Missing { key: &'static str },
    #[error("starting `cargo metadata`")]
    Start(#[source] io::Error),
}

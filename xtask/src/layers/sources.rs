//! All that the packages say in Rust, and where the things live that they name.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs, io,
    path::{self, PathBuf},
    slice,
};

use super::scan::{Path, Reference, Scan, scan};
use crate::{files::entries, workspace::Package};

/// Every source file, read once.
pub(super) struct Sources {
    pub(super) files: Vec<File>,
    crates: BTreeSet<String>,
    modules: BTreeSet<Path>,
    test_modules: BTreeSet<Path>,
    /// By the path that a `pub use` makes for a thing: the module it stands in, and what is written
    /// there.
    homes: BTreeMap<Path, (Path, Path)>,
}

/// A source file.
pub(super) struct File {
    /// From the top of the workspace.
    pub(super) path: PathBuf,
    pub(super) scan: Scan,
}

impl Sources {
    /// Reads `src` of each package.
    pub(super) fn read(root: &path::Path, packages: &[Package]) -> Result<Self, SourcesError> {
        let mut sources = Self {
            files: Vec::new(),
            crates: BTreeSet::new(),
            modules: BTreeSet::new(),
            test_modules: BTreeSet::new(),
            homes: BTreeMap::new(),
        };
        for package in packages {
            let name = package.name.replace('-', "_");
            let folder = root.join(&package.folder).join("src");
            for (path, module) in rust_files(&folder, slice::from_ref(&name))? {
                let text = fs::read_to_string(&path).map_err(|e| SourcesError::read(&path, e))?;
                let path = path
                    .strip_prefix(root)
                    .map_or_else(|_| path.clone(), path::Path::to_path_buf);
                match scan(&text, &module) {
                    Ok(scan) => sources.add(File { path, scan }, module),
                    Err(source) => return Err(SourcesError::Lex { path, source }),
                }
            }
            sources.crates.insert(name);
        }
        Ok(sources)
    }

    fn add(&mut self, file: File, module: Path) {
        self.test_modules
            .extend(file.scan.test_modules.iter().cloned());
        for export in &file.scan.exports {
            let known_as = [&export.module, slice::from_ref(&export.name)].concat();
            self.homes
                .insert(known_as, (export.module.clone(), export.written.clone()));
        }
        self.modules.insert(module);
        self.files.push(file);
    }

    /// What a file names outside of tests, each with the path at which it lives.
    pub(super) fn shipped<'a>(
        &'a self,
        file: &'a File,
    ) -> impl Iterator<Item = (&'a Reference, Path)> {
        let is_test = |module: &Path| {
            self.test_modules
                .iter()
                .any(|tests| module.starts_with(tests))
        };
        file.scan
            .references
            .iter()
            .filter(move |found| !is_test(&found.module))
            .map(|found| (found, self.resolved(&found.module, &found.written)))
    }

    /// Follows re-exports home, so that a facade hides nothing.
    fn resolved(&self, module: &Path, written: &Path) -> Path {
        let mut path = self.absolute(module, written);
        // Bounded, because two modules may export each other's names.
        for _ in 0..8 {
            let home = (1..=path.len())
                .find_map(|length| Some((length, self.homes.get(&path[..length])?)));
            let Some((length, (module, written))) = home else {
                break;
            };
            path = [self.absolute(module, written).as_slice(), &path[length..]].concat();
        }
        path
    }

    /// Begins a path at its crate, where it begins at a place in ours.
    fn absolute(&self, module: &Path, written: &Path) -> Path {
        let here = written.iter().take_while(|word| *word == "self").count();
        let ups = written[here..]
            .iter()
            .take_while(|word| *word == "super")
            .count();
        let rest = &written[here + ups..];
        if here + ups > 0 {
            return [&module[..module.len().saturating_sub(ups)], rest].concat();
        }
        match written.split_first() {
            Some((first, rest)) if first == "crate" => [&module[..1], rest].concat(),
            Some((first, _)) if self.is_child(module, first) => {
                [module.as_slice(), written].concat()
            }
            _ => written.clone(),
        }
    }

    fn is_child(&self, module: &Path, name: &String) -> bool {
        let child = [module, slice::from_ref(name)].concat();
        !self.crates.contains(name) && self.modules.contains(&child)
    }
}

/// Rust files below a folder with the modules that they are.
fn rust_files(
    folder: &path::Path,
    module: &[String],
) -> Result<Vec<(PathBuf, Path)>, SourcesError> {
    let mut found = Vec::new();
    for path in entries(folder).map_err(|e| SourcesError::read(folder, e))? {
        let name = path
            .file_stem()
            .and_then(OsStr::to_str)
            .unwrap_or_default()
            .to_owned();
        let inner = [module, slice::from_ref(&name)].concat();
        if path.is_dir() && name != GENERATED {
            found.extend(rust_files(&path, &inner)?);
        } else if path.extension() == Some(OsStr::new("rs")) {
            let is_folder = matches!(name.as_str(), "lib" | "main" | "mod");
            found.push((path, if is_folder { module.to_vec() } else { inner }));
        }
    }
    Ok(found)
}

/// Folders of generated code, which is not held to anything.
const GENERATED: &str = "gen";

/// Why the code could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourcesError {
    #[error("{path} is not Rust")]
    Lex {
        path: PathBuf,
        source: proc_macro2::LexError,
    },
    #[error("reading {path}")]
    Read { path: PathBuf, source: io::Error },
}

impl SourcesError {
    fn read(path: &path::Path, source: io::Error) -> Self {
        Self::Read {
            path: path.to_path_buf(),
            source,
        }
    }
}

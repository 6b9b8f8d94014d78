//! Holds the workspace to its layers: finds code that names a room it must not know.

mod rules;
mod scan;
mod sources;

use std::{fmt, path, path::PathBuf};

use crate::workspace::{self, Package, WorkspaceError};
use rules::{LIGHT, PACKAGE_RULES, RULES};
use scan::Path;
use sources::{File, Sources, SourcesError};

/// Fails if anything in the workspace names what it must not.
pub(crate) fn check(root: &path::Path) -> Result<(), LayersError> {
    let packages = workspace::packages(root)?;
    let mut breaches: Vec<Breach> = packages.iter().flat_map(dependencies_beyond).collect();
    breaches.extend(code_beyond(&Sources::read(root, &packages)?));
    if breaches.is_empty() {
        Ok(())
    } else {
        Err(LayersError::Breached(Breaches(breaches)))
    }
}

/// Dependencies that a package must not have.
fn dependencies_beyond(package: &Package) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for rule in PACKAGE_RULES
        .iter()
        .filter(|rule| rule.package == package.name)
    {
        for dependency in &package.dependencies {
            let name = dependency.name.replace('-', "_");
            let forbidden = rule
                .never
                .iter()
                .any(|never| is_of_family(&name, &never.replace('-', "_")));
            if forbidden && !(rule.unless_optional && dependency.optional) {
                breaches.push(Breach {
                    file: package.folder.join("Cargo.toml"),
                    line: 1,
                    room: package.name.clone(),
                    named: dependency.name.clone(),
                    why: rule.why,
                });
            }
        }
    }
    breaches
}

/// Places where code names what it must not.
fn code_beyond(sources: &Sources) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for file in &sources.files {
        breaches.extend(included_outside_proto(file));
        for (found, path) in sources.shipped(file) {
            breaches.extend(forbidden(&found.module, &path).map(|(room, why)| Breach {
                file: file.path.clone(),
                line: found.line,
                room: room.to_owned(),
                named: path.join("::"),
                why,
            }));
        }
    }
    breaches
}

/// The rule that a path breaks when a module names it: the room it is written for, and the reason.
fn forbidden(module: &Path, path: &Path) -> Option<(&'static str, &'static str)> {
    RULES.iter().find_map(|rule| {
        let room = rule
            .rooms
            .iter()
            .copied()
            .find(|room| is_in(module, room))?;
        if rule.except.iter().any(|room| is_in(module, room)) {
            return None;
        }
        let broken = rule.never.iter().any(|never| {
            let at_home =
                is_in(path, room) && format!("{room}::").starts_with(&format!("{never}::"));
            is_in(path, never) && !at_home
        });
        broken.then_some((room, rule.why))
    })
}

/// Whether a path leads into a room, or to an outside crate of its family.
fn is_in(path: &Path, room: &str) -> bool {
    let mut path = path.iter();
    room.split("::")
        .enumerate()
        .all(|(at, part)| match path.next() {
            Some(name) if at == 0 && !room.starts_with("spiffe") => is_of_family(name, part),
            Some(name) => name == part,
            None => false,
        })
}

/// `tokio_stream` is of the family of `tokio`.
fn is_of_family(name: &str, family: &str) -> bool {
    let relative = || {
        name.strip_prefix(family)
            .is_some_and(|rest| rest.starts_with('_'))
    };
    let ours = family.starts_with("spiffe");
    name == family || (!ours && relative() && !LIGHT.contains(&name))
}

/// Only `proto.rs` at the top of a crate includes generated code.
fn included_outside_proto(file: &File) -> Vec<Breach> {
    if file.path.ends_with("src/proto.rs") {
        return Vec::new();
    }
    let breach = |line: &usize| Breach {
        file: file.path.clone(),
        line: *line,
        room: file.path.display().to_string(),
        named: "include!".to_owned(),
        why: "only proto.rs includes generated code",
    };
    file.scan.includes.iter().map(breach).collect()
}

/// One place where something is named that must not be known there.
#[derive(Debug)]
pub(crate) struct Breach {
    file: PathBuf,
    line: usize,
    room: String,
    named: String,
    why: &'static str,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            room,
            named,
            why,
        } = self;
        write!(
            f,
            "{}:{line}: {room} must not name {named}: {why}",
            file.display()
        )
    }
}

/// Breaches, one on each line.
#[derive(Debug)]
pub(crate) struct Breaches(Vec<Breach>);

impl fmt::Display for Breaches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|breach| write!(f, "\n  {breach}"))
    }
}

/// Why the layers do not hold, or could not be looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayersError {
    #[error("the layers do not hold:{0}")]
    Breached(Breaches),
    #[error("reading the code")]
    Sources(#[from] SourcesError),
    #[error("asking for the packages")]
    Workspace(#[from] WorkspaceError),
}

#[cfg(test)]
mod tests;

//! What the standards require, and which tests show it: `docs/conformance.md`.
//!
//! The page is made of three things: the list of requirements, the marks above tests (see
//! [`marks`]), and a list of what no test shows yet. That list says why, and can only get shorter.

mod marks;
mod not_yet;
mod page;
mod requirements;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use self::{marks::Test, not_yet::NotYet, requirements::Requirement};
use crate::workspace::{self, WorkspaceError};

/// Writes the page, and takes off the list of what is missing whatever a test shows by now.
pub(crate) fn write(root: &Path) -> Result<(), ConformanceError> {
    let mut coverage = Coverage::read(root)?;
    coverage
        .not_yet
        .retain(|case| !coverage.shown.contains_key(case));
    store(&root.join(NOT_YET), &coverage.not_yet.to_string())?;
    store(&root.join(PAGE), &page::written(&coverage))?;
    coverage.judge(root)
}

/// Fails where a requirement has no test, a mark names none, or the page is not what would be
/// written.
pub(crate) fn check(root: &Path) -> Result<(), ConformanceError> {
    Coverage::read(root)?.judge(root)
}

const REQUIREMENTS: &str = "spiffe-core/tests/vectors/requirements.json";
const NOT_YET: &str = "xtask/src/conformance/not-yet.txt";
const PAGE: &str = "docs/conformance.md";

/// All that the page tells.
struct Coverage {
    requirements: Vec<Requirement>,
    shown: BTreeMap<Case, Vec<Test>>,
    not_yet: NotYet,
}

/// One half of a requirement: that what obeys it passes, or that what breaks it does not. Written
/// as the requirement's ID and a sign.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Case {
    requirement: String,
    side: Side,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Positive,
    Negative,
}

impl Coverage {
    fn read(root: &Path) -> Result<Self, ConformanceError> {
        let mut shown: BTreeMap<Case, Vec<Test>> = BTreeMap::new();
        // This package's own tests are about marks, and are full of them.
        let folders = workspace::packages(root)?
            .into_iter()
            .filter(|package| package.name != env!("CARGO_PKG_NAME"))
            .map(|package| package.folder);
        for folder in folders {
            for test in marks::in_folder(root, &folder)? {
                for case in &test.cases {
                    shown.entry(case.clone()).or_default().push(test.clone());
                }
            }
        }
        Ok(Self {
            requirements: requirements::read(&load(&root.join(REQUIREMENTS))?)?,
            shown,
            not_yet: load(&root.join(NOT_YET))?.parse()?,
        })
    }

    fn judge(&self, root: &Path) -> Result<(), ConformanceError> {
        let mut flaws = self.flaws();
        if load(&root.join(PAGE))? != page::written(self) {
            flaws.push(Flaw::OldPage);
        }
        println!(
            "{} of {} cases that the SDK has to pass are shown by tests; not yet: {}",
            self.due()
                .filter(|case| self.shown.contains_key(case))
                .count(),
            self.due().count(),
            self.not_yet.len(),
        );
        if flaws.is_empty() {
            return Ok(());
        }
        Err(ConformanceError::Flaws { flaws })
    }

    fn flaws(&self) -> Vec<Flaw> {
        let known = |case: &Case| self.requirements.iter().any(|r| r.id == case.requirement);
        let unknown = |case: &&Case| !known(case);
        let marked = self.shown.iter().filter(|(case, _)| !known(case));
        let marked = marked.map(|(case, tests)| Flaw::Unknown {
            case: case.clone(),
            place: tests[0].to_string(),
        });
        let listed = self
            .not_yet
            .cases()
            .filter(unknown)
            .map(|case| Flaw::Unknown {
                case: case.clone(),
                place: NOT_YET.to_owned(),
            });
        let done = self
            .not_yet
            .cases()
            .filter(|case| self.shown.contains_key(case));
        let missing = self
            .due()
            .filter(|case| !self.shown.contains_key(case) && self.not_yet.why(case).is_none());
        marked
            .chain(listed)
            .chain(done.cloned().map(Flaw::Done))
            .chain(missing.map(Flaw::Untested))
            .collect()
    }

    /// What the SDK has to show.
    fn due(&self) -> impl Iterator<Item = Case> {
        self.requirements
            .iter()
            .filter(|requirement| requirement.is_of_the_sdk())
            .flat_map(Requirement::cases)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.side {
            Side::Positive => '+',
            Side::Negative => '-',
        };
        write!(f, "{}{sign}", self.requirement)
    }
}

/// What is wrong with marks, list or page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Flaw {
    #[error("{0} is shown by a test: `cargo xtask conformance` takes it off {NOT_YET}")]
    Done(Case),
    #[error("{PAGE} is not what would be written: run `cargo xtask conformance`")]
    OldPage,
    #[error("{case}, named by {place}, is not in {REQUIREMENTS}")]
    Unknown { case: Case, place: String },
    #[error("{0} is shown by no test")]
    Untested(Case),
}

/// Why the page could not be made, or does not hold.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConformanceError {
    #[error("conformance:\n  {}", lines(flaws))]
    Flaws { flaws: Vec<Flaw> },
    #[error("{path} line {line}: a mark that is not above a test that runs")]
    LooseMark { path: String, line: usize },
    #[error("{text:?} is no case: write the ID of a requirement and `+` or `-`, as in `JWT-5-`")]
    NoCase { text: String },
    #[error("{NOT_YET} gives no reason for {case}")]
    NoReason { case: Case },
    #[error("reading {REQUIREMENTS}")]
    Requirements(#[source] serde_json::Error),
    #[error("requirement {index} of {REQUIREMENTS} has no {member:?}")]
    Requirement { index: usize, member: &'static str },
    #[error("reading or writing {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
}

fn lines(flaws: &[Flaw]) -> String {
    let lines: Vec<_> = flaws.iter().map(ToString::to_string).collect();
    lines.join("\n  ")
}

/// A text file; a missing one is empty.
fn load(path: &Path) -> Result<String, ConformanceError> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(|source| ConformanceError::File {
            path: path.to_path_buf(),
            source,
        }),
    }
}

fn store(path: &Path, text: &str) -> Result<(), ConformanceError> {
    fs::write(path, text).map_err(|source| ConformanceError::File {
        path: path.to_path_buf(),
        source,
    })
}

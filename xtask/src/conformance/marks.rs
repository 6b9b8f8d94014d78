//! The marks above tests.
//!
//! `// conformance: JWT-5+ JWT-5-` above `#[test]` says that the test shows a token which obeys
//! requirement JWT-5 to pass, and one which breaks it not to.

use std::{fmt, path::Path};

use super::{Case, ConformanceError, load};
use crate::files;

/// A test, and what it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Test {
    pub(super) name: String,
    /// From the top of the workspace, with slashes.
    pub(super) file: String,
    pub(super) cases: Vec<Case>,
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.name, self.file)
    }
}

/// All marked tests of the Rust files in `folder`, a path from `root`.
pub(super) fn in_folder(root: &Path, folder: &Path) -> Result<Vec<Test>, ConformanceError> {
    let mut found = Vec::new();
    let path = root.join(folder);
    let entries =
        files::entries(&path).map_err(|source| ConformanceError::File { path, source })?;
    for entry in entries {
        let below = entry.strip_prefix(root).unwrap_or(&entry);
        if entry.is_dir() {
            let is_built = below.file_name().is_some_and(|name| name == "target");
            if !is_built {
                found.extend(in_folder(root, below)?);
            }
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
            found.extend(in_file(&parts.join("/"), &load(&entry)?)?);
        }
    }
    Ok(found)
}

/// All marked tests of one file.
pub(super) fn in_file(file: &str, text: &str) -> Result<Vec<Test>, ConformanceError> {
    let mut found = Vec::new();
    let mut lines = text.lines().map(str::trim).enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(mark) = line.strip_prefix(MARK) else {
            continue;
        };
        let mut cases = read_cases(mark)?;
        let name = name_of_marked(&mut lines, &mut cases)?;
        found.push(Test {
            name: name.ok_or_else(|| ConformanceError::LooseMark {
                path: file.to_owned(),
                line: at + 1,
            })?,
            file: file.to_owned(),
            cases,
        });
    }
    Ok(found)
}

/// Reads on to the function, collecting further marks; nothing where that is no test, or is ignored.
fn name_of_marked<'a>(
    lines: &mut impl Iterator<Item = (usize, &'a str)>,
    cases: &mut Vec<Case>,
) -> Result<Option<String>, ConformanceError> {
    let mut is_test = false;
    for (_, line) in lines {
        if let Some(mark) = line.strip_prefix(MARK) {
            cases.extend(read_cases(mark)?);
        } else if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if line.starts_with("#[ignore") {
            return Ok(None);
        } else if line.starts_with("#[") || line.starts_with("//") || !is_item(line) {
            // Other attributes, also on several lines.
        } else {
            return Ok(is_test.then(|| name_of(line)).flatten());
        }
    }
    Ok(None)
}

fn read_cases(mark: &str) -> Result<Vec<Case>, ConformanceError> {
    let mut cases = mark.split_whitespace().map(str::parse);
    cases.by_ref().collect()
}

fn is_item(line: &str) -> bool {
    let starts = [
        "fn ",
        "async fn ",
        "pub",
        "mod ",
        "struct ",
        "impl",
        "const ",
        "use ",
        "let ",
    ];
    line.is_empty() || line == "}" || starts.iter().any(|start| line.starts_with(start))
}

fn name_of(line: &str) -> Option<String> {
    let rest = line.strip_prefix("async ").unwrap_or(line);
    let name = rest.strip_prefix("fn ")?.split('(').next()?;
    Some(name.to_owned())
}

const MARK: &str = "// conformance:";

//! Reading a file of vectors: JSON, either a list of cases, or an object that has one.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

use crate::verdict::Verdict;

/// A file of vectors.
pub(crate) struct File {
    path: PathBuf,
    content: Value,
}

impl File {
    /// Reads a file; nothing where there is none.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, FileError> {
        let text = match text(path) {
            Ok(text) => text,
            Err(FileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let path = path.to_path_buf();
        match serde_json::from_slice(&text) {
            Ok(content) => Ok(Some(Self { path, content })),
            Err(source) => Err(FileError::Json { path, source }),
        }
    }

    /// All cases, in their order; there is at least one.
    pub(crate) fn cases(&self) -> Result<Vec<Case<'_>>, FileError> {
        let cases = match &self.content {
            Value::Array(cases) => Some(cases),
            content => content["cases"].as_array(),
        };
        let cases = cases.filter(|cases| !cases.is_empty());
        let cases = cases.ok_or_else(|| self.missing(None, "cases"))?;
        let numbered = cases.iter().enumerate().map(|(index, value)| Case {
            file: self,
            index,
            value,
        });
        Ok(numbered.collect())
    }

    /// The members of one object of the file.
    pub(crate) fn object(
        &self,
        member: &'static str,
    ) -> Result<&serde_json::Map<String, Value>, FileError> {
        let object = self.content[member].as_object();
        object.ok_or_else(|| self.missing(None, member))
    }

    pub(crate) fn missing(&self, case: Option<usize>, member: &'static str) -> FileError {
        FileError::Member {
            path: self.path.clone(),
            case: case.map(|at| format!(" case {at}")).unwrap_or_default(),
            member,
        }
    }
}

/// What a file says. Only regular files are read: a pipe might never begin, and a device never end.
fn text(path: &Path) -> Result<Vec<u8>, FileError> {
    let path_of = || path.to_path_buf();
    let unreadable = |source| FileError::Read {
        path: path_of(),
        source,
    };
    // Before it is opened, which for a pipe takes as long as nobody writes.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(FileError::NotAFile { path: path_of() });
    }
    let mut text = Vec::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    let read = file.take(LONGEST + 1).read_to_end(&mut text);
    if read.map_err(unreadable)? as u64 > LONGEST {
        return Err(FileError::TooLong { path: path_of() });
    }
    Ok(text)
}

/// How many bytes a file may have: far more than any that is known.
const LONGEST: u64 = 64 * 1024 * 1024;

/// One case of a file.
pub(crate) struct Case<'a> {
    file: &'a File,
    index: usize,
    value: &'a Value,
}

impl<'a> Case<'a> {
    /// What it is called; a case without a name is its input.
    pub(crate) fn name(&self) -> String {
        let name = self.value["name"].as_str();
        let name = name.or_else(|| self.value["input"].as_str());
        name.map_or_else(|| self.index.to_string(), str::to_owned)
    }

    /// What is expected; nothing where the standard leaves it open.
    pub(crate) fn expected(&self) -> Result<Option<Verdict>, FileError> {
        let accepted = match (self.value["expect"].as_str(), self.value["ok"].as_bool()) {
            (Some("choice"), _) => return Ok(None),
            (Some("accept" | "ok"), _) | (None, Some(true)) => true,
            (Some("reject" | "error"), _) | (None, Some(false)) => false,
            _ => return Err(self.missing("expect")),
        };
        Ok(Some(if accepted {
            Verdict::Accept(self.counts().or_else(|| self.id()))
        } else {
            let why = self.value["reason"].as_str();
            Verdict::Reject(why.map(str::to_owned))
        }))
    }

    fn id(&self) -> Option<String> {
        self.value["spiffe_id"].as_str().map(str::to_owned)
    }

    /// How many authorities a bundle has, of each kind.
    fn counts(&self) -> Option<String> {
        let count = |kind| self.value[kind].as_u64();
        Some(counted(
            count("x509_authorities")?,
            count("jwt_authorities")?,
            count("wit_authorities")?,
        ))
    }

    pub(crate) fn text(&self, member: &'static str) -> Result<&'a str, FileError> {
        let text = self.value[member].as_str();
        text.ok_or_else(|| self.missing(member))
    }

    /// A list of bytes, each in standard base64.
    pub(crate) fn bytes(&self, member: &'static str) -> Result<Vec<Vec<u8>>, FileError> {
        let bytes = decoded(&self.value[member]);
        bytes.ok_or_else(|| self.missing(member))
    }

    fn missing(&self, member: &'static str) -> FileError {
        self.file.missing(Some(self.index), member)
    }
}

/// A list of bytes, each in standard base64.
pub(crate) fn decoded(list: &Value) -> Option<Vec<Vec<u8>>> {
    let list = list.as_array()?.iter();
    list.map(|text| BASE64_STANDARD.decode(text.as_str()?).ok())
        .collect()
}

/// How a bundle of so many authorities is shown.
pub(crate) fn counted(x509: u64, jwt: u64, wit: u64) -> String {
    format!("{x509} X.509, {jwt} JWT, {wit} WIT")
}

/// Why something cannot be judged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("{}:{case} has no usable {member:?}", path.display())]
    Member {
        path: PathBuf,
        case: String,
        member: &'static str,
    },
    #[error("{} is no JSON", path.display())]
    Json {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{} is no regular file", path.display())]
    NotAFile { path: PathBuf },
    #[error("{} holds no file of vectors that is known here", folder.display())]
    NothingToJudge { folder: PathBuf },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is longer than {LONGEST} bytes", path.display())]
    TooLong { path: PathBuf },
}

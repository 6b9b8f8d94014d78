//! What the fuzzer has found, a table for each target: `fuzz/corpus/<target>.txt` holds an input on
//! each line, in base64. `cargo fuzz` wants a folder of files beside it; tests read the table.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use base64::{DecodeError, Engine, prelude::BASE64_STANDARD};

use crate::files::entries;

/// Makes the table of each folder in `fuzz/corpus`.
pub(crate) fn pack(root: &Path) -> Result<(), CorpusError> {
    for folder in entries_of(&corpus(root))?
        .into_iter()
        .filter(|path| path.is_dir())
    {
        let mut inputs = BTreeSet::new();
        for file in entries_of(&folder)? {
            inputs
                .insert(fs::read(&file).map_err(|cause| CorpusError::Read { path: file, cause })?);
        }
        let table = folder.with_extension("txt");
        let lines: String = inputs.iter().map(|input| line(input)).collect();
        fs::write(&table, lines).map_err(|cause| CorpusError::Write { path: table, cause })?;
    }
    Ok(())
}

/// Makes the folder of each table in `fuzz/corpus`. What the fuzzer has found since stays there; what
/// was in an earlier table does not, or `pack` would take it in again.
pub(crate) fn unpack(root: &Path) -> Result<(), CorpusError> {
    for table in entries_of(&corpus(root))?
        .into_iter()
        .filter(|path| path.is_file())
    {
        let folder = table.with_extension("");
        let write = |path: &Path, cause| CorpusError::Write {
            path: path.to_owned(),
            cause,
        };
        fs::create_dir_all(&folder).map_err(|cause| write(&folder, cause))?;
        let text = fs::read_to_string(&table);
        let text = text.map_err(|cause| CorpusError::Read {
            path: table.clone(),
            cause,
        })?;
        for old in entries_of(&folder)?
            .into_iter()
            .filter(|file| is_ours(file))
        {
            fs::remove_file(&old).map_err(|cause| write(&old, cause))?;
        }
        for (at, line) in text.lines().enumerate() {
            let input = BASE64_STANDARD.decode(line);
            let input = input.map_err(|cause| CorpusError::Line {
                path: table.clone(),
                line: at + 1,
                cause,
            })?;
            let file = folder.join(format!("{at:04}"));
            fs::write(&file, input).map_err(|cause| write(&file, cause))?;
        }
    }
    Ok(())
}

/// Whether the file came of a table: those of the fuzzer are named after their digests.
fn is_ours(file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.parse::<u32>().is_ok())
}

fn line(input: &[u8]) -> String {
    BASE64_STANDARD.encode(input) + "\n"
}

fn corpus(root: &Path) -> PathBuf {
    root.join("fuzz/corpus")
}

fn entries_of(folder: &Path) -> Result<Vec<PathBuf>, CorpusError> {
    entries(folder).map_err(|cause| CorpusError::Read {
        path: folder.to_owned(),
        cause,
    })
}

/// Why there is no table, or no folder.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CorpusError {
    #[error("{}:{line} is not base64", path.display())]
    Line {
        path: PathBuf,
        line: usize,
        #[source]
        cause: DecodeError,
    },
    #[error("reading {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("writing {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_becomes_a_folder_and_the_same_table_again() {
        let root = tempfile::tempdir().unwrap();
        let folder = corpus(root.path());
        fs::create_dir_all(&folder).unwrap();
        let table = folder.join("names.txt");
        let text: String = [b"".as_slice(), b"a", b"\xff\n\0"].map(line).concat();
        fs::write(&table, &text).unwrap();

        unpack(root.path()).unwrap();
        assert_eq!(fs::read(folder.join("names/0002")).unwrap(), b"\xff\n\0");
        fs::remove_file(&table).unwrap();
        pack(root.path()).unwrap();
        assert_eq!(fs::read_to_string(&table).unwrap(), text);

        let found = folder.join("names/86f7e437faa5a7fce15d1ddcb9eaeaea377667b8");
        fs::write(&found, "a").unwrap();
        fs::write(&table, "YQ==\n").unwrap();
        unpack(root.path()).unwrap();
        assert_eq!(fs::read(folder.join("names/0000")).unwrap(), b"a");
        assert!(!folder.join("names/0001").exists(), "of the earlier table");
        assert!(found.exists(), "the fuzzer's own");

        fs::write(&table, "YQ==\n?\n").unwrap();
        let told = unpack(root.path()).unwrap_err().to_string();
        assert!(told.ends_with("names.txt:2 is not base64"), "{told}");
    }
}

//! From a file to the tree: which language it is in, and what its variables stand for.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{Issues, Node, Place, hcl, json, toml};

/// No configuration is larger; what is, is the wrong file.
const MAX_SIZE: u64 = 1 << 20;

/// Reads the file at `path`. With `expand_env` every `$NAME` and `${NAME}` in it is first replaced
/// by that variable of the environment, one that is not set by nothing.
///
/// # Errors
///
/// Why the file cannot be read, or every fault of its syntax.
pub fn load(path: &Path, expand_env: bool) -> Result<Node, Issues> {
    let mut text = read_file(path).map_err(|error| Issues::one(&Place::default(), error))?;
    if expand_env {
        text = expand(&text, |name| env(name).unwrap_or_default());
    }
    parse(&path.display().to_string(), &text)
}

/// Reads a configuration. A name that ends in `.toml` or `.json` says which language it is in;
/// else a text that begins with `{` is JSON, with `[` TOML, and any other HCL.
///
/// # Errors
///
/// What is wrong with its syntax, `source` being the name of the file.
pub fn parse(source: &str, text: &str) -> Result<Node, Issues> {
    let ending = Path::new(source).extension().and_then(|e| e.to_str());
    match (ending, text.trim_start().chars().next()) {
        (Some("toml"), _) => toml::read(source, text),
        (Some("json"), _) | (_, Some('{')) => json::read(source, text),
        (_, Some('[')) => toml::read(source, text),
        _ => hcl::read(source, text),
    }
}

/// A variable of the environment. Nothing else in the issuer reads it.
pub fn env(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    std::env::var(name).ok()
}

/// The text of a configuration file.
///
/// # Errors
///
/// Why there is none, with the path.
pub fn read_file(path: &Path) -> Result<String, ReadError> {
    let unreadable = |error| ReadError::Unreadable {
        path: path.to_owned(),
        error,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    let mut file = file.take(MAX_SIZE + 1);
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(ReadError::TooLarge(path.to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        ReadError::NotText {
            path: path.to_owned(),
            line: good.iter().filter(|byte| **byte == b'\n').count() + 1,
        }
    })
}

/// Why a configuration file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not text.
    #[error("{}:{line}: the file is not UTF-8 text", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The line with the first wrong byte.
        line: usize,
    },
    /// It is larger than any configuration.
    #[error("{}: the file is larger than 1 MiB; is it a configuration?", .0.display())]
    TooLarge(PathBuf),
    /// The system says why, in the words that Go uses for it.
    #[error("open {}: {}", path.display(), in_go_words(error))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// `no such file or directory`, where Rust writes a capital letter and adds the number.
fn in_go_words(error: &io::Error) -> String {
    let text = error.to_string();
    match (error.raw_os_error(), text.split_once(" (os error")) {
        (Some(_), Some((words, _))) => words.to_lowercase(),
        _ => text,
    }
}

/// Replaces variables as Go's `os.Expand` does: a dollar sign that no name follows stays, and
/// `${` without a name or an end is dropped.
fn expand(text: &str, value: impl Fn(&str) -> String) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        let (name, length) = variable(after);
        match (name, length) {
            ("", 0) => expanded.push('$'),
            ("", _) => {}
            (name, _) => expanded.push_str(&value(name)),
        }
        rest = &after[length..];
    }
    expanded.push_str(rest);
    expanded
}

/// The name that follows a dollar sign, and how many bytes it takes.
fn variable(text: &str) -> (&str, usize) {
    if let Some(braced) = text.strip_prefix('{') {
        return match braced.find('}') {
            Some(end) => (&braced[..end], end + 2),
            None => ("", 1),
        };
    }
    // The shell's one-letter variables, of which a program has none.
    if text.starts_with(|c: char| c.is_ascii_digit() || "*#$@!?-".contains(c)) {
        return (&text[..1], 1);
    }
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    (&text[..end], end)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn variables_are_replaced_as_go_replaces_them() {
        for (text, expanded) in [
            ("", ""),
            ("plain", "plain"),
            ("$A", "a"),
            ("$A.$A/", "a.a/"),
            ("x${A}x", "xax"),
            ("${A", "A"),
            ("${}", ""),
            ("${A B}", "<A B>"),
            ("$", "$"),
            ("100$ a", "100$ a"),
            ("$\u{e9}", "$\u{e9}"),
            ("$$A", "<$>A"),
            ("$1x", "<1>x"),
            ("${*}", "<*>"),
            ("$A_B", "<A_B>"),
        ] {
            let value = |name: &str| match name {
                "A" => "a".to_owned(),
                other => format!("<{other}>"),
            };
            assert_eq!(expand(text, value), expanded, "{text}");
        }
    }

    #[test]
    fn the_language_is_told_by_the_ending_and_else_by_the_first_character() {
        for (source, text) in [
            ("a.conf", "k = \"v\""),
            ("a.hcl", "\n k = \"v\""),
            ("", "k = \"v\""),
            ("a.conf", " {\"k\": \"v\"}"),
            ("a.json", "{\"k\": \"v\"}"),
            ("a.toml", "k = 'v'"),
            ("a.conf", "\n[t]\nk = 'v'"),
        ] {
            assert!(parse(source, text).is_ok(), "{source}: {text}");
        }
        assert!(parse("a.json", "k = \"v\"").is_err());
        assert!(parse("a.toml", "k { }").is_err());
        assert!(parse("a.conf", "k = 'v'").is_err());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let told = |bytes: Option<&[u8]>| {
            let path = dir.path().join("a.conf");
            let _ = std::fs::remove_file(&path);
            if let Some(bytes) = bytes {
                File::create(&path).unwrap().write_all(bytes).unwrap();
            }
            let issues = load(&path, false).unwrap_err().to_string();
            issues.replace(&path.display().to_string(), "a.conf")
        };
        let large = vec![b'\n'; 1 + (1 << 20)];
        for (bytes, why) in [
            (None, "open a.conf: no such file or directory"),
            (
                Some(&b"k = 1\n\xff"[..]),
                "a.conf:2: the file is not UTF-8 text",
            ),
            (
                Some(&large),
                "a.conf: the file is larger than 1 MiB; is it a configuration?",
            ),
            (Some(b"k = \n}"), "a.conf:2:1: found `}`, expected a value"),
        ] {
            assert_eq!(told(bytes), why);
        }
        let directory = load(dir.path(), false).unwrap_err().to_string();
        assert!(directory.ends_with(": is a directory"), "{directory}");
    }

    #[test]
    fn a_file_is_read_and_its_variables_replaced_when_asked() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "k = \"${{SPIFFE_NO_SUCH_VARIABLE}}$PATH\"").unwrap();
        let text = |expand_env| {
            let root = load(file.path(), expand_env).unwrap();
            let mut issues = Issues::default();
            root.fields(&mut issues, |fields| {
                fields.required("k", super::super::text)
            })
            .unwrap()
        };
        assert_eq!(text(false), "${SPIFFE_NO_SUCH_VARIABLE}$PATH");
        assert_eq!(text(true), env("PATH").unwrap());
    }
}

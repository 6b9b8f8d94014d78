//! Files in JSON, read as Go reads them.

use std::fs;
use std::io::{self, Read};

use serde::Deserialize;
use serde_json::Value;

/// Reads a file in JSON; `-` is the input.
pub(super) fn read<T: for<'de> Deserialize<'de>>(
    path: &str,
    input: &mut dyn Read,
) -> Result<T, JsonFileError> {
    let mut text = String::new();
    let read = match path {
        "-" => input.read_to_string(&mut text).map(|_| text),
        path => fs::read_to_string(path),
    };
    let text = read.map_err(|source| JsonFileError::Read {
        path: path.to_owned(),
        source,
    })?;
    let json = |source| JsonFileError::Json {
        path: path.to_owned(),
        source,
    };
    let value = serde_json::from_str(&text).map_err(json)?;
    serde_json::from_value(as_go_reads(value)).map_err(json)
}

/// Go takes keys in any case, and `null` as nothing said.
fn as_go_reads(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(as_go_reads).collect(),
        Value::Object(fields) => {
            let said = fields.into_iter().filter(|(_, value)| !value.is_null());
            said.map(|(key, value)| (key.to_lowercase(), as_go_reads(value)))
                .collect()
        }
        other => other,
    }
}

/// Why a file gives nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum JsonFileError {
    #[error("{path} is not JSON of the right shape")]
    Json {
        path: String,
        source: serde_json::Error,
    },
    #[error("reading {path}")]
    Read { path: String, source: io::Error },
}

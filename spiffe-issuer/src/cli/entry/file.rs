//! Entries and their IDs from files. The keys are those that SPIRE's files have.

use std::io::Read;

use serde::Deserialize;

use crate::cli::json_file::{self, JsonFileError};
use crate::cli::text::{self, BadId};
use crate::proto::types::{self, entry::AdditionalAttributes};

/// The entries that a file describes; `-` is the input.
pub(super) fn entries(path: &str, input: &mut dyn Read) -> Result<Vec<types::Entry>, FileError> {
    let file: Entries = json_file::read(path, input)?;
    let read = |(index, entry): (usize, Entry)| {
        entry.message().map_err(|source| FileError::Entry {
            number: index + 1,
            source,
        })
    };
    file.entries.into_iter().enumerate().map(read).collect()
}

/// The IDs that a file lists; `-` is the input.
pub(super) fn ids(path: &str, input: &mut dyn Read) -> Result<Vec<String>, FileError> {
    Ok(json_file::read::<Ids>(path, input)?.ids)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entries {
    entries: Vec<Entry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ids {
    ids: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    additional_attributes: Option<Attributes>,
    admin: bool,
    created_at: i64,
    dns_names: Vec<String>,
    downstream: bool,
    entry_id: String,
    entryexpiry: i64,
    federates_with: Vec<String>,
    hint: String,
    jwt_svid_ttl: i32,
    parent_id: String,
    revision_number: i64,
    selectors: Vec<Selector>,
    spiffe_id: String,
    store_svid: bool,
    x509_svid_ttl: i32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Attributes {
    disable_x509_svid_prefetch: bool,
    jwt_svid_include_jti: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Selector {
    r#type: String,
    value: String,
}

impl Entry {
    fn message(self) -> Result<types::Entry, BadId> {
        let selector = |selector: Selector| types::Selector {
            r#type: selector.r#type,
            value: selector.value,
        };
        let attributes = |attributes: Attributes| AdditionalAttributes {
            disable_x509_svid_prefetch: attributes.disable_x509_svid_prefetch,
            jwt_svid_include_jti: attributes.jwt_svid_include_jti,
        };
        Ok(types::Entry {
            id: self.entry_id,
            spiffe_id: Some(text::id("SPIFFE ID", &self.spiffe_id)?),
            parent_id: Some(text::id("parent ID", &self.parent_id)?),
            selectors: self.selectors.into_iter().map(selector).collect(),
            x509_svid_ttl: self.x509_svid_ttl,
            // Names or IDs; the server reads both.
            federates_with: self.federates_with,
            admin: self.admin,
            downstream: self.downstream,
            expires_at: self.entryexpiry,
            dns_names: self.dns_names,
            revision_number: self.revision_number,
            store_svid: self.store_svid,
            jwt_svid_ttl: self.jwt_svid_ttl,
            hint: self.hint,
            created_at: self.created_at,
            additional_attributes: self.additional_attributes.map(attributes),
        })
    }
}

/// Why a file gives nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("entry {number} of the file")]
    Entry { number: usize, source: BadId },
    #[error(transparent)]
    File(#[from] JsonFileError),
}

#[cfg(test)]
mod tests {
    use spiffe_core::with_causes;

    use super::*;

    fn from(json: &str) -> Result<Vec<types::Entry>, String> {
        entries("-", &mut json.as_bytes()).map_err(|error| with_causes(&error))
    }

    #[test]
    fn a_file_describes_entries_with_spires_keys() {
        let json = r#"{"entries": [{
            "selectors": [{"type": "unix", "value": "uid:0"}],
            "spiffe_id": "spiffe://td/a", "parent_id": "spiffe://td/b",
            "x509_svid_ttl": 60, "jwt_svid_ttl": null, "entryExpiry": 9,
            "federates_with": ["spiffe://other"], "DNS_names": ["a.test"], "store_svid": true,
            "additional_attributes": {"jwt_svid_include_jti": true}, "unknown": 1
        }]}"#;
        let entry = &from(json).unwrap()[0];
        assert_eq!(text::id_text(entry.spiffe_id.as_ref()), "spiffe://td/a");
        assert_eq!(text::id_text(entry.parent_id.as_ref()), "spiffe://td/b");
        assert_eq!(
            (entry.x509_svid_ttl, entry.jwt_svid_ttl, entry.expires_at),
            (60, 0, 9)
        );
        assert_eq!(entry.federates_with, ["spiffe://other"]);
        assert_eq!(entry.dns_names, ["a.test"]);
        assert_eq!(entry.selectors[0].value, "uid:0");
        assert!(entry.store_svid && entry.additional_attributes.unwrap().jwt_svid_include_jti);
    }

    #[test]
    fn what_is_wrong_in_a_file_is_told_with_its_place() {
        for (json, told) in [
            ("[", "- is not JSON of the right shape: EOF while parsing"),
            (
                r#"{"entries": [{"spiffe_id": 1}]}"#,
                "- is not JSON of the right shape: invalid type: integer",
            ),
            (
                r#"{"entries": [{"spiffe_id": "a"}]}"#,
                "entry 1 of the file: invalid SPIFFE ID \"a\": ",
            ),
        ] {
            let why = from(json).unwrap_err();
            assert!(why.starts_with(told), "{why}");
        }
        let missing = entries("/does/not/exist", &mut std::io::empty()).unwrap_err();
        assert_eq!(missing.to_string(), "reading /does/not/exist");
    }

    #[test]
    fn ids_come_from_a_list() {
        let json = r#"{"ids": ["a", "b"]}"#;
        assert_eq!(ids("-", &mut json.as_bytes()).unwrap(), ["a", "b"]);
    }
}

//! Registration entries as messages.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use spiffe_core::{IdError, SpiffeId, TrustDomain};

use super::parts::{selectors_from_messages, selectors_to_messages, trust_domain, whole_seconds};
use super::{Field, FieldError, id_from_message, id_to_message, seconds};
use crate::domain::{
    Entry, EntryId, EntryIdError, Fault, Hint, Kind, NewEntry, Revision, SelectorSet,
};
use crate::proto::server::entry::EntryRevision;
use crate::proto::types;

/// The entry of a message that has all fields, as an agent gets it.
///
/// # Errors
///
/// Where a field is not as it must be.
pub fn from_message(message: types::Entry) -> Result<Entry, DecodeError> {
    let created_at = Field::named("created_at").time(message.created_at)?;
    let (id, revision) = (message.id.parse()?, Revision(message.revision_number));
    let body = new_from_message(message)?;
    Ok(Entry {
        id,
        revision,
        created_at: created_at.unwrap_or(SystemTime::UNIX_EPOCH),
        body: NewEntry { id: None, ..body },
    })
}

/// What a message says of an entry that is to be made or changed. Its revision and the time of its
/// making are the store's business.
///
/// # Errors
///
/// Where a field is not as it must be.
pub fn new_from_message(message: types::Entry) -> Result<NewEntry, DecodeError> {
    let attributes = message.additional_attributes.unwrap_or_default();
    Ok(NewEntry {
        id: optional_id(&message.id)?,
        spiffe_id: required_id(message.spiffe_id.as_ref()).map_err(DecodeError::SpiffeId)?,
        parent_id: required_id(message.parent_id.as_ref()).map_err(DecodeError::ParentId)?,
        selectors: selectors(&message.selectors)?,
        x509_svid_ttl: Field::named("x509_svid_ttl").ttl(message.x509_svid_ttl)?,
        jwt_svid_ttl: Field::named("jwt_svid_ttl").ttl(message.jwt_svid_ttl)?,
        federates_with: trust_domains("federates_with", &message.federates_with)?,
        admin: message.admin,
        downstream: message.downstream,
        expires_at: Field::named("expires_at").time(message.expires_at)?,
        dns_names: message.dns_names,
        store_svid: message.store_svid,
        hint: Hint::new(&message.hint).ok_or(DecodeError::HintTooLong)?,
        disable_x509_svid_prefetch: attributes.disable_x509_svid_prefetch,
        jwt_svid_include_jti: attributes.jwt_svid_include_jti,
    })
}

/// The trust domains of a repeated field, given as names or as IDs.
///
/// # Errors
///
/// Where one of them is neither.
pub fn trust_domains(name: &str, names: &[String]) -> Result<BTreeSet<TrustDomain>, FieldError> {
    names
        .iter()
        .enumerate()
        .map(|(at, text)| trust_domain(&Field::item(name, at), text))
        .collect()
}

/// An entry as a message.
#[must_use]
pub fn to_message(entry: &Entry) -> types::Entry {
    types::Entry {
        id: entry.id.as_str().to_owned(),
        revision_number: entry.revision.0,
        created_at: seconds(entry.created_at),
        ..new_to_message(&entry.body)
    }
}

/// An entry that is to be made, as a message.
#[must_use]
pub fn new_to_message(entry: &NewEntry) -> types::Entry {
    types::Entry {
        id: entry
            .id
            .as_ref()
            .map_or_else(String::new, EntryId::to_string),
        spiffe_id: Some(id_to_message(&entry.spiffe_id)),
        parent_id: Some(id_to_message(&entry.parent_id)),
        selectors: selectors_to_messages(&entry.selectors),
        x509_svid_ttl: ttl(entry.x509_svid_ttl),
        federates_with: entry
            .federates_with
            .iter()
            .map(TrustDomain::to_string)
            .collect(),
        admin: entry.admin,
        downstream: entry.downstream,
        expires_at: entry.expires_at.map_or(0, seconds),
        dns_names: entry.dns_names.clone(),
        revision_number: 0,
        store_svid: entry.store_svid,
        jwt_svid_ttl: ttl(entry.jwt_svid_ttl),
        hint: entry.hint.as_str().to_owned(),
        created_at: 0,
        additional_attributes: attributes(entry),
    }
}

/// What an agent compares with what it has.
#[must_use]
pub fn to_revision(entry: &Entry) -> EntryRevision {
    EntryRevision {
        id: entry.id.as_str().to_owned(),
        revision_number: entry.revision.0,
        created_at: seconds(entry.created_at),
    }
}

fn optional_id(text: &str) -> Result<Option<EntryId>, EntryIdError> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some),
    }
}

/// The ID; one that is not there is empty, and no empty ID is one.
fn required_id(message: Option<&types::Spiffeid>) -> Result<SpiffeId, IdError> {
    message.map_or(Err(IdError::Empty), id_from_message)
}

fn selectors(messages: &[types::Selector]) -> Result<SelectorSet, DecodeError> {
    match messages {
        [] => Err(DecodeError::NoSelectors),
        messages => Ok(selectors_from_messages("selectors", messages)?),
    }
}

/// Absent where nothing is set, as an entry made before there were attributes has it.
fn attributes(entry: &NewEntry) -> Option<types::entry::AdditionalAttributes> {
    let attributes = types::entry::AdditionalAttributes {
        disable_x509_svid_prefetch: entry.disable_x509_svid_prefetch,
        jwt_svid_include_jti: entry.jwt_svid_include_jti,
    };
    (attributes != types::entry::AdditionalAttributes::default()).then_some(attributes)
}

fn ttl(lifetime: Option<Duration>) -> i32 {
    let seconds = whole_seconds(lifetime.unwrap_or_default());
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

/// Why a message is not an entry. Some of the texts are known to clients.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A field that is not as it must be.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The hint is longer than the Workload API allows.
    #[error("hint is too long, max length is {} characters", Hint::MAX_LEN)]
    HintTooLong,
    /// The ID that the caller chose cannot be one.
    #[error(transparent)]
    Id(#[from] EntryIdError),
    /// No selectors: such an entry would match every workload.
    #[error("selector list is empty")]
    NoSelectors,
    /// The parent's ID is none.
    #[error("invalid parent ID")]
    ParentId(#[source] IdError),
    /// The SPIFFE ID is none.
    #[error("invalid spiffe ID")]
    SpiffeId(#[source] IdError),
}

impl Fault for DecodeError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    fn message() -> types::Entry {
        let id = |path: &str| {
            Some(types::Spiffeid {
                trust_domain: "td".into(),
                path: path.into(),
            })
        };
        types::Entry {
            id: "an-id".into(),
            spiffe_id: id("/workload"),
            parent_id: id("/spire/agent/join_token/a"),
            selectors: vec![types::Selector {
                r#type: "unix".into(),
                value: "uid:1".into(),
            }],
            x509_svid_ttl: 60,
            federates_with: vec!["other".into()],
            admin: true,
            downstream: false,
            expires_at: 100,
            dns_names: vec!["b.test".into(), "a.test".into()],
            revision_number: 7,
            store_svid: true,
            jwt_svid_ttl: 30,
            hint: "h".into(),
            created_at: 50,
            additional_attributes: Some(types::entry::AdditionalAttributes {
                disable_x509_svid_prefetch: false,
                jwt_svid_include_jti: true,
            }),
        }
    }

    #[test]
    fn an_entry_survives_the_way_there_and_back() {
        assert_eq!(to_message(&from_message(message()).unwrap()), message());
        let plain = types::Entry {
            x509_svid_ttl: 0,
            expires_at: 0,
            additional_attributes: None,
            ..message()
        };
        assert_eq!(to_message(&from_message(plain.clone()).unwrap()), plain);
    }

    #[test]
    fn admin_and_downstream_are_never_mixed_up() {
        for (admin, downstream) in [(true, false), (false, true)] {
            let entry = from_message(types::Entry {
                admin,
                downstream,
                ..message()
            })
            .unwrap();
            assert_eq!(
                (entry.body.admin, entry.body.downstream),
                (admin, downstream)
            );
        }
    }

    #[test]
    fn federation_names_are_taken_in_both_forms_and_told_bare() {
        let entry = from_message(types::Entry {
            federates_with: vec!["spiffe://b".into(), "a".into(), "b".into()],
            ..message()
        });
        assert_eq!(to_message(&entry.unwrap()).federates_with, ["a", "b"]);
    }

    #[test]
    fn a_wrong_entry_is_told_what_is_wrong() {
        let change = |change: fn(&mut types::Entry)| {
            let mut message = message();
            change(&mut message);
            let error = new_from_message(message).unwrap_err();
            match error.source() {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            }
        };
        for (told, why) in [
            (
                change(|e| e.selectors.clear()),
                "selector list is empty".to_owned(),
            ),
            (
                change(|e| e.hint = "h".repeat(1025)),
                "hint is too long, max length is 1024 characters".to_owned(),
            ),
            (
                change(|e| e.spiffe_id = None),
                format!("invalid spiffe ID: {}", IdError::Empty),
            ),
            (
                change(|e| e.parent_id.as_mut().unwrap().path = "x".into()),
                format!("invalid parent ID: {}", IdError::NoLeadingSlash),
            ),
            (
                change(|e| e.selectors[0].value.clear()),
                "selectors[0].value: must not be empty".to_owned(),
            ),
            (
                change(|e| e.x509_svid_ttl = -1),
                "x509_svid_ttl: must not be negative".to_owned(),
            ),
            (
                change(|e| e.federates_with = vec!["ok".into(), String::new()]),
                "federates_with[1]: must not be empty".to_owned(),
            ),
            (
                change(|e| e.id = "a/b".into()),
                EntryIdError::Character.to_string(),
            ),
        ] {
            assert_eq!(told, why);
        }
    }

    #[test]
    fn what_an_agent_gets_names_its_entry() {
        let nameless = types::Entry {
            id: String::new(),
            ..message()
        };
        assert!(matches!(
            from_message(nameless),
            Err(DecodeError::Id(EntryIdError::Empty))
        ));
    }
}

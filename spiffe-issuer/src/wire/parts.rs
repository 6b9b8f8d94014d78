//! What all messages are made of: IDs, selectors, instants.

use std::time::{Duration, SystemTime};

use spiffe_core::{IdError, SpiffeId, TrustDomain};

use super::{Field, FieldError, FieldFault};
use crate::domain::{Selector, SelectorError, SelectorSet};
use crate::proto::types;

/// The ID that a message stands for. Its trust domain is taken as a name and as an ID.
///
/// # Errors
///
/// Where it breaks a rule of SPIFFE IDs.
pub fn id_from_message(message: &types::Spiffeid) -> Result<SpiffeId, IdError> {
    let trust_domain = TrustDomain::from_id_or_name(&message.trust_domain)?;
    SpiffeId::new(&trust_domain, &message.path)
}

/// The ID of a field, which must be there.
///
/// # Errors
///
/// Where it is not, or is none.
pub fn id_in(field: &Field<'_>, message: Option<&types::Spiffeid>) -> Result<SpiffeId, FieldError> {
    id_from_message(field.required(message)?)
        .map_err(|error| field.is(FieldFault::Malformed(Box::new(error))))
}

/// An ID as a message.
#[must_use]
pub fn id_to_message(id: &SpiffeId) -> types::Spiffeid {
    types::Spiffeid {
        trust_domain: id.trust_domain_name().to_owned(),
        path: id.path().to_owned(),
    }
}

/// The trust domain that a name or an ID stands for.
///
/// # Errors
///
/// Where the text is neither.
pub fn trust_domain(field: &Field<'_>, text: &str) -> Result<TrustDomain, FieldError> {
    match text {
        "" => Err(field.is(FieldFault::Empty)),
        text => TrustDomain::from_id_or_name(text)
            .map_err(|error| field.is(FieldFault::Malformed(Box::new(error)))),
    }
}

/// The selectors of a message; the same one twice is one.
///
/// # Errors
///
/// Where one of them has no type or no value, or a type that cannot be told from its value.
pub fn selectors_from_messages(
    name: &str,
    messages: &[types::Selector],
) -> Result<SelectorSet, FieldError> {
    messages
        .iter()
        .enumerate()
        .map(|(at, message)| selector(&Field::item(name, at), message))
        .collect()
}

fn selector(field: &Field<'_>, message: &types::Selector) -> Result<Selector, FieldError> {
    Selector::new(&message.r#type, &message.value).map_err(|error| {
        let (part, fault) = match error {
            SelectorError::NoType => ("type", FieldFault::Empty),
            SelectorError::NoValue => ("value", FieldFault::Empty),
            error => ("type", FieldFault::Malformed(Box::new(error))),
        };
        Field::named(part).of(field).is(fault)
    })
}

/// Selectors as messages, in their order.
#[must_use]
pub fn selectors_to_messages(selectors: &SelectorSet) -> Vec<types::Selector> {
    selectors
        .iter()
        .map(|selector| types::Selector {
            r#type: selector.kind().to_owned(),
            value: selector.value().to_owned(),
        })
        .collect()
}

/// The seconds since 1970; what lies before it counts as 0.
#[must_use]
pub fn seconds(time: SystemTime) -> i64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    whole_seconds(since)
}

/// The whole seconds of a duration.
#[must_use]
pub fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(trust_domain: &str, path: &str) -> types::Spiffeid {
        types::Spiffeid {
            trust_domain: trust_domain.to_owned(),
            path: path.to_owned(),
        }
    }

    #[test]
    fn an_id_survives_the_way_there_and_back() {
        for text in ["spiffe://td", "spiffe://td/a/b"] {
            let id: SpiffeId = text.parse().unwrap();
            assert_eq!(id_from_message(&id_to_message(&id)), Ok(id), "{text}");
        }
        let id = id_from_message(&message("spiffe://td", "/a")).unwrap();
        assert_eq!(id.as_str(), "spiffe://td/a");
    }

    #[test]
    fn no_message_moves_the_border_between_trust_domain_and_path() {
        for (trust_domain, path) in [
            ("", "/a"),
            ("td", "a"),
            ("td/x", "/a"),
            ("TD", "/a"),
            ("td", "/a/../b"),
            ("td", "/"),
        ] {
            let refused = id_from_message(&message(trust_domain, path)).is_err();
            assert!(refused, "{trust_domain} {path}");
        }
    }

    #[test]
    fn a_wrong_selector_is_told_with_its_place() {
        let good = types::Selector {
            r#type: "unix".into(),
            value: "uid:1".into(),
        };
        for (kind, value, why) in [
            ("", "x", "selectors[1].type: must not be empty"),
            ("a", "", "selectors[1].value: must not be empty"),
            ("a:b", "x", "selectors[1].type: selector type contains ':'"),
        ] {
            let wrong = types::Selector {
                r#type: kind.into(),
                value: value.into(),
            };
            let error = selectors_from_messages("selectors", &[good.clone(), wrong]).unwrap_err();
            assert_eq!(error.to_string(), why);
        }
        let set = selectors_from_messages("selectors", &[good.clone(), good.clone()]).unwrap();
        assert_eq!(selectors_to_messages(&set), [good]);
    }
}

//! Filters and pages of lists.

use std::collections::BTreeSet;

use spiffe_core::TrustDomain;

use super::entry::trust_domains;
use super::instant::instant;
use super::parts::selectors_from_messages;
use super::{Field, FieldError, FieldFault, id_in};
use crate::domain::{Cursor, EntryFilter, Hint, Match, Matching, NodeFilter, Page, SelectorSet};
use crate::proto::server::agent::{count_agents_request, list_agents_request};
use crate::proto::server::entry::{count_entries_request, list_entries_request};
use crate::proto::types::{self, federates_with_match, selector_match};

/// The page that a list request asks for. Size 0 means all there is; a huge page is answered by a
/// smaller one, and the caller asks on.
///
/// # Errors
///
/// Where the size is negative, or the token is not one of ours.
pub fn page(size: i32, token: &str) -> Result<Page, FieldError> {
    let limit = match usize::try_from(size) {
        Ok(0) => usize::MAX,
        Ok(size) => size.min(MAX_PAGE),
        Err(_) => return Err(Field::named("page_size").is(FieldFault::Negative)),
    };
    let after = match token {
        "" => None,
        token => Some(Field::named("page_token").parse::<Cursor>(token)?),
    };
    Ok(Page { after, limit })
}

/// What a list request says about the next page.
#[must_use]
pub fn page_token(next: Option<Cursor>) -> String {
    next.map_or_else(String::new, |cursor| cursor.to_string())
}

/// A count as messages have it.
#[must_use]
pub fn count(count: u64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Which entries a request asks for.
///
/// # Errors
///
/// Where a field is not as it must be.
pub fn entry_filter(
    message: Option<list_entries_request::Filter>,
) -> Result<EntryFilter, FieldError> {
    let Some(message) = message else {
        return Ok(EntryFilter::default());
    };
    Ok(EntryFilter {
        spiffe_id: optional(message.by_spiffe_id, |id| {
            id_in(&at("by_spiffe_id"), Some(&id))
        })?,
        parent_id: optional(message.by_parent_id, |id| {
            id_in(&at("by_parent_id"), Some(&id))
        })?,
        selectors: optional(message.by_selectors, |m| selectors_in("by_selectors", &m))?,
        federates_with: optional(message.by_federates_with, |m| federates_with(&m))?,
        hint: optional(message.by_hint, |text| {
            Hint::new(&text).ok_or_else(|| at("by_hint").is(FieldFault::TooLarge))
        })?,
        // SPIRE's command line always sends it; only `true` narrows what is found.
        downstream: message.by_downstream.filter(|&only| only),
    })
}

/// The same from a request that counts.
///
/// # Errors
///
/// Where a field is not as it must be.
pub fn counted_entry_filter(
    message: Option<count_entries_request::Filter>,
) -> Result<EntryFilter, FieldError> {
    entry_filter(message.map(|filter| list_entries_request::Filter {
        by_spiffe_id: filter.by_spiffe_id,
        by_parent_id: filter.by_parent_id,
        by_selectors: filter.by_selectors,
        by_federates_with: filter.by_federates_with,
        by_hint: filter.by_hint,
        by_downstream: filter.by_downstream,
    }))
}

/// Which nodes a request asks for.
///
/// # Errors
///
/// Where a field is not as it must be.
pub fn node_filter(message: Option<list_agents_request::Filter>) -> Result<NodeFilter, FieldError> {
    let Some(message) = message else {
        return Ok(NodeFilter::default());
    };
    let given = |text: String| (!text.is_empty()).then_some(text);
    Ok(NodeFilter {
        attestation_type: given(message.by_attestation_type),
        selectors: optional(message.by_selector_match, |m| {
            selectors_in("by_selector_match", &m)
        })?,
        banned: message.by_banned,
        can_reattest: message.by_can_reattest,
        holds: None,
        expires_before: optional(given(message.by_expires_before), |text| {
            instant(&text).ok_or_else(|| {
                at("by_expires_before").is(FieldFault::Malformed(
                    "must look like 2006-01-02 15:04:05 -0700 -07".into(),
                ))
            })
        })?,
    })
}

/// The same from a request that counts.
///
/// # Errors
///
/// Where a field is not as it must be.
pub fn counted_node_filter(
    message: Option<count_agents_request::Filter>,
) -> Result<NodeFilter, FieldError> {
    node_filter(message.map(|filter| list_agents_request::Filter {
        by_attestation_type: filter.by_attestation_type,
        by_selector_match: filter.by_selector_match,
        by_banned: filter.by_banned,
        by_can_reattest: filter.by_can_reattest,
        by_expires_before: filter.by_expires_before,
    }))
}

fn optional<M, T>(
    message: Option<M>,
    read: impl FnOnce(M) -> Result<T, FieldError>,
) -> Result<Option<T>, FieldError> {
    message.map(read).transpose()
}

fn selectors_in(
    name: &str,
    message: &types::SelectorMatch,
) -> Result<Matching<SelectorSet>, FieldError> {
    if message.selectors.is_empty() {
        return Err(at(name).is(FieldFault::Empty));
    }
    let how = selector_match::MatchBehavior::try_from(message.r#match)
        .map_err(|_| at(name).is(FieldFault::UnknownChoice))?;
    Ok(Matching {
        set: selectors_from_messages(name, &message.selectors)?,
        how: match how {
            selector_match::MatchBehavior::MatchAny => Match::Any,
            selector_match::MatchBehavior::MatchExact => Match::Exact,
            selector_match::MatchBehavior::MatchSubset => Match::Subset,
            selector_match::MatchBehavior::MatchSuperset => Match::Superset,
        },
    })
}

fn federates_with(
    message: &types::FederatesWithMatch,
) -> Result<Matching<BTreeSet<TrustDomain>>, FieldError> {
    let name = "by_federates_with";
    if message.trust_domains.is_empty() {
        return Err(at(name).is(FieldFault::Empty));
    }
    let how = federates_with_match::MatchBehavior::try_from(message.r#match)
        .map_err(|_| at(name).is(FieldFault::UnknownChoice))?;
    Ok(Matching {
        set: trust_domains(name, &message.trust_domains)?,
        how: match how {
            federates_with_match::MatchBehavior::MatchAny => Match::Any,
            federates_with_match::MatchBehavior::MatchExact => Match::Exact,
            federates_with_match::MatchBehavior::MatchSubset => Match::Subset,
            federates_with_match::MatchBehavior::MatchSuperset => Match::Superset,
        },
    })
}

const fn at(name: &str) -> Field<'_> {
    Field::named(name).of(&FILTER)
}

const FILTER: Field<'_> = Field::named("filter");

/// How many items a page holds at the most: a page of large entries has to fit into the 4 MiB that
/// gRPC clients take by default.
const MAX_PAGE: usize = 2000;

#[cfg(test)]
mod tests {
    use spiffe_core::SpiffeId;

    use super::*;

    #[test]
    fn huge_page_size_is_clamped() {
        for (size, limit) in [(0, usize::MAX), (1, 1), (2000, 2000), (i32::MAX, MAX_PAGE)] {
            assert_eq!(page(size, "").unwrap().limit, limit, "{size}");
        }
        let negative = page(-1, "").unwrap_err();
        assert_eq!(negative.to_string(), "page_size: must not be negative");
    }

    #[test]
    fn a_token_leads_to_the_page_that_it_was_given_for() {
        let token = page_token(Some(Cursor(7)));
        assert_eq!(page(10, &token).unwrap().after, Some(Cursor(7)));
        assert_eq!(
            (page_token(None), page(10, "").unwrap().after),
            (String::new(), None)
        );
        let wrong = page(10, "x").unwrap_err();
        assert_eq!(wrong.to_string(), "page_token: could not parse token");
    }

    #[test]
    fn no_filter_lets_everything_pass() {
        assert_eq!(entry_filter(None).unwrap(), EntryFilter::default());
        assert_eq!(
            entry_filter(Some(list_entries_request::Filter::default())).unwrap(),
            EntryFilter::default()
        );
        assert_eq!(
            node_filter(Some(list_agents_request::Filter::default())).unwrap(),
            NodeFilter::default()
        );
    }

    #[test]
    fn a_filter_is_read_field_by_field() {
        let selector = types::Selector {
            r#type: "unix".into(),
            value: "uid:1".into(),
        };
        let filter = counted_entry_filter(Some(count_entries_request::Filter {
            by_spiffe_id: Some(types::Spiffeid {
                trust_domain: "td".into(),
                path: "/a".into(),
            }),
            by_selectors: Some(types::SelectorMatch {
                selectors: vec![selector],
                r#match: selector_match::MatchBehavior::MatchSuperset.into(),
            }),
            by_federates_with: Some(types::FederatesWithMatch {
                trust_domains: vec!["spiffe://other".into()],
                r#match: federates_with_match::MatchBehavior::MatchAny.into(),
            }),
            by_hint: Some("h".into()),
            by_downstream: Some(false),
            ..Default::default()
        }))
        .unwrap();
        assert_eq!(
            filter,
            EntryFilter {
                spiffe_id: Some(SpiffeId::from_static("spiffe://td/a")),
                parent_id: None,
                selectors: Some(Matching {
                    set: ["unix:uid:1".parse().unwrap()].into(),
                    how: Match::Superset,
                }),
                federates_with: Some(Matching {
                    set: [TrustDomain::from_static("other")].into(),
                    how: Match::Any,
                }),
                hint: Hint::new("h"),
                downstream: None,
            }
        );
    }

    #[test]
    fn downstream_narrows_only_where_it_is_true() {
        for (asked, meant) in [(None, None), (Some(false), None), (Some(true), Some(true))] {
            let filter = entry_filter(Some(list_entries_request::Filter {
                by_downstream: asked,
                ..Default::default()
            }));
            assert_eq!(filter.unwrap().downstream, meant);
        }
    }

    #[test]
    fn a_wrong_filter_is_told_with_its_place() {
        let by_selectors = |selectors, how| {
            entry_filter(Some(list_entries_request::Filter {
                by_selectors: Some(types::SelectorMatch {
                    selectors,
                    r#match: how,
                }),
                ..Default::default()
            }))
            .unwrap_err()
            .to_string()
        };
        let selector = || types::Selector {
            r#type: "a".into(),
            value: "b".into(),
        };
        assert_eq!(
            by_selectors(vec![], 0),
            "filter.by_selectors: must not be empty"
        );
        assert_eq!(
            by_selectors(vec![selector()], 9),
            "filter.by_selectors: has no such choice"
        );
    }
}

//! The flags by which entries are found.

use crate::cli::flags::Flags;
use crate::cli::selectors::{BadSelector, BySelectors, Match};
use crate::cli::text::{self, BadId};
use crate::proto::server::entry::{count_entries_request, list_entries_request};
use crate::proto::types::{self, FederatesWithMatch};

/// Which entries are wanted.
#[derive(Debug, Default)]
pub(super) struct Filter {
    by_selectors: BySelectors,
    downstream: bool,
    federates_with: Vec<String>,
    hint: String,
    match_federates_with: Match,
    parent_id: String,
    spiffe_id: String,
}

impl Filter {
    pub(super) fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        let federates =
            "A foreign trust `domain` that it federates with. Can be used more than once";
        let matching = "How the trust domains must match: exact, any, superset or subset";
        self.by_selectors
            .flags(flags)
            .flag(
                "downstream",
                "Only entries of downstream servers",
                &mut self.downstream,
            )
            .flag("federatesWith", federates, &mut self.federates_with)
            .flag("hint", "Only entries with this hint", &mut self.hint)
            .flag(
                "matchFederatesWithOn",
                matching,
                &mut self.match_federates_with,
            )
            .flag(
                "parentID",
                "Only entries with this parent",
                &mut self.parent_id,
            )
            .flag(
                "spiffeID",
                "Only entries that give this SPIFFE ID",
                &mut self.spiffe_id,
            )
    }

    /// Whether entries are looked for by what an entry ID says already.
    pub(super) fn names_entries(&self) -> bool {
        !(self.parent_id.is_empty() && self.spiffe_id.is_empty() && self.by_selectors.is_empty())
    }

    pub(super) fn listed(&self) -> Result<list_entries_request::Filter, FilterError> {
        let federates_with = (!self.federates_with.is_empty()).then(|| FederatesWithMatch {
            trust_domains: self.federates_with.clone(),
            r#match: self.match_federates_with.federates_with().into(),
        });
        Ok(list_entries_request::Filter {
            by_spiffe_id: optional_id("SPIFFE ID", &self.spiffe_id)?,
            by_parent_id: optional_id("parent ID", &self.parent_id)?,
            by_selectors: self.by_selectors.filter()?,
            by_federates_with: federates_with,
            by_hint: (!self.hint.is_empty()).then(|| self.hint.clone()),
            // Sent in any case, as SPIRE's command does: other entries are told without the flag.
            by_downstream: Some(self.downstream),
        })
    }

    pub(super) fn counted(&self) -> Result<count_entries_request::Filter, FilterError> {
        let listed = self.listed()?;
        Ok(count_entries_request::Filter {
            by_spiffe_id: listed.by_spiffe_id,
            by_parent_id: listed.by_parent_id,
            by_selectors: listed.by_selectors,
            by_federates_with: listed.by_federates_with,
            by_hint: listed.by_hint,
            by_downstream: listed.by_downstream,
        })
    }
}

fn optional_id(what: &'static str, text: &str) -> Result<Option<types::Spiffeid>, BadId> {
    match text {
        "" => Ok(None),
        text => text::id(what, text).map(Some),
    }
}

/// What the flags say wrongly.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilterError {
    #[error(transparent)]
    BadId(#[from] BadId),
    #[error(transparent)]
    BadSelector(#[from] BadSelector),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(args: &str) -> list_entries_request::Filter {
        let mut filter = Filter::default();
        filter
            .flags(Flags::of(""))
            .parse(args.split_whitespace())
            .unwrap();
        filter.listed().unwrap()
    }

    #[test]
    fn downstream_entries_are_told_only_when_they_are_asked_for() {
        let nothing = list_entries_request::Filter {
            by_downstream: Some(false),
            ..Default::default()
        };
        assert_eq!(listed(""), nothing);
        assert_eq!(listed("-downstream").by_downstream, Some(true));
    }

    #[test]
    fn each_flag_narrows_what_is_found() {
        let filter = listed(
            "-spiffeID spiffe://td/a -parentID spiffe://td/b -selector a:b -hint h \
             -federatesWith o -matchFederatesWithOn any",
        );
        assert_eq!(text::id_text(filter.by_spiffe_id.as_ref()), "spiffe://td/a");
        assert_eq!(text::id_text(filter.by_parent_id.as_ref()), "spiffe://td/b");
        assert_eq!(filter.by_selectors.unwrap().selectors.len(), 1);
        assert_eq!(filter.by_hint.as_deref(), Some("h"));
        let federates_with = filter.by_federates_with.unwrap();
        assert_eq!(
            (&*federates_with.trust_domains, federates_with.r#match),
            (&["o".to_owned()][..], 3)
        );
    }
}

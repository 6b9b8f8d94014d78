//! Selectors in flags, and by what a list of them is matched.

use super::flags::Flags;
use super::values::{FlagValue, Unfit};
use crate::proto::types::{self, federates_with_match, selector_match};

/// Reads `type:value`; the value may hold colons.
pub(super) fn selectors(texts: &[String]) -> Result<Vec<types::Selector>, BadSelector> {
    let read = |text: &String| match text.split_once(':') {
        Some((kind, value)) => Ok(types::Selector {
            r#type: kind.to_owned(),
            value: value.to_owned(),
        }),
        None => Err(BadSelector(text.clone())),
    };
    texts.iter().map(read).collect()
}

/// What a flag or a file names is no selector.
#[derive(Debug, thiserror::Error)]
#[error("selector {0:?} must be formatted as type:value")]
pub(super) struct BadSelector(String);

/// A filter by selectors.
#[derive(Debug, Default)]
pub(super) struct BySelectors {
    selectors: Vec<String>,
    matching: Match,
}

impl BySelectors {
    pub(super) fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        flags.flag("selector", SELECTOR, &mut self.selectors).flag(
            "matchSelectorsOn",
            MATCH_SELECTORS,
            &mut self.matching,
        )
    }

    pub(super) fn filter(&self) -> Result<Option<types::SelectorMatch>, BadSelector> {
        if self.selectors.is_empty() {
            return Ok(None);
        }
        Ok(Some(types::SelectorMatch {
            selectors: selectors(&self.selectors)?,
            r#match: self.matching.selectors().into(),
        }))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.selectors.is_empty()
    }
}

/// How what is asked for and what there is must go together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Match {
    Any,
    Exact,
    Subset,
    #[default]
    Superset,
}

impl Match {
    fn selectors(self) -> selector_match::MatchBehavior {
        match self {
            Self::Any => selector_match::MatchBehavior::MatchAny,
            Self::Exact => selector_match::MatchBehavior::MatchExact,
            Self::Subset => selector_match::MatchBehavior::MatchSubset,
            Self::Superset => selector_match::MatchBehavior::MatchSuperset,
        }
    }

    pub(super) fn federates_with(self) -> federates_with_match::MatchBehavior {
        match self {
            Self::Any => federates_with_match::MatchBehavior::MatchAny,
            Self::Exact => federates_with_match::MatchBehavior::MatchExact,
            Self::Subset => federates_with_match::MatchBehavior::MatchSubset,
            Self::Superset => federates_with_match::MatchBehavior::MatchSuperset,
        }
    }
}

impl FlagValue for Match {
    fn set(&mut self, text: &str) -> Result<(), Unfit> {
        *self = match text {
            "any" => Self::Any,
            "exact" => Self::Exact,
            "subset" => Self::Subset,
            "superset" => Self::Superset,
            _ => return Err(Unfit("must be exact, any, superset or subset".into())),
        };
        Ok(())
    }

    fn shown(&self) -> Option<String> {
        let text = match self {
            Self::Any => "any",
            Self::Exact => "exact",
            Self::Subset => "subset",
            Self::Superset => "superset",
        };
        Some(format!("{text:?}"))
    }

    fn kind(&self) -> &'static str {
        "string"
    }
}

/// The usage of `-selector`.
pub(super) const SELECTOR: &str = "A `type:value` selector. Can be used more than once";
const MATCH_SELECTORS: &str = "How the selectors must match: exact, any, superset or subset";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_parted_at_its_first_colon() {
        let read = selectors(&["unix:uid:0".to_owned()]).unwrap();
        assert_eq!((&*read[0].r#type, &*read[0].value), ("unix", "uid:0"));
        let told = selectors(&["unix".to_owned()]).unwrap_err().to_string();
        assert_eq!(told, "selector \"unix\" must be formatted as type:value");
    }

    #[test]
    fn the_four_ways_to_match_are_told_to_the_server_as_they_are_written() {
        for (text, number) in [("exact", 0), ("subset", 1), ("superset", 2), ("any", 3)] {
            let mut by = BySelectors::default();
            let args = ["-selector", "a:b", "-matchSelectorsOn", text];
            by.flags(Flags::of("show")).parse(args).unwrap();
            assert_eq!(by.filter().unwrap().unwrap().r#match, number, "{text}");
            assert_eq!(by.matching.federates_with() as i32, number, "{text}");
        }
        assert!(Match::default().set("some").is_err());
    }
}

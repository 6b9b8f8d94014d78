//! For a workload that no entry matches: the entry that it comes nearest to.

use std::collections::BTreeSet;

use spiffe_core::SpiffeId;

use super::index::Index;
use crate::domain::SelectorSet;

/// An entry that a workload does not match, and what it lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nearest {
    /// The ID that it would have.
    pub spiffe_id: SpiffeId,
    /// How many of the entry's selectors it has.
    pub had: usize,
    /// The types of those that it lacks: what they say may be nobody's business.
    pub lacked: BTreeSet<String>,
}

impl Nearest {
    /// The entry that asks for the fewest selectors which these are not. `None` where every entry
    /// asks for others altogether.
    pub(super) fn of(selectors: &SelectorSet, index: &Index) -> Option<Self> {
        let measured = index.iter().take(MOST_LOOKED_AT).map(|entry| {
            let lacked = entry.body.selectors.difference(selectors).count();
            (lacked, entry.body.selectors.len() - lacked, entry)
        });
        let (_, had, entry) = measured
            .filter(|(_, had, _)| *had > 0)
            .min_by(|a, b| (a.0, &a.2.id).cmp(&(b.0, &b.2.id)))?;
        let lacked = entry.body.selectors.difference(selectors);
        Some(Self {
            spiffe_id: entry.body.spiffe_id.clone(),
            had,
            lacked: lacked.map(|selector| selector.kind().to_owned()).collect(),
        })
    }

    /// What the log says of it.
    #[must_use]
    pub fn told(nearest: Option<&Self>) -> String {
        match nearest {
            None => "no entry asks for any of them".to_owned(),
            Some(Self {
                spiffe_id,
                had,
                lacked,
            }) => {
                let lacked: Vec<_> = lacked.iter().map(String::as_str).collect();
                let lacked = lacked.join(", ");
                format!(
                    "the nearest is {spiffe_id}: {had} selectors match, others of {lacked} do not"
                )
            }
        }
    }
}

/// Whoever is refused again and again must not keep the agent busy.
const MOST_LOOKED_AT: usize = 1000;

#[cfg(test)]
mod tests {
    use super::super::samples::{entry, selectors};
    use super::*;

    #[test]
    fn it_is_the_one_that_lacks_least_and_shares_something() {
        let mut index = Index::default();
        index.replace([
            entry("far", 1, &["unix:uid:1", "k8s:ns:x", "k8s:sa:y"]),
            entry("near", 1, &["unix:uid:1", "k8s:ns:x"]),
            entry("foreign", 1, &["docker:label:z"]),
        ]);
        let nearest = Nearest::of(&selectors(&["unix:uid:1"]), &index).unwrap();
        assert_eq!(
            Nearest::told(Some(&nearest)),
            "the nearest is spiffe://td/near: 1 selectors match, others of k8s do not"
        );
        assert_eq!(Nearest::of(&selectors(&["unix:uid:2"]), &index), None);
        assert_eq!(Nearest::told(None), "no entry asks for any of them");
    }
}

//! Entries and nodes, indexed by what is asked of them. Pure: changes go in, answers come out.
//!
//! The question is turned round. Instead of walking from an agent down to every entry it may have,
//! an agent's rights are a set of parents; an entry is the agent's if its parent is in the set. The
//! set only changes when the shape of the tree does, which is rare, and [`shape`](Index::shape)
//! tells when.

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use spiffe_core::{SpiffeId, TrustDomain};

use super::sharded::Sharded;
use crate::domain::{AttestedNode, Entry, EntryId, Selector, SelectorSet};

/// All entries and nodes of one moment. Cheap to copy.
#[derive(Debug, Clone)]
pub(super) struct Index {
    trust_domain: TrustDomain,
    /// The parent of node aliases.
    server: SpiffeId,
    entries: Sharded<EntryId, Arc<Entry>>,
    children: Sharded<SpiffeId, Family>,
    by_spiffe_id: Sharded<SpiffeId, Family>,
    /// Aliases by the first of their selectors: a node that lacks it cannot match.
    aliases: Sharded<Selector, Family>,
    nodes: Sharded<SpiffeId, Arc<AttestedNode>>,
    shape: u64,
}

/// Entries that have something in common.
type Family = Arc<BTreeMap<EntryId, Arc<Entry>>>;

impl Index {
    /// An empty index, whose shapes come after `shape`.
    pub(super) fn new(trust_domain: TrustDomain, server: SpiffeId, shape: u64) -> Self {
        Self {
            trust_domain,
            server,
            entries: Sharded::default(),
            children: Sharded::default(),
            by_spiffe_id: Sharded::default(),
            aliases: Sharded::default(),
            nodes: Sharded::default(),
            shape: shape + 1,
        }
    }

    pub(super) fn put_entry(&mut self, entry: Entry) {
        if self
            .entries
            .get(&entry.id)
            .is_some_and(|known| **known == entry)
        {
            return;
        }
        self.remove_entry(&entry.id);
        let body = &entry.body;
        // Nobody here may have what belongs elsewhere.
        if !body.spiffe_id.is_member_of(&self.trust_domain)
            || !body.parent_id.is_member_of(&self.trust_domain)
        {
            return;
        }
        let entry = Arc::new(entry);
        let body = &entry.body;
        add(&mut self.children, &body.parent_id, &entry);
        add(&mut self.by_spiffe_id, &body.spiffe_id, &entry);
        if let Some(first) = self.alias_key(&entry) {
            add(&mut self.aliases, &first, &entry);
        }
        self.entries.insert(entry.id.clone(), Arc::clone(&entry));
        let only_child = |family: &Family| family.len() == 1;
        self.note_shape(
            &entry,
            self.children.get(&body.parent_id).is_some_and(only_child),
        );
    }

    pub(super) fn remove_entry(&mut self, id: &EntryId) {
        let Some(entry) = self.entries.remove(id) else {
            return;
        };
        let body = &entry.body;
        take(&mut self.children, &body.parent_id, id);
        take(&mut self.by_spiffe_id, &body.spiffe_id, id);
        if let Some(first) = self.alias_key(&entry) {
            take(&mut self.aliases, &first, id);
        }
        self.note_shape(&entry, !self.children.contains(&body.parent_id));
    }

    pub(super) fn put_node(&mut self, node: AttestedNode) {
        self.nodes.insert(node.id.clone(), Arc::new(node));
    }

    pub(super) fn remove_node(&mut self, id: &SpiffeId) {
        self.nodes.remove(id);
    }

    /// Rises whenever the parents of some agent may have become others for a reason other than the
    /// agent's own selectors.
    pub(super) fn shape(&self) -> u64 {
        self.shape
    }

    pub(super) fn entry(&self, id: &EntryId) -> Option<&Arc<Entry>> {
        self.entries.get(id)
    }

    pub(super) fn node(&self, id: &SpiffeId) -> Option<&Arc<AttestedNode>> {
        self.nodes.get(id)
    }

    pub(super) fn entries(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The entries with this parent, in the order of their IDs.
    pub(super) fn children(&self, parent: &SpiffeId) -> impl Iterator<Item = &Arc<Entry>> {
        self.children
            .get(parent)
            .into_iter()
            .flat_map(|family| family.values())
    }

    /// The entries that give this identity.
    pub(super) fn giving(&self, spiffe_id: &SpiffeId) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_spiffe_id
            .get(spiffe_id)
            .into_iter()
            .flat_map(|family| family.values())
    }

    /// The parents whose children an agent with these selectors may have: itself, the aliases that
    /// match it, and whatever entries of these are parents in their turn.
    pub(super) fn parents(&self, agent: &SpiffeId, selectors: &SelectorSet) -> HashSet<SpiffeId> {
        let mut parents = HashSet::new();
        let mut ahead = vec![agent];
        ahead.extend(
            self.aliases_of(selectors)
                .map(|alias| &alias.body.spiffe_id),
        );
        while let Some(parent) = ahead.pop() {
            // The server's children are aliases, and no agent's, whoever claims to be the server.
            if *parent == self.server || !parents.insert(parent.clone()) {
                continue;
            }
            let ids = self.children(parent).map(|child| &child.body.spiffe_id);
            ahead.extend(ids.filter(|id| self.children.contains(*id)));
        }
        parents
    }

    fn aliases_of(&self, selectors: &SelectorSet) -> impl Iterator<Item = &Arc<Entry>> {
        let families = selectors.iter().filter_map(|first| self.aliases.get(first));
        families
            .flat_map(|family| family.values())
            .filter(move |alias| alias.body.selectors.is_subset(selectors))
    }

    /// The selector that an alias is found by; `None` for what is no alias.
    fn alias_key(&self, entry: &Entry) -> Option<Selector> {
        let is_alias = entry.body.parent_id == self.server;
        entry.body.selectors.first().filter(|_| is_alias).cloned()
    }

    /// Raises the shape if an entry that came or went can be on the way to another one, or if its
    /// parent has just become one, or ceased to be.
    fn note_shape(&mut self, entry: &Entry, parent_came_or_went: bool) {
        let body = &entry.body;
        let is_alias = body.parent_id == self.server;
        let is_parent = self.children.contains(&body.spiffe_id);
        let has_parent_above = parent_came_or_went && self.by_spiffe_id.contains(&body.parent_id);
        if is_alias || is_parent || has_parent_above {
            self.shape += 1;
        }
    }
}

fn add<K: Hash + Eq + Clone>(to: &mut Sharded<K, Family>, key: &K, entry: &Arc<Entry>) {
    let mut family = to.remove(key).unwrap_or_default();
    Arc::make_mut(&mut family).insert(entry.id.clone(), Arc::clone(entry));
    to.insert(key.clone(), family);
}

fn take<K: Hash + Eq + Clone>(from: &mut Sharded<K, Family>, key: &K, id: &EntryId) {
    let Some(mut family) = from.remove(key) else {
        return;
    };
    Arc::make_mut(&mut family).remove(id);
    if !family.is_empty() {
        from.insert(key.clone(), family);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::{NewEntry, Revision};

    const TD: TrustDomain = TrustDomain::from_static("td");

    fn id(path: &str) -> SpiffeId {
        SpiffeId::new(&TD, path).unwrap()
    }

    fn index() -> Index {
        Index::new(TD, id("/spire/server"), 0)
    }

    fn selectors(texts: &[&str]) -> SelectorSet {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn entry(name: &str, parent: &str, path: &str, texts: &[&str]) -> Entry {
        Entry {
            id: name.parse().unwrap(),
            revision: Revision(0),
            created_at: std::time::SystemTime::UNIX_EPOCH,
            body: NewEntry::new(id(path), id(parent), selectors(texts)),
        }
    }

    /// What the rule says, word for word: start at the agent, visit the entries below it, go on at
    /// each of them; and the same from each alias whose selectors the node has.
    fn crawl(all: &[Entry], agent: &SpiffeId, node: &SelectorSet) -> BTreeSet<EntryId> {
        fn visit(
            all: &[Entry],
            parent: &SpiffeId,
            seen: &mut Vec<SpiffeId>,
            got: &mut BTreeSet<EntryId>,
        ) {
            if *parent == id("/spire/server") || seen.contains(parent) {
                return;
            }
            seen.push(parent.clone());
            for entry in all.iter().filter(|entry| entry.body.parent_id == *parent) {
                got.insert(entry.id.clone());
                visit(all, &entry.body.spiffe_id, seen, got);
            }
        }
        let (mut seen, mut got) = (Vec::new(), BTreeSet::new());
        visit(all, agent, &mut seen, &mut got);
        for alias in all {
            let is_alias = alias.body.parent_id == id("/spire/server");
            if is_alias && alias.body.selectors.is_subset(node) {
                visit(all, &alias.body.spiffe_id, &mut seen, &mut got);
            }
        }
        got
    }

    fn reached(index: &Index, parents: &HashSet<SpiffeId>) -> BTreeSet<EntryId> {
        let children = parents.iter().flat_map(|parent| index.children(parent));
        children.map(|entry| entry.id.clone()).collect()
    }

    #[test]
    fn an_agent_has_what_is_below_it_below_that_and_below_its_aliases() {
        let mut index = index();
        for entry in [
            entry("own", "/spire/agent/a", "/w1", &["unix:uid:1"]),
            entry("nested", "/w1", "/w2", &["unix:uid:2"]),
            entry("alias", "/spire/server", "/cluster", &["k8s:a", "k8s:b"]),
            entry("shared", "/cluster", "/w3", &["unix:uid:3"]),
            entry("other", "/spire/agent/b", "/w4", &["unix:uid:4"]),
        ] {
            index.put_entry(entry);
        }
        for (agent, node, expected) in [
            ("/spire/agent/a", &[][..], &["nested", "own"][..]),
            ("/spire/agent/a", &["k8s:a"], &["nested", "own"]),
            (
                "/spire/agent/a",
                &["k8s:a", "k8s:b", "k8s:c"],
                &["nested", "own", "shared"],
            ),
            ("/spire/agent/b", &["k8s:a", "k8s:b"], &["other", "shared"]),
            ("/spire/agent/c", &[], &[]),
            ("/spire/server", &[], &[]),
        ] {
            let parents = index.parents(&id(agent), &selectors(node));
            let got = reached(&index, &parents);
            let got: Vec<_> = got.iter().map(EntryId::as_str).collect();
            assert_eq!(got, expected, "{agent} {node:?}");
        }
    }

    #[test]
    fn entries_of_another_trust_domain_are_ignored() {
        let mut index = index();
        let elsewhere: SpiffeId = "spiffe://elsewhere/w".parse().unwrap();
        let mut foreign_id = entry("one", "/spire/agent/a", "/w", &["t:a"]);
        foreign_id.body.spiffe_id = elsewhere.clone();
        let mut foreign_parent = entry("two", "/spire/agent/a", "/w", &["t:a"]);
        foreign_parent.body.parent_id = elsewhere;
        index.put_entry(foreign_id);
        index.put_entry(foreign_parent);
        assert_eq!(index.entries(), 0);
    }

    #[test]
    fn a_circle_of_parents_ends() {
        let mut index = index();
        index.put_entry(entry("1", "/spire/agent/a", "/x", &["t:a"]));
        index.put_entry(entry("2", "/x", "/y", &["t:a"]));
        index.put_entry(entry("3", "/y", "/x", &["t:a"]));
        index.put_entry(entry("4", "/y", "/y", &["t:a"]));
        let parents = index.parents(&id("/spire/agent/a"), &selectors(&[]));
        assert_eq!(reached(&index, &parents).len(), 4);
    }

    #[test]
    fn whatever_happens_the_index_agrees_with_the_rule() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..60 {
            run_against_the_rule(&mut random);
        }
    }

    /// Many random changes to one small world, each followed by the question who may have what. The
    /// parents are only asked for anew when the shape has changed, as the cache does.
    fn run_against_the_rule(random: &mut fastrand::Rng) {
        // Few IDs, so that parents, aliases and circles come about often.
        let paths = [
            "/spire/server",
            "/spire/agent/a",
            "/spire/agent/b",
            "/x",
            "/y",
            "/z",
            "/w",
        ];
        let facts = ["t:a", "t:b", "t:c"];
        let agents = [id("/spire/agent/a"), id("/spire/agent/b")];
        let nodes = [selectors(&["t:a", "t:b"]), selectors(&["t:c"])];
        let mut index = index();
        let mut model: Vec<Entry> = Vec::new();
        let mut remembered: Vec<(u64, HashSet<SpiffeId>)> = Vec::new();
        for (agent, node) in agents.iter().zip(&nodes) {
            remembered.push((index.shape(), index.parents(agent, node)));
        }
        for _ in 0..60 {
            let name = random.u8(..8).to_string();
            let known = model.iter().position(|entry| entry.id.as_str() == name);
            if random.bool() {
                let count = random.usize(1..=2);
                let texts: Vec<_> = random.choose_multiple(facts, count);
                let parent = paths[random.usize(..paths.len())];
                let path = paths[random.usize(..paths.len())];
                let entry = entry(&name, parent, path, &texts);
                match known {
                    Some(at) => model[at] = entry.clone(),
                    None => model.push(entry.clone()),
                }
                index.put_entry(entry);
            } else {
                if let Some(at) = known {
                    model.remove(at);
                }
                index.remove_entry(&name.parse().unwrap());
            }
            assert_eq!(index.entries(), model.len());
            for ((agent, node), (shape, parents)) in agents.iter().zip(&nodes).zip(&mut remembered)
            {
                if *shape != index.shape() {
                    (*shape, *parents) = (index.shape(), index.parents(agent, node));
                }
                let expected = crawl(&model, agent, node);
                assert_eq!(reached(&index, parents), expected, "{agent} {model:#?}");
            }
        }
    }
}

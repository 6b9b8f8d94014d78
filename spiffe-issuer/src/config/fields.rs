//! Asking a table for the keys one knows; the rest are faults.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use super::{Entry, Issues, Node, Place, Table, Value, suggest};

/// A table that is being read.
///
/// A key set to an empty string counts as left out, as it does for SPIRE: that is what
/// `-expandEnv` makes of a variable that is not set. Of a repeated key the last counts, blocks of
/// one name are read as one, and lists of one name as one.
///
/// Whatever is wrong is noted in the [`Issues`]; `None` then only says that there is no value.
#[derive(Debug)]
pub struct Fields<'a> {
    table: &'a Table,
    place: &'a Place,
    issues: &'a mut Issues,
    asked: Vec<&'static str>,
    lenient: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn new(table: &'a Table, place: &'a Place, issues: &'a mut Issues) -> Self {
        Self {
            table,
            place,
            issues,
            asked: Vec::new(),
            lenient: false,
        }
    }

    /// A key that has to be there.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        how: impl FnOnce(&Node, &mut Issues) -> Option<T>,
    ) -> Option<T> {
        match self.find(key) {
            Some(node) => how(&node, self.issues),
            None => {
                let what = match self.table.all(key).next() {
                    Some(_) => "is empty",
                    None => "is missing",
                };
                let place = self.place(key);
                self.issues.fault(&place, what);
                None
            }
        }
    }

    /// A key that may be left out.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        how: impl FnOnce(&Node, &mut Issues) -> Option<T>,
    ) -> Option<T> {
        let node = self.find(key)?;
        how(&node, self.issues)
    }

    /// A key that has a value also when it is left out.
    pub fn or<T>(
        &mut self,
        key: &'static str,
        how: impl FnOnce(&Node, &mut Issues) -> Option<T>,
        default: T,
    ) -> T {
        self.optional(key, how).unwrap_or(default)
    }

    /// Blocks with a label each, `NodeAttestor "x509pop" {}`: the label is the entry's key.
    pub fn labelled<T>(
        &mut self,
        key: &'static str,
        mut how: impl FnMut(&Entry, &mut Issues) -> Option<T>,
    ) -> Vec<T> {
        let mut seen: Vec<&Entry> = Vec::new();
        let mut read = Vec::new();
        for node in self.items(key) {
            let Value::Table(table) = &node.value else {
                node.unfit::<()>(self.issues, "a block with a label");
                continue;
            };
            for entry in &table.entries {
                if let Some(first) = seen.iter().find(|first| first.key == entry.key) {
                    let what = format!(
                        "is given twice, the first time in line {}",
                        first.place.line()
                    );
                    self.issues.fault(&entry.place, what);
                } else {
                    seen.push(entry);
                    read.extend(how(entry, self.issues));
                }
            }
        }
        read
    }

    /// Blocks that may come any number of times, as repeated blocks or as a list of them.
    pub fn repeated<T>(
        &mut self,
        key: &'static str,
        mut how: impl FnMut(&Node, &mut Issues) -> Option<T>,
    ) -> Vec<T> {
        let items = self.items(key);
        let read = items.into_iter().filter_map(|node| how(node, self.issues));
        read.collect()
    }

    /// Accepts a key that still works, or no longer does anything, and warns of that when it is
    /// set. `advice` says what to do instead. It can be read as any other afterwards.
    pub fn deprecated(&mut self, key: &'static str, advice: &str) {
        if self.has(key) {
            let place = self.place(key);
            self.issues
                .warn(&place, format_args!("is deprecated: {advice}"));
        }
    }

    /// Whether the key is set. A key that is only asked for with this counts as known.
    pub fn has(&mut self, key: &'static str) -> bool {
        self.asked.push(key);
        self.table.all(key).any(|entry| !is_empty(&entry.node))
    }

    /// Where the key is set, or where it would be.
    pub fn place(&self, key: &str) -> Place {
        match self.table.all(key).last() {
            Some(entry) => entry.node.place.clone(),
            None => self.place.of_key(key),
        }
    }

    /// Notes a fault at a place.
    pub fn fault_at(&mut self, place: &Place, what: impl fmt::Display) {
        self.issues.fault(place, what);
    }

    /// Notes a warning at a place.
    pub fn warn_at(&mut self, place: &Place, what: impl fmt::Display) {
        self.issues.warn(place, what);
    }

    /// Notes a fault of a key, for what can only be seen when several keys are known.
    pub fn fault(&mut self, key: &str, what: impl fmt::Display) {
        let place = self.place(key);
        self.issues.fault(&place, what);
    }

    /// Notes a warning about a key.
    pub fn warn(&mut self, key: &str, what: impl fmt::Display) {
        let place = self.place(key);
        self.issues.warn(&place, what);
    }

    /// Makes keys that nobody asks for warnings instead of faults, for the blocks whose unknown
    /// keys SPIRE passes over.
    pub fn lenient(&mut self) {
        self.lenient = true;
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self) {
        let known = |entry: &Entry| {
            self.asked
                .iter()
                .any(|key| entry.key.eq_ignore_ascii_case(key))
        };
        for entry in self.table.entries.iter().filter(|entry| !known(entry)) {
            let mut what = "is not a setting".to_owned();
            if let Some(meant) = suggest(&entry.key, self.asked.iter().copied()) {
                what.push_str(&format!("; did you mean `{meant}`?"));
            }
            if self.lenient {
                self.issues.warn(&entry.place, what);
            } else {
                self.issues.fault(&entry.place, what);
            }
        }
    }

    /// What the key is set to, all its occurrences taken together.
    fn find(&mut self, key: &'static str) -> Option<Cow<'a, Node>> {
        self.asked.push(key);
        let mut all = self.table.all(key).filter(|entry| !is_empty(&entry.node));
        let first = all.next()?;
        let mut found = Cow::Borrowed(&first.node);
        for next in all {
            match (&mut found, &next.node.value) {
                (found, Value::Table(more)) if matches!(found.value, Value::Table(_)) => {
                    if let Value::Table(table) = &mut found.to_mut().value {
                        table.entries.extend_from_slice(&more.entries);
                    }
                }
                (found, Value::List(more)) if matches!(found.value, Value::List(_)) => {
                    if let Value::List(list) = &mut found.to_mut().value {
                        list.extend_from_slice(more);
                    }
                }
                (found, _) => {
                    // Laid over by a flag is not given twice.
                    if next.place.line() > 0 {
                        let line = found.place.line();
                        let what =
                            format!("is given twice; this one counts, not that in line {line}");
                        self.issues.warn(&next.node.place, what);
                    }
                    *found = Cow::Borrowed(&next.node);
                }
            }
        }
        Some(found)
    }

    /// What the key is set to, one by one, whether repeated or in a list.
    fn items(&mut self, key: &'static str) -> Vec<&'a Node> {
        self.asked.push(key);
        let mut items = Vec::new();
        for entry in self.table.all(key).filter(|entry| !is_empty(&entry.node)) {
            match &entry.node.value {
                Value::List(list) => items.extend(list),
                _ => items.push(&entry.node),
            }
        }
        items
    }
}

fn is_empty(node: &Node) -> bool {
    matches!(&node.value, Value::Text(text) if text.is_empty())
}

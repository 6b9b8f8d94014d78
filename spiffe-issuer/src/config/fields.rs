//! Asking a table for the keys one knows; the rest are faults.

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

#[cfg(test)]
mod tests {
    use super::super::{boolean, duration, list, parse, port, text, whole};
    use super::*;

    /// Reads `file` with `read` and tells the faults and warnings.
    fn told<T>(
        file: &str,
        read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
    ) -> (Option<T>, String, Vec<String>) {
        let root = parse("f", file).unwrap();
        let mut issues = Issues::default();
        let value = root.fields(&mut issues, read);
        let warnings = issues.warnings().iter().map(ToString::to_string);
        (value, issues.to_string(), warnings.collect())
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        let file = "listen = 8081\nport = \"x\"\nttl = \"1 hour\"\nprot = 1\non = \"true\"\n";
        let (_, faults, _) = told(file, |fields| {
            let listen = fields.required("listen", list(text));
            let port = fields.required("port", port);
            let ttl = fields.or("ttl", duration, Default::default());
            let on = fields.or("on", boolean, false);
            let name = fields.required("name", text);
            Some((listen?, port?, ttl, on, name?))
        });
        assert_eq!(
            faults.lines().collect::<Vec<_>>(),
            [
                "f:1:1: name: is missing",
                "f:1:10: listen: `8081` is not a list",
                "f:2:8: port: `x` is not a port from 0 to 65535",
                "f:3:7: ttl: `1 hour` is not a duration such as 30s, 10m or 1h30m",
                "f:4:1: prot: is not a setting; did you mean `port`?",
                "f:5:6: on: `true` is not true or false (without quotes)",
            ]
        );
    }

    #[test]
    fn what_is_left_out_has_its_default_and_an_empty_string_is_left_out() {
        let read = |fields: &mut Fields<'_>| {
            let level = fields.or("level", text, "INFO".to_owned());
            let file = fields.optional("file", text);
            Some((level, file))
        };
        for file in ["", "level = \"\"\nfile = \"\"", "level = \"INFO\""] {
            let (value, faults, _) = told(file, read);
            assert_eq!(value, Some(("INFO".to_owned(), None)), "{file}");
            assert_eq!(faults, "", "{file}");
        }
        let (_, faults, _) = told("name = \"\"", |fields| fields.required("name", text));
        assert_eq!(faults, "f:1:8: name: is empty");
    }

    #[test]
    fn keys_are_found_whatever_their_case() {
        let (value, faults, _) = told("InMem {}\nPROMETHEUS { Port = 1 }", |fields| {
            fields.has("inmem");
            fields.required("Prometheus", |node, issues| {
                node.fields(issues, |fields| fields.required("port", port))
            })
        });
        assert_eq!((value, faults.as_str()), (Some(1), ""));
    }

    #[test]
    fn of_a_repeated_key_the_last_counts_with_a_warning() {
        let (value, faults, warnings) =
            told("n = 1\nn = 2", |fields| fields.required("n", whole::<u8>));
        assert_eq!((value, faults.as_str()), (Some(2), ""));
        assert_eq!(
            warnings,
            ["f:2:5: n: is given twice; this one counts, not that in line 1"]
        );
    }

    #[test]
    fn repeated_blocks_are_one_and_repeated_lists_too() {
        let file = "ids = [\"a\"]\nb { x = 1 }\nids = [\"b\"]\nb { y = 2 }";
        let (value, faults, warnings) = told(file, |fields| {
            let ids = fields.required("ids", list(text));
            let sum = fields.required("b", |node, issues| {
                node.fields(issues, |fields| {
                    let x = fields.required("x", whole::<u8>);
                    let y = fields.required("y", whole::<u8>);
                    Some(x? + y?)
                })
            });
            Some((ids?, sum?))
        });
        assert_eq!(value, Some((vec!["a".to_owned(), "b".to_owned()], 3)));
        assert_eq!((faults.as_str(), warnings.len()), ("", 0));
    }

    #[test]
    fn labelled_blocks_are_read_one_by_one_in_every_shape() {
        for file in [
            "P \"a\" { n = 1 }\nP \"b\" { n = 2 }",
            "P { a { n = 1 } b { n = 2 } }",
            "P = [{ a = { n = 1 } }, { b = { n = 2 } }]",
            "P \"a\" { n = 1 }\nP = { \"b\" = { n = 2 } }",
            r#"{"P": {"a": {"n": 1}, "b": {"n": 2}}}"#,
            r#"{"P": [{"a": {"n": 1}}, {"b": {"n": 2}}]}"#,
            "[P.a]\nn = 1\n[P.b]\nn = 2",
        ] {
            let (value, faults, _) = told(file, |fields| {
                Some(fields.labelled("P", |entry, issues| {
                    let n = entry.node.fields(issues, |f| f.required("n", whole::<u8>));
                    Some((entry.key.clone(), n?))
                }))
            });
            let wanted = vec![("a".to_owned(), 1), ("b".to_owned(), 2)];
            assert_eq!((value, faults.as_str()), (Some(wanted), ""), "{file}");
        }
    }

    #[test]
    fn a_label_names_one_block_and_no_value() {
        let (_, faults, _) = told("P \"a\" {}\nP \"a\" {}\nP = 3", |fields| {
            Some(fields.labelled("P", |_, _| Some(())))
        });
        assert_eq!(
            faults,
            "f:2:3: P.a: is given twice, the first time in line 1\n\
             f:3:5: P: `3` is not a block with a label"
        );
    }

    #[test]
    fn blocks_without_labels_repeat_or_stand_in_a_list() {
        for file in [
            "s { n = 1 }\ns { n = 2 }",
            "s = [{ n = 1 }, { n = 2 }]",
            "[[s]]\nn = 1\n[[s]]\nn = 2",
        ] {
            let (value, faults, _) = told(file, |fields| {
                Some(fields.repeated("s", |node, issues| {
                    node.fields(issues, |fields| fields.required("n", whole::<u8>))
                }))
            });
            assert_eq!((value, faults.as_str()), (Some(vec![1, 2]), ""), "{file}");
        }
    }

    #[test]
    fn old_keys_work_with_a_warning_and_lenient_blocks_only_warn() {
        let (value, faults, warnings) = told("old = \"x\"\nunheard = 1", |fields| {
            fields.lenient();
            fields.deprecated("old", "use `new`");
            fields.deprecated("older", "use `new`");
            fields.optional("old", text)
        });
        assert_eq!((value.as_deref(), faults.as_str()), (Some("x"), ""));
        assert_eq!(
            warnings,
            [
                "f:1:7: old: is deprecated: use `new`",
                "f:2:1: unheard: is not a setting"
            ]
        );
    }

    #[test]
    fn what_is_no_block_is_not_read_as_one() {
        let (_, faults, _) = told("agent = \"x\"", |fields| {
            fields.required("agent", |node, issues| node.fields(issues, |_| Some(())))
        });
        assert_eq!(faults, "f:1:9: agent: `x` is not a block");
    }
}

//! The tree that every configuration language is read into.

use std::fmt;
use std::sync::Arc;

use super::{Fields, Issues};

/// A value and the place it was read from.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What stands there.
    pub value: Value,
    /// Where that is.
    pub place: Place,
}

/// What a setting can be.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// Values in order.
    List(Vec<Node>),
    /// A number as it was written, so that it can be read as any type and also as text.
    Number(String),
    /// Keys with their values; a block and an object are the same thing.
    Table(Table),
    /// A string, with its escapes resolved.
    Text(String),
}

/// Keys with their values, in the order of the file.
///
/// A key can occur more than once: HCL repeats blocks, and repeated keys are told apart only by
/// whoever reads them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// The entries in the order of the file.
    pub entries: Vec<Entry>,
}

/// One key of a table. A labelled block `KeyManager "disk" {}` is two: the table of `KeyManager`
/// has one entry `disk`.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key or label.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
    /// What it is set to.
    pub node: Node,
}

/// Where something stands: the file, the position in it, and the full name of the key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    source: Arc<str>,
    key: Arc<str>,
    line: u32,
    column: u32,
}

impl Node {
    /// The root of a file: `table` with every place in it told its file and its full key.
    pub(super) fn root(source: &str, table: Table) -> Self {
        let mut root = Self {
            value: Value::Table(table),
            place: Place::at(1, 1),
        };
        root.name(&source.into(), "");
        root
    }

    /// A table without entries: what a block that is left out is read from.
    pub fn empty(place: Place) -> Self {
        Self {
            value: Value::Table(Table::default()),
            place,
        }
    }

    /// Reads a table. `read` asks for every key it knows, and asks for all of them before it
    /// gives up; what it did not ask for is not a setting.
    pub fn fields<T>(
        &self,
        issues: &mut Issues,
        read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
    ) -> Option<T> {
        let Value::Table(table) = &self.value else {
            return self.unfit(issues, "a block");
        };
        let mut fields = Fields::new(table, &self.place, issues);
        let value = read(&mut fields);
        fields.finish();
        value
    }

    /// Reports that this is not `wanted`, and is nothing.
    pub fn unfit<T>(&self, issues: &mut Issues, wanted: impl fmt::Display) -> Option<T> {
        issues.fault(&self.place, format_args!("{self} is not {wanted}"));
        None
    }

    /// Lays a value over what the file says, as a command line flag does: the root's
    /// `keys[0].keys[1]…` is then `value`. `source` is how faults name where it came from.
    pub fn overlay(&mut self, keys: &[&str], value: Value, source: &str) {
        // Repeated tables are read as one and the last of a repeated key counts, so it is enough
        // to come last.
        if let (Value::Table(table), [first, rest @ ..]) = (&mut self.value, keys) {
            let mut node = Self::nowhere(value);
            for key in rest.iter().rev() {
                node = Self::nowhere(Value::Table(Table::of(key, node)));
            }
            let mut laid = Table::of(first, node);
            for entry in &mut laid.entries {
                entry.name(&source.into(), "");
            }
            table.entries.append(&mut laid.entries);
        }
    }

    fn nowhere(value: Value) -> Self {
        Self {
            value,
            place: Place::default(),
        }
    }

    fn name(&mut self, source: &Arc<str>, key: &str) {
        self.place.source = source.clone();
        self.place.key = key.into();
        match &mut self.value {
            Value::Table(table) => {
                for entry in &mut table.entries {
                    entry.name(source, key);
                }
            }
            Value::List(items) => {
                for (at, item) in items.iter_mut().enumerate() {
                    item.name(source, &format!("{key}[{at}]"));
                }
            }
            Value::Bool(_) | Value::Number(_) | Value::Text(_) => {}
        }
    }
}

impl fmt::Display for Node {
    /// As a fault names it: a scalar in full, the rest by what it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Bool(value) => write!(f, "`{value}`"),
            Value::List(_) => f.write_str("a list"),
            Value::Number(text) | Value::Text(text) => write!(f, "`{text}`"),
            Value::Table(_) => f.write_str("a block"),
        }
    }
}

impl Table {
    /// The table with this one entry.
    fn of(key: &str, node: Node) -> Self {
        Self {
            entries: vec![Entry {
                key: key.to_owned(),
                place: node.place.clone(),
                node,
            }],
        }
    }

    /// Every entry of that name. Case does not matter: in HCL version 1 it does not.
    pub fn all<'t>(&'t self, key: &'t str) -> impl Iterator<Item = &'t Entry> {
        self.entries
            .iter()
            .filter(move |entry| entry.key.eq_ignore_ascii_case(key))
    }
}

impl Entry {
    fn name(&mut self, source: &Arc<str>, parent: &str) {
        let key = joined(parent, &self.key);
        self.place.source = source.clone();
        self.place.key = key.as_str().into();
        self.node.name(source, &key);
    }
}

impl Place {
    /// A position that does not know its file and key yet.
    pub(super) fn at(line: u32, column: u32) -> Self {
        Self {
            line,
            column,
            ..Self::default()
        }
    }

    /// A position in a file, outside any key.
    pub(super) fn within(source: &str, line: u32, column: u32) -> Self {
        Self {
            source: source.into(),
            ..Self::at(line, column)
        }
    }

    /// The place of a key that this table should have.
    pub(super) fn of_key(&self, key: &str) -> Self {
        Self {
            key: joined(&self.key, key).into(),
            ..self.clone()
        }
    }

    /// What faults are sorted by.
    pub(super) fn order(&self) -> (&str, u32, u32) {
        (&self.source, self.line, self.column)
    }

    /// The full name of the key, such as `server.federation.bundle_endpoint.port`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The line, counted from 1; 0 where the value came from no file.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The column, counted in characters from 1.
    pub fn column(&self) -> u32 {
        self.column
    }
}

impl fmt::Display for Place {
    /// `agent.conf:12:3: agent.server_port`, as far as each part is known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let position = match self.line {
            0 => String::new(),
            line => format!("{line}:{}", self.column),
        };
        let position_in_file = joined_by(":", &self.source, &position);
        f.write_str(&joined_by(": ", &position_in_file, &self.key))
    }
}

/// Both with `between` between them, or the one that is not empty.
fn joined_by(between: &str, first: &str, second: &str) -> String {
    let between = if first.is_empty() || second.is_empty() {
        ""
    } else {
        between
    };
    format!("{first}{between}{second}")
}

/// `server.port`, `federates_with["other.test"]`: a name with a dot in it stays one name.
fn joined(parent: &str, key: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if !key.bytes().all(plain) {
        format!("{parent}[{key:?}]")
    } else if parent.is_empty() {
        key.to_owned()
    } else {
        format!("{parent}.{key}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{parse, text};
    use super::*;

    #[test]
    fn a_place_names_file_position_and_key_as_far_as_it_knows_them() {
        for (place, named) in [
            (Place::default(), ""),
            (Place::within("agent.conf", 12, 3), "agent.conf:12:3"),
            (
                Place::within("agent.conf", 12, 3)
                    .of_key("agent")
                    .of_key("sds"),
                "agent.conf:12:3: agent.sds",
            ),
            (
                Place::default()
                    .of_key("federates_with")
                    .of_key("b.test")
                    .of_key("url"),
                "federates_with[\"b.test\"].url",
            ),
        ] {
            assert_eq!(place.to_string(), named);
        }
    }

    #[test]
    fn every_value_knows_its_full_key() {
        let root = parse("a.conf", "agent { brokers = [{ id = 1 }] }").unwrap();
        let mut issues = Issues::default();
        let mut node = &root;
        let mut keys = Vec::new();
        loop {
            keys.push(node.place.key().to_owned());
            node = match &node.value {
                Value::Table(table) => &table.entries[0].node,
                Value::List(items) => &items[0],
                _ => break,
            };
        }
        assert_eq!(
            keys,
            [
                "",
                "agent",
                "agent.brokers",
                "agent.brokers[0]",
                "agent.brokers[0].id"
            ]
        );
        assert_eq!(node.unfit::<()>(&mut issues, "a name"), None);
        assert_eq!(
            issues.to_string(),
            "a.conf:1:27: agent.brokers[0].id: `1` is not a name"
        );
    }

    #[test]
    fn a_flag_counts_more_than_the_file_and_is_no_repetition() {
        let mut root = parse("a.conf", "agent { data_dir = \"/a\" }").unwrap();
        let text_of = |value: &str| Value::Text(value.to_owned());
        root.overlay(&["agent", "data_dir"], text_of("/b"), "-dataDir");
        root.overlay(&["agent", "log_level"], Value::Bool(true), "-logLevel");
        let mut issues = Issues::default();
        let read = root.fields(&mut issues, |fields| {
            fields.required("agent", |agent, issues| {
                agent.fields(issues, |fields| {
                    fields.optional("log_level", text);
                    fields.required("data_dir", text)
                })
            })
        });
        assert_eq!(read.as_deref(), Some("/b"));
        assert_eq!(issues.warnings(), []);
        assert_eq!(
            issues.to_string(),
            "-logLevel: agent.log_level: `true` is not a string"
        );
    }
}

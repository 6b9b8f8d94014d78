//! Reading TOML.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Entry, Issues, Node, Place, Table, Value};

/// Reads `text`; `source` is how faults name the file. Every fault of the syntax is reported.
pub(super) fn read(source: &str, text: &str) -> Result<Node, Issues> {
    let lines = Lines::of(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(Node::root(source, lines.table(table.into_inner())));
    }
    let mut issues = Issues::default();
    for error in errors {
        let at = lines.place(error.span().map_or(0, |span| span.start));
        let place = Place::within(source, at.line(), at.column());
        issues.fault(&place, error.message().replace('\n', ", "));
    }
    Err(issues)
}

/// Where the lines of a text begin, to say where in it a byte stands.
struct Lines<'t> {
    text: &'t str,
    begin: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn of(text: &'t str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let begin = std::iter::once(0).chain(ends.map(|(at, _)| at + 1));
        Self {
            text,
            begin: begin.collect(),
        }
    }

    fn place(&self, byte: usize) -> Place {
        let line = self.begin.partition_point(|begin| *begin <= byte);
        let begin = self.begin.get(line - 1).copied().unwrap_or_default();
        let before = self.text.get(begin..byte).unwrap_or_default();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Place::at(number(line), number(before.chars().count() + 1))
    }

    fn table(&self, table: DeTable<'_>) -> Table {
        let mut entries: Vec<_> = table.into_iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let entries = entries.into_iter().map(|(key, value)| Entry {
            place: self.place(key.span().start),
            key: key.into_inner().into_owned(),
            node: self.node(value),
        });
        Table {
            entries: entries.collect(),
        }
    }

    fn node(&self, value: Spanned<DeValue<'_>>) -> Node {
        let place = self.place(value.span().start);
        let value = match value.into_inner() {
            DeValue::String(text) => Value::Text(text.into_owned()),
            // Hexadecimal and octal are told apart by the digit in front elsewhere.
            DeValue::Integer(number) => Value::Number(
                i128::from_str_radix(number.as_str(), number.radix())
                    .map_or_else(|_| number.to_string(), |number| number.to_string()),
            ),
            DeValue::Float(number) => Value::Number(number.as_str().to_owned()),
            DeValue::Boolean(value) => Value::Bool(value),
            DeValue::Datetime(time) => Value::Text(time.to_string()),
            DeValue::Array(items) => {
                Value::List(items.into_iter().map(|item| self.node(item)).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node { value, place }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{list, text, whole};
    use super::*;

    #[test]
    fn toml_becomes_the_same_tree_with_its_positions() {
        let file = "\
name = 'x'
mode = 0o600
mask = 0x1_0
[plugins.KeyManager.disk.plugin_data]
keys_path = 'k'
[[brokers]]
ids = ['a', 'b']
";
        let root = read("a.toml", file).unwrap();
        let mut issues = Issues::default();
        let value = root.fields(&mut issues, |fields| {
            let name = fields.required("name", text);
            let mode = fields.required("mode", whole::<u32>);
            let mask = fields.required("mask", whole::<u32>);
            let ids = fields.repeated("brokers", |node, issues| {
                node.fields(issues, |fields| fields.required("ids", list(text)))
            });
            let keys_path = fields.required("plugins", |node, issues| {
                node.fields(issues, |fields| {
                    let managers = fields.labelled("KeyManager", |entry, issues| {
                        entry.node.fields(issues, |fields| {
                            fields.required("plugin_data", |node, issues| {
                                node.fields(issues, |fields| fields.required("keys_path", text))
                            })
                        })
                    });
                    Some(managers.concat())
                })
            });
            Some((name?, mode?, mask?, ids.concat(), keys_path?))
        });
        assert_eq!(issues.to_string(), "");
        let ids = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(
            value,
            Some(("x".to_owned(), 0o600, 16, ids, "k".to_owned()))
        );
    }

    #[test]
    fn faults_have_line_and_column() {
        let root = read("a.toml", "\u{e9}t\u{e9} = 1\n[a]\n  '\u{e9}' = 1\n").unwrap_err();
        assert!(root.to_string().starts_with("a.toml:1:"), "{root}");

        let root = read("a.toml", "[agent]\n\"\u{e9}\" = 1\n  x = true\n").unwrap();
        let mut issues = Issues::default();
        root.fields(&mut issues, |fields| {
            fields.required("agent", |node, issues| {
                node.fields(issues, |fields| fields.required("x", text))
            })
        });
        assert_eq!(
            issues.to_string(),
            "a.toml:2:1: agent[\"\u{e9}\"]: is not a setting\n\
             a.toml:3:7: agent.x: `true` is not a string"
        );
    }

    #[test]
    fn every_fault_of_the_syntax_is_reported() {
        let issues = read("a.toml", "a = \nb = 1\nc = [1\nd = 'x\n").unwrap_err();
        assert!(issues.faults().len() >= 2, "{issues}");
        assert!(issues.to_string().starts_with("a.toml:1:"), "{issues}");
    }

    #[test]
    fn deep_nesting_is_refused() {
        let deep = format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(read("a.toml", &deep).is_err());
    }
}

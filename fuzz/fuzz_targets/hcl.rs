//! No text makes the readers of configuration panic, hang or point beside it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use spiffe_issuer::config::{Node, Place, Value, parse};

fuzz_target!(|text: &str| {
    for name in ["f.conf", "f.json", "f.toml"] {
        match parse(name, text) {
            Ok(root) => visit(&root, text),
            Err(issues) => {
                assert!(!issues.faults().is_empty());
                for issue in issues.faults() {
                    within(&issue.place, text);
                }
            }
        }
    }
});

fn visit(node: &Node, text: &str) {
    within(&node.place, text);
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| visit(item, text)),
        Value::Table(table) => {
            for entry in &table.entries {
                within(&entry.place, text);
                visit(&entry.node, text);
            }
        }
        Value::Bool(_) | Value::Number(_) | Value::Text(_) => {}
    }
}

/// A fault may stand at the end of the last line, but not behind it.
fn within(place: &Place, text: &str) {
    let line = text.split('\n').nth(place.line() as usize - 1);
    let length = line.expect("a line of the text").chars().count();
    assert!((place.column() as usize) <= length + 1, "{place}");
}

//! What the fuzz targets `hcl` and `h2_headers` hold true for any bytes. A plain test tries the same
//! with what the fuzzer has found.

use spiffe_issuer::agent::h2_authority::{Frames, MAX_BLOCK};
use spiffe_issuer::config::{Node, Place, Value, parse};

/// No text makes the readers of configuration panic, hang or point beside it. Tells whether any of
/// them reads it.
pub(crate) fn configuration(text: &str) -> bool {
    let read = ["f.conf", "f.json", "f.toml"].map(|name| match parse(name, text) {
        Ok(root) => {
            visit(&root, text);
            true
        }
        Err(issues) => {
            assert!(!issues.faults().is_empty());
            for issue in issues.faults() {
                within(&issue.place, text);
            }
            false
        }
    });
    read.contains(&true)
}

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
    let length = line.unwrap().chars().count();
    assert!((place.column() as usize) <= length + 1, "{place}");
}

/// What a client sends before HTTP/2 is made of it: any bytes, cut in two anywhere, are handed on
/// alike or refused alike. The first byte says whether a good preface comes before the rest, the next
/// two say where to cut. Tells whether they were handed on.
pub(crate) fn frames(input: &[u8]) -> bool {
    let Some((&[with_preface, high, low], rest)) = input.split_first_chunk() else {
        return false;
    };
    let mut bytes = rest.to_vec();
    if with_preface & 1 == 1 {
        bytes.splice(0..0, *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    }
    let mut whole = Vec::new();
    let outcome = Frames::default().push(&bytes, &mut whole);
    // A replacement is never longer than nine bytes, and a block has one.
    assert!(whole.len() <= 2 * bytes.len() + MAX_BLOCK);

    let cut = usize::from(u16::from_be_bytes([high, low])) % (bytes.len() + 1);
    let (before, after) = bytes.split_at(cut);
    let mut frames = Frames::default();
    let mut parts = Vec::new();
    let in_parts = frames
        .push(before, &mut parts)
        .and_then(|()| frames.push(after, &mut parts));
    let handed_on = outcome.is_ok();
    assert_eq!((whole, outcome), (parts, in_parts));
    handed_on
}

//! Reading JSON: the tokens are those of HCL, the grammar is its own.

use super::hcl::MAX_DEPTH;
use super::scan::{Language, Position, Scanner, SyntaxError, Token};
use super::{Entry, Issues, Node, Table, Value};

/// Reads `text`, which has to be one object; `source` is how faults name the file.
pub(super) fn read(source: &str, text: &str) -> Result<Node, Issues> {
    let mut scanner = Scanner::new(text, Language::Json);
    match file(&mut scanner) {
        Ok(table) => Ok(Node::root(source, table)),
        Err(error) => Err(error.within(source)),
    }
}

fn file(scanner: &mut Scanner<'_>) -> Result<Table, SyntaxError> {
    let (token, at) = scanner.next()?;
    if token != Token::Sign('{') {
        return Err(at.error(format!("found {token}, expected `{{`")));
    }
    let table = table(scanner, 0)?;
    match scanner.next()? {
        (Token::End, _) => Ok(table),
        (other, at) => Err(at.error(format!("found {other} after the end of the object"))),
    }
}

/// The entries of an object, after its brace. A key set to `null` is left out.
fn table(scanner: &mut Scanner<'_>, depth: usize) -> Result<Table, SyntaxError> {
    let mut table = Table::default();
    let mut next = scanner.next()?;
    if next.0 == Token::Sign('}') {
        return Ok(table);
    }
    loop {
        let (Token::Text(key), at) = next else {
            let (other, at) = next;
            return Err(at.error(format!("found {other}, expected a key in quotes")));
        };
        expect_colon(scanner, &key)?;
        let token = scanner.next()?;
        if let Some(node) = value(scanner, token, depth + 1)? {
            let place = at.place();
            table.entries.push(Entry { key, place, node });
        }
        if !another(scanner, '}')? {
            return Ok(table);
        }
        next = scanner.next()?;
    }
}

fn expect_colon(scanner: &mut Scanner<'_>, key: &str) -> Result<(), SyntaxError> {
    match scanner.next()? {
        (Token::Sign(':'), _) => Ok(()),
        (other, at) => Err(at.error(format!("found {other} after `{key}`, expected `:`"))),
    }
}

fn list(scanner: &mut Scanner<'_>, depth: usize) -> Result<Vec<Node>, SyntaxError> {
    let mut items = Vec::new();
    let mut next = scanner.next()?;
    if next.0 == Token::Sign(']') {
        return Ok(items);
    }
    loop {
        let at = next.1;
        let item = value(scanner, next, depth)?;
        items.push(item.ok_or_else(|| at.error("`null` cannot stand in a list"))?);
        if !another(scanner, ']')? {
            return Ok(items);
        }
        next = scanner.next()?;
    }
}

/// Whether a comma follows, and not the sign that closes.
fn another(scanner: &mut Scanner<'_>, closing: char) -> Result<bool, SyntaxError> {
    match scanner.next()? {
        (Token::Sign(','), _) => Ok(true),
        (Token::Sign(sign), _) if sign == closing => Ok(false),
        (other, at) => Err(at.error(format!("found {other}, expected `,` or `{closing}`"))),
    }
}

/// The value that begins with this token; `None` is `null`.
fn value(
    scanner: &mut Scanner<'_>,
    (token, at): (Token, Position),
    depth: usize,
) -> Result<Option<Node>, SyntaxError> {
    if depth >= MAX_DEPTH {
        return Err(at.error("this is nested too deeply"));
    }
    let value = match token {
        Token::Bool(value) => Value::Bool(value),
        Token::Number(text) => Value::Number(text),
        Token::Text(text) => Value::Text(text),
        Token::Sign('{') => Value::Table(table(scanner, depth)?),
        Token::Sign('[') => Value::List(list(scanner, depth + 1)?),
        Token::Name(name) if name == "null" => return Ok(None),
        other => return Err(at.error(format!("found {other}, expected a value"))),
    };
    let place = at.place();
    Ok(Some(Node { value, place }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_the_same_tree_as_hcl_at_its_own_places() {
        let json = r#"{"a": {"b": [1, -2.5e3, true, "x"]}, "c": {}, "d": null, "a": []}"#;
        let hcl = "a { b = [1, -2.5e3, true, \"x\"] } c {} a = []";
        let (json, hcl) = (
            read("f", json).unwrap(),
            super::super::hcl::read("f", hcl).unwrap(),
        );
        assert_eq!(keys(&json), keys(&hcl));
        assert_eq!(keys(&json)[1], "a.b");

        let Value::Table(table) = &json.value else {
            panic!("not a table");
        };
        let place = &table.entries[1].place;
        assert_eq!((place.key(), place.line(), place.column()), ("c", 1, 38));
    }

    /// The full keys of everything in the tree, with the scalars.
    fn keys(node: &Node) -> Vec<String> {
        match &node.value {
            Value::Table(table) => {
                let own = |entry: &Entry| {
                    let mut found = vec![entry.place.key().to_owned()];
                    found.extend(keys(&entry.node));
                    found
                };
                table.entries.iter().flat_map(own).collect()
            }
            Value::List(items) => items.iter().flat_map(keys).collect(),
            _ => vec![format!("{}={node}", node.place.key())],
        }
    }

    #[test]
    fn strings_have_the_escapes_of_json() {
        for (text, value) in [
            (r#""a\"\\\/\b\f\n\r\t""#, "a\"\\/\u{8}\u{c}\n\r\t"),
            (r#""\u00e9\ud83d\ude00""#, "\u{e9}\u{1f600}"),
            (r#""${x}""#, "${x}"),
        ] {
            let root = read("f", &format!("{{\"a\": {text}}}")).unwrap();
            assert_eq!(keys(&root)[1], format!("a=`{value}`"), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_told_with_its_place() {
        for (text, why) in [
            ("", "1:1: found the end of the file, expected `{`"),
            ("[]", "1:1: found `[`, expected `{`"),
            ("{} x", "1:4: found `x` after the end of the object"),
            ("{\"a\" 1}", "1:6: found `1` after `a`, expected `:`"),
            ("{\"a\": 1,}", "1:9: found `}`, expected a key in quotes"),
            (
                "{\"a\": 1 \"b\": 2}",
                "1:9: found a string, expected `,` or `}`",
            ),
            ("{a: 1}", "1:2: found `a`, expected a key in quotes"),
            ("{\"a\":\n [1, null]}", "2:6: `null` cannot stand in a list"),
            ("{\"a\": [1,]}", "1:10: found `]`, expected a value"),
            (
                "{\"a\": [1",
                "1:9: found the end of the file, expected `,` or `]`",
            ),
            ("{\"a\": yes}", "1:7: found `yes`, expected a value"),
            (
                "{\"a\": 010}",
                "1:7: `010` is not a number; other values stand in quotes",
            ),
            (
                "{\"a\": 0x1}",
                "1:7: `0x1` is not a number; other values stand in quotes",
            ),
            (
                "{\"a\": .5}",
                "1:7: `.5` is not a number; other values stand in quotes",
            ),
            (
                "{\"a\": 1.}",
                "1:7: `1.` is not a number; other values stand in quotes",
            ),
            (
                "{\"a\": 1} // x",
                "1:10: found '/', which means nothing here",
            ),
            (
                r#"{"a": "\x41"}"#,
                "1:8: the escape is unknown; a backslash is written `\\\\`",
            ),
            (r#"{"a": "\ud83dx"}"#, "1:8: the escape is half a character"),
            (r#"{"a": "\ude00"}"#, "1:8: the escape is no character"),
        ] {
            let told = read("f", text).map_err(|issues| issues.to_string());
            assert_eq!(told, Err(format!("f:{why}")), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        for open in ["{\"a\": ", "[", "[{\"a\": "] {
            let deep = format!("{{\"a\": {}", open.repeat(100_000));
            let told = read("f", &deep).unwrap_err().to_string();
            assert!(told.ends_with("this is nested too deeply"), "{told}");
        }
    }
}

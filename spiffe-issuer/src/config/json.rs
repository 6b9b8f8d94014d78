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

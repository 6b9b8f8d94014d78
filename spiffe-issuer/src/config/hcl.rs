//! Reading HCL version 1, the language of SPIRE's configuration files.
//!
//! It is not the HCL of today: keys may be quoted, blocks are objects, an attribute may be
//! repeated, several may stand in a line, `0600` is octal, and nothing is evaluated.

use super::scan::{Language, Position, Scanner, SyntaxError, Token};
use super::{Entry, Issues, Node, Table, Value};

/// How deep blocks, lists and labels may be nested. Real files need eight.
pub(super) const MAX_DEPTH: usize = 64;

/// Reads `text`; `source` is how faults name the file.
pub(super) fn read(source: &str, text: &str) -> Result<Node, Issues> {
    let mut parser = Parser {
        scanner: Scanner::new(text, Language::Hcl),
        peeked: None,
    };
    match parser.table(None, 0) {
        Ok(table) => Ok(Node::root(source, table)),
        Err(error) => Err(error.within(source)),
    }
}

struct Parser<'t> {
    scanner: Scanner<'t>,
    peeked: Option<(Token, Position)>,
}

impl Parser<'_> {
    /// The entries up to the brace that closes the one at `opened`, or to the end of the file.
    fn table(&mut self, opened: Option<Position>, depth: usize) -> Result<Table, SyntaxError> {
        let mut table = Table::default();
        loop {
            let (token, at) = self.next()?;
            match (token, opened) {
                (Token::End, None) | (Token::Sign('}'), Some(_)) => return Ok(table),
                (Token::End, Some(opened)) => {
                    return Err(opened.error("the block is not closed with `}`"));
                }
                (Token::Sign('}'), None) => return Err(at.error("`}` closes nothing")),
                (Token::Name(key) | Token::Text(key), _) => {
                    table.entries.push(self.entry(key, at, depth)?);
                }
                (other, _) => return Err(at.error(format!("found {other}, expected a key"))),
            }
            if self.peek()? == &Token::Sign(',') {
                self.next()?;
            }
        }
    }

    /// What follows a key: labels and a block, or `=` and a value.
    fn entry(&mut self, key: String, at: Position, depth: usize) -> Result<Entry, SyntaxError> {
        if depth >= MAX_DEPTH {
            return Err(at.error("this is nested too deeply"));
        }
        let (token, next_at) = self.next()?;
        let node = match token {
            Token::Sign('=') => self.value(depth + 1)?,
            Token::Sign('{') => Node {
                value: Value::Table(self.table(Some(next_at), depth + 1)?),
                place: at.place(),
            },
            Token::Name(label) | Token::Text(label) => {
                let inner = self.labelled(label, next_at, depth + 1, &key)?;
                let entries = vec![inner];
                Node {
                    value: Value::Table(Table { entries }),
                    place: at.place(),
                }
            }
            other => {
                let what = format!("found {other} after `{key}`, expected `=` or `{{`");
                return Err(next_at.error(what));
            }
        };
        Ok(Entry {
            key,
            place: at.place(),
            node,
        })
    }

    /// A label of a block: as a key, but `=` cannot follow.
    fn labelled(
        &mut self,
        label: String,
        at: Position,
        depth: usize,
        key: &str,
    ) -> Result<Entry, SyntaxError> {
        if self.peek()? == &Token::Sign('=') {
            let what = format!("found `{label}` after `{key}`, expected `=` or `{{`");
            return Err(at.error(what));
        }
        self.entry(label, at, depth)
    }

    fn value(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        let (token, at) = self.next()?;
        if depth >= MAX_DEPTH {
            return Err(at.error("this is nested too deeply"));
        }
        let value = match token {
            Token::Bool(value) => Value::Bool(value),
            Token::Number(text) => Value::Number(text),
            Token::Text(text) => Value::Text(text),
            Token::Sign('{') => Value::Table(self.table(Some(at), depth + 1)?),
            Token::Sign('[') => Value::List(self.list(at, depth + 1)?),
            Token::Name(name) => {
                let what = format!("found `{name}`, expected a value; text stands in quotes");
                return Err(at.error(what));
            }
            other => return Err(at.error(format!("found {other}, expected a value"))),
        };
        Ok(Node {
            value,
            place: at.place(),
        })
    }

    fn list(&mut self, opened: Position, depth: usize) -> Result<Vec<Node>, SyntaxError> {
        let mut items = Vec::new();
        loop {
            if self.peek()? == &Token::Sign(']') {
                self.next()?;
                return Ok(items);
            }
            items.push(self.value(depth)?);
            match self.next()? {
                (Token::Sign(','), _) => {}
                (Token::Sign(']'), _) => return Ok(items),
                (Token::End, _) => return Err(opened.error("the list is not closed with `]`")),
                (other, at) => {
                    return Err(at.error(format!("found {other} in a list, expected `,` or `]`")));
                }
            }
        }
    }

    fn next(&mut self) -> Result<(Token, Position), SyntaxError> {
        match self.peeked.take() {
            Some(token) => Ok(token),
            None => self.scanner.next(),
        }
    }

    fn peek(&mut self) -> Result<&Token, SyntaxError> {
        let token = self.next()?;
        Ok(&self.peeked.insert(token).0)
    }
}

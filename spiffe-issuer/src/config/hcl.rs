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
    // HCL knows one end of line, also inside of strings.
    let text = text.replace("\r\n", "\n");
    let mut parser = Parser {
        scanner: Scanner::new(&text, Language::Hcl),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree in the shortest words: `k=v`, blocks in braces, lists in brackets, texts in quotes.
    fn told(node: &Node) -> String {
        match &node.value {
            Value::Bool(value) => value.to_string(),
            Value::List(items) => {
                let items: Vec<_> = items.iter().map(told).collect();
                format!("[{}]", items.join(" "))
            }
            Value::Number(text) => text.clone(),
            Value::Table(table) => {
                let entry = |entry: &Entry| format!("{}={}", entry.key, told(&entry.node));
                let entries: Vec<_> = table.entries.iter().map(entry).collect();
                format!("{{{}}}", entries.join(" "))
            }
            Value::Text(text) => format!("{text:?}"),
        }
    }

    #[test]
    fn version_1_is_read_in_all_its_shapes() {
        for (text, tree) in [
            ("", "{}"),
            ("a = 1\nb = true\nc = \"x\"", "{a=1 b=true c=\"x\"}"),
            // Several in a line, with commas and without.
            ("a = 1 b = 2, c {} d = 3", "{a=1 b=2 c={} d=3}"),
            // Blocks are objects.
            ("a { b = 1 }", "{a={b=1}}"),
            ("a = { b = 1 }", "{a={b=1}}"),
            ("a = { b = 1, }", "{a={b=1}}"),
            ("a { b { c { } } }", "{a={b={c={}}}}"),
            // Labels are blocks too, bare or quoted.
            ("a \"b\" { c = 1 }", "{a={b={c=1}}}"),
            ("a b \"c\" {}", "{a={b={c={}}}}"),
            ("\"a\" \"b\" plugin_data {}", "{a={b={plugin_data={}}}}"),
            // Keys may be quoted, and repeated.
            ("\"a b\" = 1", "{a b=1}"),
            ("a = 1\na = 2\nb {}\nb {}", "{a=1 a=2 b={} b={}}"),
            ("a-b.c_1 = 1\n\u{e9} = 2", "{a-b.c_1=1 \u{e9}=2}"),
            // Lists may end with a comma and hold anything.
            (
                "a = []\nb = [1, \"x\", [true], { c = 1 },]",
                "{a=[] b=[1 \"x\" [true] {c=1}]}",
            ),
            // Comments of three kinds stand anywhere.
            (
                "# x\na = 1 // y\n/* z\n*/ b /* = */ = [ # q\n1, // r\n]",
                "{a=1 b=[1]}",
            ),
            ("a = 1 /**/b = 2#", "{a=1 b=2}"),
            // Numbers are kept as they are written.
            (
                "a = [-1, 0x1F, 0600, 1.50, .5, 1e-3, -0X0, 0]",
                "{a=[-1 0x1F 0600 1.50 .5 1e-3 -0X0 0]}",
            ),
            ("a = 1\r\nb = 2\r\n", "{a=1 b=2}"),
        ] {
            let root = read("f", text).map_err(|issues| issues.to_string());
            assert_eq!(root.as_ref().map(told), Ok(tree.to_owned()), "{text}");
        }
    }

    #[test]
    fn strings_are_read_with_their_escapes() {
        for (text, value) in [
            (r#""""#, ""),
            (r#""a\"b\\""#, "a\"b\\"),
            (r#""\n\t\r\a\b\f\v""#, "\n\t\r\u{7}\u{8}\u{c}\u{b}"),
            (r#""\x41\101\u00e9\U0001f600""#, "AA\u{e9}\u{1f600}"),
            (r#""\xc3\xa9""#, "\u{e9}"),
            (r#""100% %{x} $x $$""#, "100% %{x} $x $$"),
            (r#""${a("b")}c""#, "${a(\"b\")}c"),
            ("\"${a\n{\\n}}\"", "${a\n{\\n}}"),
            ("<<EOF\na\n b\nEOF\n", "a\n b\n"),
            ("<<EOF\nEOFX\nEOF", "EOFX\n"),
            ("<<EOF\na\n  EOF\n", "a\n  "),
            ("<<-EOF\n    a\n      b\n    EOF\n", "a\n  b\n"),
            ("<<-EOF\n    a\n  b\n    EOF\n", "    a\n  b\n"),
            ("<<EOF\r\na\r\nEOF\r\n", "a\n"),
        ] {
            let root = read("f", &format!("a = {text}")).map_err(|issues| issues.to_string());
            assert_eq!(
                root.as_ref().map(told),
                Ok(format!("{{a={value:?}}}")),
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place_and_what_would_be_right() {
        for (text, why) in [
            (
                "a",
                "1:2: found the end of the file after `a`, expected `=` or `{`",
            ),
            ("a = ", "1:5: found the end of the file, expected a value"),
            ("a =\n}", "2:1: found `}`, expected a value"),
            (
                "a = x",
                "1:5: found `x`, expected a value; text stands in quotes",
            ),
            (
                "ttl = 1h",
                "1:7: `1h` is not a number; other values stand in quotes",
            ),
            (
                "a = 08",
                "1:5: `08` is not a number; other values stand in quotes",
            ),
            (
                "a = 0x",
                "1:5: `0x` is not a number; other values stand in quotes",
            ),
            (
                "a = -",
                "1:5: `-` is not a number; other values stand in quotes",
            ),
            (
                "a = inf",
                "1:5: found `inf`, expected a value; text stands in quotes",
            ),
            ("a b = 1", "1:3: found `b` after `a`, expected `=` or `{`"),
            ("= 1", "1:1: found `=`, expected a key"),
            ("{ a = 1 }", "1:1: found `{`, expected a key"),
            ("a: 1", "1:2: found `:` after `a`, expected `=` or `{`"),
            ("a {\n b = 1", "1:3: the block is not closed with `}`"),
            ("a {}\n}", "2:1: `}` closes nothing"),
            ("a = [1 2]", "1:8: found `2` in a list, expected `,` or `]`"),
            ("a = [1", "1:5: the list is not closed with `]`"),
            ("a = [,]", "1:6: found `,`, expected a value"),
            ("a = 'x'", "1:5: found '\\'', which means nothing here"),
            (
                "a = \"x\nb = 1",
                "1:5: the string is not closed in its line",
            ),
            (
                "a = \"${x\"",
                "1:5: the string has a `${` that is not closed",
            ),
            (
                r#"a = "\q""#,
                "1:6: the escape is unknown; a backslash is written `\\\\`",
            ),
            (r#"a = "\x4""#, "1:6: the escape needs 2 more digits"),
            (r#"a = "\400""#, "1:6: the escape is above \\377"),
            (r#"a = "\ud800""#, "1:6: the escape is no character"),
            (r#"a = "\xff""#, "1:5: the string's escapes are not UTF-8"),
            ("/* a", "1:1: the comment is not closed with `*/`"),
            ("a = <EOF", "1:5: found '<'; a heredoc begins with `<<EOF`"),
            (
                "a = <<\nEOF",
                "1:5: a heredoc begins with `<<EOF` and the end of the line",
            ),
            (
                "a = <<EOF x\nEOF",
                "1:5: a heredoc begins with `<<EOF` and the end of the line",
            ),
            (
                "a = <<EOF\nx",
                "1:5: the heredoc is not closed with a line `EOF`",
            ),
            (
                "\u{e9} = \"\u{e9}\" b",
                "1:10: found the end of the file after `b`, expected `=` or `{`",
            ),
            ("a = \u{0}", "1:5: found '\\0', which means nothing here"),
        ] {
            let told = read("f", text).map_err(|issues| issues.to_string());
            assert_eq!(told, Err(format!("f:{why}")), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded_in_every_shape() {
        for (begin, open, close, end) in [
            ("", "a {", "}", ""),
            ("", "a = {", "}", ""),
            ("", "a \"b\" {", "}", ""),
            ("a = ", "[", "]", ""),
            ("a = [", "{ a = [", "]}", "]"),
            ("a", " b", "", "{}"),
        ] {
            let nested = |depth| {
                let (open, close) = (open.repeat(depth), close.repeat(depth));
                read("f", &format!("{begin}{open}{close}{end}"))
            };
            assert!(nested(20).is_ok(), "{open}");
            let told = nested(100_000).unwrap_err().to_string();
            assert!(
                told.ends_with("this is nested too deeply"),
                "{open}: {told}"
            );
        }
    }
}

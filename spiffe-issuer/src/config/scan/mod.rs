//! From text to the tokens of HCL version 1 and JSON, each with its position.

mod strings;

use super::{Issues, Place};

/// The smallest thing that means something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// `true` or `false`.
    Bool(bool),
    /// The end of the text.
    End,
    /// A bare name; in JSON also `null`.
    Name(String),
    /// A number as it is written.
    Number(String),
    /// One of `{}[],=:`.
    Sign(char),
    /// A string or heredoc, its escapes resolved.
    Text(String),
}

/// Where a token begins: line and column, both from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: u32,
    pub(super) column: u32,
}

/// Why a text cannot be read, and from where on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) at: Position,
    pub(super) what: String,
}

/// The two languages, as far as their tokens differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    /// With comments, heredocs, hexadecimal and octal numbers and C's escapes.
    Hcl,
    /// As the standard has it.
    Json,
}

/// Cuts a text into tokens.
#[derive(Debug)]
pub(super) struct Scanner<'t> {
    rest: &'t str,
    at: Position,
    language: Language,
}

impl<'t> Scanner<'t> {
    pub(super) fn new(text: &'t str, language: Language) -> Self {
        Self {
            rest: text,
            at: Position { line: 1, column: 1 },
            language,
        }
    }

    /// The next token; [`Token::End`] again and again at the end.
    pub(super) fn next(&mut self) -> Result<(Token, Position), SyntaxError> {
        self.skip_blanks()?;
        let at = self.at;
        let token = match self.peek() {
            None => Token::End,
            Some('"') => Token::Text(self.quoted(at)?),
            Some('<') if self.language == Language::Hcl => Token::Text(self.heredoc(at)?),
            Some(sign @ ('{' | '}' | '[' | ']' | ',' | '=' | ':')) => {
                self.bump();
                Token::Sign(sign)
            }
            Some('0'..='9' | '-' | '.') => Token::Number(self.number(at)?),
            Some(c) if is_letter(c) => match self.take_while(is_name) {
                "true" => Token::Bool(true),
                "false" => Token::Bool(false),
                name => Token::Name(name.to_owned()),
            },
            Some(c) => return Err(at.error(format!("found {c:?}, which means nothing here"))),
        };
        Ok((token, at))
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        if c == '\n' {
            self.at.line = self.at.line.saturating_add(1);
            self.at.column = 1;
        } else {
            self.at.column = self.at.column.saturating_add(1);
        }
        Some(c)
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.bump();
        }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let all = self.rest;
        while self.peek().is_some_and(&wanted) {
            self.bump();
        }
        &all[..all.len() - self.rest.len()]
    }

    /// Passes over white space and, in HCL, comments.
    fn skip_blanks(&mut self) -> Result<(), SyntaxError> {
        loop {
            self.take_while(|c| matches!(c, ' ' | '\t' | '\r' | '\n'));
            let at = self.at;
            if self.language == Language::Json {
                return Ok(());
            } else if self.rest.starts_with('#') || self.rest.starts_with("//") {
                self.take_while(|c| c != '\n');
            } else if self.rest.starts_with("/*") {
                let Some(length) = self.rest[2..].find("*/") else {
                    return Err(at.error("the comment is not closed with `*/`"));
                };
                let comment = self.rest[..length + 4].chars().count();
                self.skip(comment);
            } else {
                return Ok(());
            }
        }
    }

    /// A number in the shape of the language. What it means is up to who reads it.
    fn number(&mut self, at: Position) -> Result<String, SyntaxError> {
        let all = self.rest;
        self.take_while(|c| matches!(c, '0'..='9' | 'a'..='z' | 'A'..='Z' | '_' | '.' | '-' | '+'));
        let text = &all[..all.len() - self.rest.len()];
        let good = match self.language {
            Language::Hcl => is_hcl_number(text),
            Language::Json => is_json_number(text),
        };
        if good {
            Ok(text.to_owned())
        } else {
            Err(at.error(format!(
                "`{text}` is not a number; other values stand in quotes"
            )))
        }
    }
}

impl Position {
    pub(super) fn error(self, what: impl Into<String>) -> SyntaxError {
        SyntaxError {
            at: self,
            what: what.into(),
        }
    }

    pub(super) fn place(self) -> Place {
        Place::at(self.line, self.column)
    }
}

impl SyntaxError {
    pub(super) fn within(self, source: &str) -> Issues {
        Issues::one(
            &Place::within(source, self.at.line, self.at.column),
            self.what,
        )
    }
}

impl std::fmt::Display for Token {
    /// As an error names it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "`{value}`"),
            Self::End => f.write_str("the end of the file"),
            Self::Name(text) | Self::Number(text) => write!(f, "`{text}`"),
            Self::Sign(sign) => write!(f, "`{sign}`"),
            Self::Text(_) => f.write_str("a string"),
        }
    }
}

fn is_letter(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn is_digit(c: char) -> bool {
    c.is_numeric()
}

fn is_name(c: char) -> bool {
    is_letter(c) || is_digit(c) || matches!(c, '-' | '.')
}

/// `12`, `-12`, `0x1f`, `0600`, `1.5`, `.5`, `1e-3`.
fn is_hcl_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let whole =
        |digits: &str, of: fn(&u8) -> bool| !digits.is_empty() && digits.bytes().all(|b| of(&b));
    if let Some(digits) = text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        return whole(digits, u8::is_ascii_hexdigit);
    }
    if whole(text, u8::is_ascii_digit) {
        return !text.starts_with('0') || whole(text, |b| matches!(b, b'0'..=b'7'));
    }
    // Rust reads more than digits here, so letters other than the exponent's are excluded.
    text.bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'-' | b'+'))
        && text.parse::<f64>().is_ok()
}

/// A number as JSON has it: decimal, without a zero in front.
fn is_json_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let whole = digits.split(['.', 'e', 'E']).next().unwrap_or_default();
    !whole.is_empty()
        && (whole == "0" || !whole.starts_with('0'))
        && !digits.starts_with("0x")
        && !digits.contains(".e")
        && !digits.contains(".E")
        && !digits.ends_with('.')
        && is_hcl_number(text)
}

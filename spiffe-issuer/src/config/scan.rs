//! From text to the tokens of HCL version 1 and JSON, each with its position.

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

    /// A string in quotes.
    fn quoted(&mut self, at: Position) -> Result<String, SyntaxError> {
        self.bump();
        // Bytes, because `\x` can write a character in pieces.
        let mut text = Vec::new();
        loop {
            let here = self.at;
            if self.language == Language::Hcl && self.rest.starts_with("${") {
                text.extend_from_slice(self.interpolation(at)?.as_bytes());
                continue;
            }
            match self.bump() {
                Some('"') => break,
                Some('\\') => self.escape(here, &mut text)?,
                None | Some('\n') => return Err(at.error("the string is not closed in its line")),
                Some(c) => push(&mut text, c),
            }
        }
        String::from_utf8(text).map_err(|_| at.error("the string's escapes are not UTF-8"))
    }

    /// `${…}`, which HCL leaves as it is, quotes and line ends included.
    fn interpolation(&mut self, string: Position) -> Result<&'t str, SyntaxError> {
        let all = self.rest;
        let mut open = 0;
        loop {
            match self.bump() {
                Some('{') => open += 1,
                Some('}') => open -= 1,
                None => return Err(string.error("the string has a `${` that is not closed")),
                // The dollar sign, before anything is open.
                Some(_) => continue,
            }
            if open == 0 {
                return Ok(&all[..all.len() - self.rest.len()]);
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self, at: Position, text: &mut Vec<u8>) -> Result<(), SyntaxError> {
        let json = self.language == Language::Json;
        let simple = match self.bump() {
            Some(c @ ('"' | '\\')) => c,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('/') if json => '/',
            Some('u') if json => self.utf16(at)?,
            Some('u') => self.unicode(at, 4)?,
            Some('U') if !json => self.unicode(at, 8)?,
            Some('a') if !json => '\u{7}',
            Some('v') if !json => '\u{b}',
            Some('x') if !json => {
                let byte = self.digits(at, 2, 16)?;
                text.extend(u8::try_from(byte));
                return Ok(());
            }
            Some(first @ '0'..='7') if !json => {
                let rest = self.digits(at, 2, 8)?;
                let byte = first.to_digit(8).unwrap_or_default() * 64 + rest;
                text.push(u8::try_from(byte).map_err(|_| at.error("the escape is above \\377"))?);
                return Ok(());
            }
            _ => return Err(at.error("the escape is unknown; a backslash is written `\\\\`")),
        };
        push(text, simple);
        Ok(())
    }

    fn unicode(&mut self, at: Position, count: usize) -> Result<char, SyntaxError> {
        let number = self.digits(at, count, 16)?;
        char::from_u32(number).ok_or_else(|| at.error("the escape is no character"))
    }

    /// JSON writes characters above U+FFFF as two escapes.
    fn utf16(&mut self, at: Position) -> Result<char, SyntaxError> {
        let first = self.digits(at, 4, 16)?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first).ok_or_else(|| at.error("the escape is no character"));
        }
        let second = if self.rest.starts_with("\\u") {
            self.skip(2);
            self.digits(at, 4, 16)?
        } else {
            0
        };
        match second {
            0xdc00..0xe000 => {
                char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))
            }
            _ => None,
        }
        .ok_or_else(|| at.error("the escape is half a character"))
    }

    fn digits(&mut self, at: Position, count: usize, radix: u32) -> Result<u32, SyntaxError> {
        let mut number = 0_u32;
        for _ in 0..count {
            let digit = self.peek().and_then(|c| c.to_digit(radix));
            let digit =
                digit.ok_or_else(|| at.error(format!("the escape needs {count} more digits")))?;
            self.bump();
            number = number.wrapping_mul(radix).wrapping_add(digit);
        }
        Ok(number)
    }

    /// `<<EOF` up to a line that has only `EOF`; `<<-EOF` takes the indentation of that line off
    /// every line, if every line has it.
    fn heredoc(&mut self, at: Position) -> Result<String, SyntaxError> {
        if !self.rest.starts_with("<<") {
            return Err(at.error("found '<'; a heredoc begins with `<<EOF`"));
        }
        self.skip(2);
        let indented = self.rest.starts_with('-');
        if indented {
            self.skip(1);
        }
        let anchor = self.take_while(|c| is_letter(c) || is_digit(c));
        if anchor.is_empty() || self.bump() != Some('\n') {
            return Err(at.error("a heredoc begins with `<<EOF` and the end of the line"));
        }
        let body = self.rest;
        loop {
            let begins = body.len() - self.rest.len();
            let line = self.take_while(|c| c != '\n');
            let ended = self.bump().is_none();
            if line.trim_start() == anchor {
                let margin = &line[..line.len() - line.trim_start().len()];
                return Ok(unindented(&body[..begins], margin, indented));
            }
            if ended {
                return Err(at.error(format!("the heredoc is not closed with a line `{anchor}`")));
            }
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

/// The lines of a heredoc. One that is not meant to be indented keeps even the white space before
/// its end mark.
fn unindented(body: &str, margin: &str, indented: bool) -> String {
    if !indented {
        return format!("{body}{margin}");
    }
    let lines = body.split_inclusive('\n');
    let stripped: Option<String> = lines.map(|line| line.strip_prefix(margin)).collect();
    stripped.unwrap_or_else(|| body.to_owned())
}

fn push(text: &mut Vec<u8>, c: char) {
    text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
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

//! Strings: in quotes with their escapes, and heredocs.

use super::{Language, Position, Scanner, SyntaxError, is_digit, is_letter};

impl<'t> Scanner<'t> {
    /// A string in quotes.
    pub(super) fn quoted(&mut self, at: Position) -> Result<String, SyntaxError> {
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
    pub(super) fn heredoc(&mut self, at: Position) -> Result<String, SyntaxError> {
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

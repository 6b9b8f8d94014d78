//! A line of the log as logrus writes it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::SystemTime;

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Level;

/// What a line says.
#[derive(Debug)]
pub(super) struct Line<'l> {
    pub(super) time: SystemTime,
    pub(super) level: Level,
    pub(super) message: &'l str,
    pub(super) fields: &'l BTreeMap<&'static str, Value>,
}

impl Line<'_> {
    /// `time="…" level=info msg="Agent attested" agent_id="spiffe://…"`: the three that every line
    /// has, then the others in the order of their names.
    pub(super) fn text(&self) -> String {
        let mut line = String::new();
        append(&mut line, "time", &self.time());
        append(&mut line, "level", &self.level.to_string());
        append(&mut line, "msg", self.message);
        for (key, value) in self.fields {
            let key = renamed(key);
            match value {
                Value::String(text) => append(&mut line, &key, text),
                other => append(&mut line, &key, &other.to_string()),
            }
        }
        line.push('\n');
        line
    }

    /// One object, its keys in order.
    pub(super) fn json(&self) -> String {
        let own = [
            ("level", self.level.to_string()),
            ("msg", self.message.to_owned()),
            ("time", self.time()),
        ];
        let fields = self.fields.iter();
        let fields = fields.map(|(key, value)| (renamed(key), value.clone()));
        let own = own.map(|(key, text)| (key.to_owned(), Value::String(text)));
        let sorted: BTreeMap<_, _> = fields.chain(own).collect();
        let object: Map<_, _> = sorted.into_iter().collect();
        format!("{}\n", Value::Object(object))
    }

    fn time(&self) -> String {
        let time = OffsetDateTime::from(self.time).format(&Rfc3339);
        // Only the years before 0 and after 9999 have no such name.
        time.unwrap_or_default()
    }
}

/// A field that has the name of one of logrus' own is told apart from it.
fn renamed(key: &str) -> String {
    match key {
        "time" | "msg" | "level" => format!("fields.{key}"),
        _ => key.to_owned(),
    }
}

fn append(line: &mut String, key: &str, value: &str) {
    if !line.is_empty() {
        line.push(' ');
    }
    line.push_str(key);
    line.push('=');
    if value.bytes().all(is_plain) {
        line.push_str(value);
    } else {
        line.push_str(&quoted(value));
    }
}

/// What logrus writes without quotes.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._/@^+".contains(&byte)
}

/// A string as Go quotes it, so that it cannot end a line or reach the terminal.
pub fn quoted(value: &str) -> String {
    let mut line = String::from("\"");
    for c in value.chars() {
        match c {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            '\u{7}' => line.push_str("\\a"),
            '\u{8}' => line.push_str("\\b"),
            '\u{b}' => line.push_str("\\v"),
            '\u{c}' => line.push_str("\\f"),
            c if is_printable(c) => line.push(c),
            c => escape(&mut line, c),
        }
    }
    line.push('"');
    line
}

/// What can be seen. Rust escapes the same characters, and the quote that stands alone.
fn is_printable(c: char) -> bool {
    c == '\'' || c.escape_debug().len() == 1
}

fn escape(line: &mut String, c: char) {
    let code = u32::from(c);
    // Writing to a string does not fail.
    let _ = match code {
        0..=0x7f => write!(line, "\\x{code:02x}"),
        0x80..=0xffff => write!(line, "\\u{code:04x}"),
        _ => write!(line, "\\U{code:08x}"),
    };
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn line<'l>(message: &'l str, fields: &'l BTreeMap<&'static str, Value>) -> Line<'l> {
        Line {
            time: SystemTime::UNIX_EPOCH + Duration::new(1_795_361_761, 123_456_789),
            level: Level::Info,
            message,
            fields,
        }
    }

    #[test]
    fn a_line_has_time_level_message_and_then_its_fields_in_order() {
        let fields = BTreeMap::from([
            ("spiffe_id", "spiffe://example.org/a".into()),
            ("attempt", 3.into()),
            ("time", "late".into()),
            ("banned", true.into()),
        ]);
        let line = line("Agent attested", &fields);
        assert_eq!(
            line.text(),
            "time=\"2026-11-22T15:36:01.123456789Z\" level=info msg=\"Agent attested\" attempt=3 \
             banned=true spiffe_id=\"spiffe://example.org/a\" fields.time=late\n"
        );
        assert_eq!(
            line.json(),
            "{\"attempt\":3,\"banned\":true,\"fields.time\":\"late\",\"level\":\"info\",\
             \"msg\":\"Agent attested\",\"spiffe_id\":\"spiffe://example.org/a\",\
             \"time\":\"2026-11-22T15:36:01.123456789Z\"}\n"
        );
    }

    #[test]
    fn values_are_quoted_when_logrus_quotes_them() {
        for (value, written) in [
            ("", ""),
            ("plain", "plain"),
            ("a/b.c-d_e@f^g+h", "a/b.c-d_e@f^g+h"),
            ("two words", "\"two words\""),
            ("k=v", "\"k=v\""),
            ("a:b", "\"a:b\""),
            ("it's", "\"it's\""),
            ("say \"x\" \\", "\"say \\\"x\\\" \\\\\""),
            ("\n\r\t\u{7}\u{8}\u{b}\u{c}", "\"\\n\\r\\t\\a\\b\\v\\f\""),
            ("\u{1b}[31m\u{7f}", "\"\\x1b[31m\\x7f\""),
            ("gr\u{fc}n \u{1f600}", "\"gr\u{fc}n \u{1f600}\""),
            ("\u{200b}\u{e0001}", "\"\\u200b\\U000e0001\""),
        ] {
            let mut line = String::new();
            append(&mut line, "k", value);
            assert_eq!(line, format!("k={written}"));
        }
    }

    #[test]
    fn nothing_can_forge_a_second_line() {
        let fields = BTreeMap::from([("path", "/a\ntime=x level=error msg=forged".into())]);
        let line = line("a\nb", &fields);
        assert_eq!(line.text().matches('\n').count(), 1);
        assert_eq!(line.json().matches('\n').count(), 1);
    }
}

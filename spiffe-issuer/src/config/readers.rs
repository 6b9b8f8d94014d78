//! How a value is read as a type: each a function that [`Fields`](super::Fields) takes.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::{DurationError, GoDuration, GoInteger, Issues, Node, Place, Value};

/// Text; a number counts as the text it is written with.
pub fn text(node: &Node, issues: &mut Issues) -> Option<String> {
    text_of(node, issues).map(str::to_owned)
}

/// A path, as it stands.
pub fn path(node: &Node, issues: &mut Issues) -> Option<PathBuf> {
    text_of(node, issues).map(PathBuf::from)
}

/// A path that the address of a Unix socket has room for.
pub fn socket_path(node: &Node, issues: &mut Issues) -> Option<PathBuf> {
    let path = path(node, issues)?;
    let len = path.as_os_str().len();
    if len > SOCKET_PATH_LEN {
        let what = format!("is {len} bytes long; a socket's path has at most {SOCKET_PATH_LEN}");
        issues.fault(&node.place, what);
        return None;
    }
    Some(path)
}

/// `true` or `false`, without quotes.
pub fn boolean(node: &Node, issues: &mut Issues) -> Option<bool> {
    match &node.value {
        Value::Bool(value) => Some(*value),
        _ => node.unfit(issues, "true or false (without quotes)"),
    }
}

/// A whole number that fits the type asked for, also in quotes, also written in hexadecimal
/// (`0x1f`) or octal (`0600`).
pub fn whole<T: TryFrom<i64>>(node: &Node, issues: &mut Issues) -> Option<T> {
    match integer(node) {
        None => node.unfit(issues, "a whole number"),
        Some(number) => match T::try_from(number) {
            Ok(number) => Some(number),
            Err(_) => {
                issues.fault(&node.place, format_args!("{node} is out of range"));
                None
            }
        },
    }
}

/// A TCP port as a number or a string; 0 lets the system choose.
pub fn port(node: &Node, issues: &mut Issues) -> Option<u16> {
    match integer(node).map(u16::try_from) {
        Some(Ok(port)) => Some(port),
        _ => node.unfit(issues, "a port from 0 to 65535"),
    }
}

/// A duration as Go writes it.
pub fn duration(node: &Node, issues: &mut Issues) -> Option<Duration> {
    let read = match &node.value {
        Value::Text(text) => text.parse::<GoDuration>(),
        Value::Number(text) if text == "0" => Ok(GoDuration::default()),
        _ => Err(DurationError::Syntax),
    };
    match read {
        Ok(GoDuration(duration)) => Some(duration),
        Err(DurationError::Syntax) => node.unfit(issues, "a duration such as 30s, 10m or 1h30m"),
        Err(why) => {
            issues.fault(&node.place, format_args!("{node}: {why}"));
            None
        }
    }
}

/// Text that reads itself, as `TrustDomain` does.
pub fn parsed<T: FromStr<Err: Display>>(node: &Node, issues: &mut Issues) -> Option<T> {
    match text_of(node, issues)?.parse() {
        Ok(value) => Some(value),
        Err(why) => {
            issues.fault(&node.place, format_args!("{node}: {why}"));
            None
        }
    }
}

/// The same for what may hold a password: no fault shows it.
pub fn secret<T: FromStr<Err: Display>>(node: &Node, issues: &mut Issues) -> Option<T> {
    match text_of(node, issues)?.parse() {
        Ok(value) => Some(value),
        Err(why) => {
            issues.fault(&node.place, why);
            None
        }
    }
}

/// A list whose items are read by `how`. Every item is looked at; one fault spoils the list.
pub fn list<T>(
    mut how: impl FnMut(&Node, &mut Issues) -> Option<T>,
) -> impl FnMut(&Node, &mut Issues) -> Option<Vec<T>> {
    move |node, issues| {
        let Value::List(items) = &node.value else {
            return node.unfit(issues, "a list");
        };
        let read: Vec<_> = items.iter().map(|item| how(item, issues)).collect();
        read.into_iter().collect()
    }
}

/// What `how` reads, with its place, for what can only be judged later.
pub fn placed<T>(
    mut how: impl FnMut(&Node, &mut Issues) -> Option<T>,
) -> impl FnMut(&Node, &mut Issues) -> Option<(T, Place)> {
    move |node, issues| Some((how(node, issues)?, node.place.clone()))
}

/// The node itself, for whoever reads it later.
// The signature is that of every reader.
pub fn any(node: &Node, _: &mut Issues) -> Option<Node> {
    Some(node.clone())
}

fn text_of<'n>(node: &'n Node, issues: &mut Issues) -> Option<&'n str> {
    match &node.value {
        Value::Text(text) | Value::Number(text) => Some(text),
        Value::Bool(_) | Value::List(_) | Value::Table(_) => node.unfit(issues, "a string"),
    }
}

fn integer(node: &Node) -> Option<i64> {
    match &node.value {
        Value::Number(text) | Value::Text(text) => Some(text.parse::<GoInteger>().ok()?.0),
        Value::Bool(_) | Value::List(_) | Value::Table(_) => None,
    }
}

/// `sun_path` of `unix(7)`, without the zero at its end.
const SOCKET_PATH_LEN: usize = 107;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::parse;
    use super::*;

    /// What `how` makes of the value written `text` in HCL.
    fn read<T>(how: impl FnOnce(&Node, &mut Issues) -> Option<T>, text: &str) -> Result<T, String> {
        let root = parse("", &format!("k = {text}")).unwrap();
        let mut issues = Issues::default();
        let value = root.fields(&mut issues, |fields| fields.required("k", how));
        match value {
            Some(value) if issues.is_faultless() => Ok(value),
            _ => Err(issues.faults()[0].what.clone()),
        }
    }

    #[test]
    fn a_path_that_is_too_long_for_a_socket_is_told_with_both_lengths() {
        let long = |len: usize| format!("\"/{}\"", "s".repeat(len - 1));
        assert!(read(socket_path, &long(107)).is_ok());
        let told = "is 108 bytes long; a socket's path has at most 107".to_owned();
        assert_eq!(read(socket_path, &long(108)), Err(told));
    }

    #[test]
    fn numbers_are_read_as_hcl_writes_them() {
        for (text, number) in [
            ("0", 0),
            ("12", 12),
            ("-12", -12),
            ("\"12\"", 12),
            ("0x1F", 31),
            ("-0X1f", -31),
            ("0600", 0o600),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(read(whole::<i64>, text), Ok(number), "{text}");
        }
        for text in [
            "1.5",
            "true",
            "\"1e3\"",
            "\"--1\"",
            "\"0x-1\"",
            "9223372036854775808",
            "[1]",
            "{}",
        ] {
            let told = read(whole::<i64>, text).unwrap_err();
            assert!(told.ends_with("is not a whole number"), "{told}");
        }
        assert_eq!(
            read(whole::<u8>, "256"),
            Err("`256` is out of range".to_owned())
        );
        assert_eq!(
            read(whole::<u8>, "-1"),
            Err("`-1` is out of range".to_owned())
        );
    }

    #[test]
    fn a_port_is_a_number_or_a_string() {
        for (text, number) in [
            ("8081", 8081),
            ("\"8081\"", 8081),
            ("0", 0),
            ("65535", 65535),
        ] {
            assert_eq!(read(port, text), Ok(number), "{text}");
        }
        for text in ["65536", "-1", "\"http\"", "true", "\" 1\""] {
            let told = read(port, text).unwrap_err();
            assert!(told.ends_with("is not a port from 0 to 65535"), "{told}");
        }
    }

    #[test]
    fn durations_say_what_is_wrong_with_them() {
        assert_eq!(read(duration, "\"1h30m\""), Ok(Duration::from_secs(5400)));
        assert_eq!(read(duration, "0"), Ok(Duration::ZERO));
        for (text, told) in [
            ("\"-1h\"", "`-1h`: a duration cannot be negative"),
            ("\"9999999h\"", "`9999999h`: the duration is too long"),
            ("30", "`30` is not a duration such as 30s, 10m or 1h30m"),
            ("[]", "a list is not a duration such as 30s, 10m or 1h30m"),
        ] {
            assert_eq!(read(duration, text), Err(told.to_owned()), "{text}");
        }
    }

    #[test]
    fn types_read_themselves_and_keep_their_complaint() {
        assert_eq!(
            read(parsed::<IpAddr>, "\"::1\""),
            Ok("::1".parse().unwrap())
        );
        assert_eq!(
            read(parsed::<IpAddr>, "\"here\""),
            Err("`here`: invalid IP address syntax".to_owned())
        );
        assert_eq!(read(text, "0600"), Ok("0600".to_owned()));
        assert_eq!(read(path, "\"/run\""), Ok(PathBuf::from("/run")));
        assert_eq!(read(text, "true"), Err("`true` is not a string".to_owned()));
    }

    #[test]
    fn one_bad_item_spoils_the_list_and_every_bad_item_is_named() {
        assert_eq!(read(list(whole::<u8>), "[1, 2,]"), Ok(vec![1, 2]));
        let root = parse("", "k = [1, 256, 3, true]").unwrap();
        let mut issues = Issues::default();
        let value = root.fields(&mut issues, |fields| {
            fields.required("k", list(whole::<u8>))
        });
        assert_eq!(value, None);
        assert_eq!(
            issues.to_string(),
            "1:9: k[1]: `256` is out of range\n1:17: k[3]: `true` is not a whole number"
        );
    }

    #[test]
    fn a_place_can_be_kept_for_later() {
        let (value, place) = read(placed(text), "\"x\"").unwrap();
        assert_eq!(
            (value.as_str(), place.key(), place.line(), place.column()),
            ("x", "k", 1, 5)
        );
    }
}

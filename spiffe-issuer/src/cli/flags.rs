//! The flags of a command, in the grammar and the words of Go's `flag` package.
//!
//! A command gives its flags the fields they set; what a field holds before is the default:
//!
//! ```
//! use spiffe_issuer::cli::flags::Flags;
//!
//! let (mut id, mut admin, mut selectors) = (String::new(), false, Vec::new());
//! Flags::of("entry create")
//!     .flag("spiffeID", "The SPIFFE ID that this record represents", &mut id)
//!     .flag("selector", "A type:value selector. Can be used more than once", &mut selectors)
//!     .flag("admin", "If set, the SPIFFE ID may call the server's APIs", &mut admin)
//!     .parse(["-spiffeID", "spiffe://td/a", "--admin", "-selector=unix:uid:0"])?;
//! assert_eq!(id, "spiffe://td/a");
//! assert!(admin);
//! assert_eq!(selectors, ["unix:uid:0"]);
//! # Ok::<(), spiffe_issuer::cli::flags::Refused>(())
//! ```

use std::collections::BTreeMap;
use std::fmt;

use super::values::{FlagValue, Unfit};
use crate::runtime::telemetry::quoted;

/// The flags of a command.
pub struct Flags<'f> {
    command: &'f str,
    flags: BTreeMap<&'static str, Flag<'f>>,
}

struct Flag<'f> {
    usage: &'static str,
    value: &'f mut dyn FlagValue,
    default: Option<String>,
}

impl<'f> Flags<'f> {
    /// A command without flags yet. Its name is for the usage.
    pub fn of(command: &'f str) -> Self {
        Self {
            command,
            flags: BTreeMap::new(),
        }
    }

    /// Adds a flag that sets `value`. A word in backquotes in `usage` names what it takes.
    #[must_use]
    pub fn flag(
        mut self,
        name: &'static str,
        usage: &'static str,
        value: &'f mut dyn FlagValue,
    ) -> Self {
        let default = value.shown();
        let flag = Flag {
            usage,
            value,
            default,
        };
        self.flags.insert(name, flag);
        self
    }

    /// Reads the arguments of a command that takes nothing but flags.
    ///
    /// The word `true` is passed over when it comes last and after a switch: scripts write
    /// `-storeSVID true`.
    ///
    /// # Errors
    ///
    /// What is wrong, or that help was asked for, with the usage of the command.
    pub fn parse<A: Into<String>>(
        mut self,
        args: impl IntoIterator<Item = A>,
    ) -> Result<(), Refused> {
        let read = self.read(args);
        let judged = read.and_then(|(last, rest)| {
            let switch = last.filter(|name| self.is_switch(name));
            match (&rest[..], &switch) {
                ([], _) => Ok(()),
                ([word], Some(_)) if word == "true" => Ok(()),
                ([word, ..], _) => Err(FlagError::Unexpected {
                    word: word.clone(),
                    switch,
                }),
            }
        });
        judged.map_err(|why| self.refused(why))
    }

    /// Reads the flags of a command that takes something after them, and returns that. The first
    /// argument that is no flag, or `--`, ends the flags.
    ///
    /// # Errors
    ///
    /// What is wrong, or that help was asked for, with the usage of the command.
    pub fn parse_some<A: Into<String>>(
        mut self,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Vec<String>, Refused> {
        match self.read(args) {
            Ok((_, rest)) => Ok(rest),
            Err(why) => Err(self.refused(why)),
        }
    }

    /// Sets what the flags say. Returns the last flag's name, and the arguments after the flags.
    fn read<A: Into<String>>(
        &mut self,
        args: impl IntoIterator<Item = A>,
    ) -> Result<(Option<String>, Vec<String>), FlagError> {
        let mut args = args.into_iter().map(Into::into).peekable();
        let mut last = None;
        while let Some(arg) = args.next_if(|arg: &String| arg.len() > 1 && arg.starts_with('-')) {
            if arg == "--" {
                break;
            }
            last = Some(self.set(&arg, || args.next())?);
        }
        Ok((last, args.collect()))
    }

    /// Sets one flag; `next` is the argument after it. Returns its name.
    fn set(
        &mut self,
        arg: &str,
        next: impl FnOnce() -> Option<String>,
    ) -> Result<String, FlagError> {
        let (name, value) = parted(arg)?;
        let Some(flag) = self.flags.get_mut(name.as_str()) else {
            return Err(match name.as_str() {
                "h" | "help" => FlagError::Help,
                _ => FlagError::NotDefined(name),
            });
        };
        let switch = flag.value.is_switch();
        let value = match value {
            None if switch => Some("true".to_owned()),
            None => next(),
            given => given,
        };
        let Some(value) = value else {
            return Err(FlagError::NeedsArgument(name));
        };
        match flag.value.set(&value) {
            Ok(()) => Ok(name),
            Err(why) if switch => Err(FlagError::InvalidBoolean { name, value, why }),
            Err(why) => Err(FlagError::Invalid { name, value, why }),
        }
    }

    fn is_switch(&self, name: &str) -> bool {
        let flag = self.flags.get(name);
        flag.is_some_and(|flag| flag.value.is_switch())
    }

    fn refused(self, why: FlagError) -> Refused {
        let usage = self.usage();
        Refused { why, usage }
    }

    /// The usage of the command, its flags in order.
    fn usage(&self) -> String {
        let mut text = format!("Usage of {}:\n", self.command);
        for (name, flag) in &self.flags {
            flag.describe(name, &mut text);
        }
        text
    }
}

impl fmt::Debug for Flags<'_> {
    /// Without the values, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flags")
            .field("command", &self.command)
            .field("flags", &self.flags.keys())
            .finish()
    }
}

impl Flag<'_> {
    fn describe(&self, name: &str, text: &mut String) {
        let (kind, usage) = match backquoted(self.usage) {
            Some((before, word, after)) => (word, format!("{before}{word}{after}")),
            None => (self.value.kind(), self.usage.to_owned()),
        };
        text.push_str("  -");
        text.push_str(name);
        if !kind.is_empty() {
            text.push(' ');
            text.push_str(kind);
        }
        // Go puts the usage of a switch with one letter into the same line.
        let short = kind.is_empty() && name.len() == 1;
        text.push_str(if short { "\t" } else { "\n    \t" });
        text.push_str(&usage.replace('\n', "\n    \t"));
        if let Some(default) = &self.default {
            text.push_str(&format!(" (default {default})"));
        }
        text.push('\n');
    }
}

/// The name of a flag, and the value that is written with it.
fn parted(arg: &str) -> Result<(String, Option<String>), FlagError> {
    let dashless = arg.strip_prefix("--").or(arg.strip_prefix('-'));
    let flag = dashless.unwrap_or(arg);
    if flag.is_empty() || flag.starts_with(['-', '=']) {
        return Err(FlagError::BadSyntax(arg.to_owned()));
    }
    Ok(match flag.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (flag.to_owned(), None),
    })
}

/// The word in backquotes, between the text before and after it.
fn backquoted(usage: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = usage.split_once('`')?;
    let (word, after) = rest.split_once('`')?;
    Some((before, word, after))
}

/// Why the arguments were not taken, with the usage of the command. Prints as Go does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong.
    pub why: FlagError,
    /// What would be right.
    pub usage: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.why != FlagError::Help {
            writeln!(f, "{}", self.why)?;
        }
        f.write_str(self.usage.trim_end())
    }
}

impl std::error::Error for Refused {}

/// What is wrong with the arguments, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// It begins like a flag and is none.
    #[error("bad flag syntax: {0}")]
    BadSyntax(String),
    /// Nothing is: help was asked for.
    #[error("flag: help requested")]
    Help,
    /// The flag does not take this value.
    #[error("invalid value {} for flag -{name}: {why}", quoted(value))]
    Invalid {
        /// The flag.
        name: String,
        /// The value.
        value: String,
        /// Why not.
        why: Unfit,
    },
    /// The switch does not take this value.
    #[error("invalid boolean value {} for -{name}: {why}", quoted(value))]
    InvalidBoolean {
        /// The switch.
        name: String,
        /// The value.
        value: String,
        /// Why not.
        why: Unfit,
    },
    /// The flag stands at the end without its value.
    #[error("flag needs an argument: -{0}")]
    NeedsArgument(String),
    /// The command has no such flag.
    #[error("flag provided but not defined: -{0}")]
    NotDefined(String),
    /// The command takes only flags. Go would pass over this word and all flags after it.
    #[error("unexpected argument {}{}", quoted(word), hint(switch.as_deref(), word))]
    Unexpected {
        /// The argument.
        word: String,
        /// The switch before it, whose value it may be meant to be.
        switch: Option<String>,
    },
}

fn hint(switch: Option<&str>, word: &str) -> String {
    match switch {
        Some(name) => format!("; a switch takes its value as -{name}={word}"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Debug, Default, PartialEq)]
    struct Create {
        admin: bool,
        id: String,
        selectors: Vec<String>,
        timeout: Duration,
        ttl: i64,
    }

    impl Create {
        fn flags(&mut self) -> Flags<'_> {
            let selector = "A `type:value` selector.\nRepeatable";
            Flags::of("entry create")
                .flag("spiffeID", "The ID", &mut self.id)
                .flag("admin", "If set, the ID may administrate", &mut self.admin)
                .flag("selector", selector, &mut self.selectors)
                .flag("timeout", "How long to wait", &mut self.timeout)
                .flag("ttl", "The lifetime, in seconds", &mut self.ttl)
        }

        fn read(args: &str) -> Result<Self, String> {
            let mut create = Self::default();
            match create.flags().parse(args.split_whitespace()) {
                Ok(()) => Ok(create),
                Err(refused) => Err(refused.why.to_string()),
            }
        }
    }

    #[test]
    fn flags_are_read_in_every_way_go_reads_them() {
        let wanted = Create {
            admin: true,
            id: "x=y".to_owned(),
            selectors: vec!["a".to_owned(), "-b".to_owned()],
            timeout: Duration::from_secs(90),
            ttl: -5,
        };
        for args in [
            "-admin -spiffeID x=y -selector a -selector -b -timeout 1m30s -ttl -5",
            "--admin=true --spiffeID=x=y --selector a --selector=-b --timeout=90s --ttl=-0x5",
            "-spiffeID=z -spiffeID=x=y -selector=a -selector=-b -timeout=90s -ttl=-5 -admin=T --",
            "-spiffeID=x=y -selector=a -selector=-b -timeout=90s -ttl=-5 -admin true",
        ] {
            assert_eq!(Create::read(args).as_ref(), Ok(&wanted), "{args}");
        }
        for args in ["", "-admin=false -spiffeID="] {
            assert_eq!(Create::read(args), Ok(Create::default()), "{args}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_in_gos_words() {
        for (args, told) in [
            ("-foo", "flag provided but not defined: -foo"),
            ("--foo=1", "flag provided but not defined: -foo"),
            ("-ttl", "flag needs an argument: -ttl"),
            ("-ttl x", "invalid value \"x\" for flag -ttl: parse error"),
            ("-ttl=", "invalid value \"\" for flag -ttl: parse error"),
            (
                "-timeout 5",
                "invalid value \"5\" for flag -timeout: parse error",
            ),
            (
                "-admin=no",
                "invalid boolean value \"no\" for -admin: parse error",
            ),
            ("---ttl", "bad flag syntax: ---ttl"),
            ("-=1", "bad flag syntax: -=1"),
            ("--=1", "bad flag syntax: --=1"),
            ("-help", "flag: help requested"),
            ("-admin -h", "flag: help requested"),
        ] {
            assert_eq!(Create::read(args), Err(told.to_owned()), "{args}");
        }
    }

    #[test]
    fn no_word_that_is_no_flag_hides_the_flags_after_it() {
        let value = "; a switch takes its value as -admin=";
        for (args, word, hint) in [
            ("-admin true -ttl 5", "true", format!("{value}true")),
            ("-admin false", "false", format!("{value}false")),
            ("-spiffeID x true", "true", String::new()),
            ("true", "true", String::new()),
            ("-", "-", String::new()),
            ("-- -admin", "-admin", String::new()),
        ] {
            let told = format!("unexpected argument \"{word}\"{hint}");
            assert_eq!(Create::read(args), Err(told), "{args}");
        }
    }

    #[test]
    fn a_command_can_take_something_after_its_flags() {
        for (args, rest) in [
            (&["-admin", "show", "-ttl"][..], &["show", "-ttl"][..]),
            (&["-admin", "--", "-ttl"], &["-ttl"]),
            (&["-admin"], &[]),
        ] {
            let mut create = Create::default();
            let read = create.flags().parse_some(args.iter().copied());
            assert_eq!(read.unwrap(), rest);
            assert!(create.admin && create.ttl == 0, "{args:?}");
        }
    }

    #[test]
    fn the_usage_looks_as_gos_and_tells_the_defaults_from_before() {
        let usage = "\
Usage of entry create:
  -admin
    \tIf set, the ID may administrate
  -selector type:value
    \tA type:value selector.
    \tRepeatable
  -spiffeID string
    \tThe ID (default \"spiffe://td/a\")
  -timeout duration
    \tHow long to wait (default 5s)
  -ttl int
    \tThe lifetime, in seconds (default 600)";
        for (args, told) in [
            (&["-ttl", "7", "-spiffeID=", "-h"][..], usage.to_owned()),
            (
                &["-x"],
                format!("flag provided but not defined: -x\n{usage}"),
            ),
        ] {
            let mut create = Create {
                id: "spiffe://td/a".to_owned(),
                timeout: Duration::from_secs(5),
                ttl: 600,
                ..Create::default()
            };
            let refused = create.flags().parse(args.iter().copied()).unwrap_err();
            assert_eq!(refused.to_string(), told);
        }
        let mut short = false;
        let refused = Flags::of("x").flag("v", "Speak", &mut short).parse(["-h"]);
        assert_eq!(refused.unwrap_err().usage, "Usage of x:\n  -v\tSpeak\n");
    }
}

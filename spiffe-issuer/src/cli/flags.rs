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

#[cfg(test)]
mod tests;

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

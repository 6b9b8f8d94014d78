//! The commands of a program: which one the words on the command line mean, and the help.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use spiffe_core::with_causes;

use super::flags::{FlagError, Refused};
use crate::config::suggest;

/// What comes of a command. An error is printed once, by the program.
pub type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// What went wrong was told already, and only the status is left.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("failed, for the reason that was told")]
pub struct Told;

/// What a command reads and writes.
#[expect(missing_debug_implementations, reason = "streams have nothing to show")]
pub struct Io<'a> {
    /// Where `-` reads from.
    pub input: &'a mut dyn Read,
    /// Where results go.
    pub out: &'a mut dyn Write,
    /// Where complaints go.
    pub err: &'a mut dyn Write,
}

/// A command.
#[derive(Debug, Clone, Copy)]
pub struct Command {
    /// The words that name it, with one space between them.
    pub words: &'static str,
    /// What it does, in one line of help. A command without one is not listed.
    pub about: &'static str,
    /// Does it, with the arguments after its words.
    pub run: fn(&mut Io<'_>, &[String]) -> Outcome,
}

/// A program: its commands, and how it speaks.
#[derive(Debug)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// What stands before every error.
    pub complaint: &'static str,
    /// All that it can do.
    pub commands: Vec<Command>,
}

/// The words on the command line mean one of these.
enum Meaning<'p, 'a> {
    Command(&'p Command, &'a [String]),
    /// The beginning of several commands.
    Group(String),
    Nothing,
}

impl Program {
    /// Does what the command line says, with the streams of this process.
    pub fn main(&self, args: impl IntoIterator<Item = OsString>) -> ExitCode {
        let mut io = Io {
            input: &mut io::stdin(),
            out: &mut io::stdout(),
            err: &mut io::stderr(),
        };
        let args = args.into_iter().skip(1).map(OsString::into_string);
        let status = match args.collect::<Result<Vec<_>, _>>() {
            Ok(args) => self.run(&mut io, &args),
            Err(arg) => {
                let told = format!("{}{} is not UTF-8 text", self.complaint, arg.display());
                // Where nobody can be told, the status tells.
                let _ = writeln!(io.err, "{told}");
                FAILED
            }
        };
        ExitCode::from(status)
    }

    /// Does what `args` say. Returns the exit status.
    pub fn run(&self, io: &mut Io<'_>, args: &[String]) -> u8 {
        let first_word = args.iter().position(|arg| !arg.starts_with('-'));
        let (before, words) = args.split_at(first_word.unwrap_or(args.len()));
        if before.iter().any(|arg| VERSION_FLAGS.contains(&&**arg)) {
            return said(io.out, &version());
        }
        let helped = args.iter().take_while(|arg| *arg != "--");
        let helped = helped.clone().any(|arg| HELP_FLAGS.contains(&&**arg));
        let stray = before.iter().find(|arg| !HELP_FLAGS.contains(&&***arg));
        match (self.meaning(words), stray) {
            (Meaning::Command(command, _), _) if helped => {
                let outcome = (command.run)(io, &["-h".to_owned()]);
                self.finished(io, outcome)
            }
            (Meaning::Command(command, _), Some(flag)) => {
                let text = format!("{flag} belongs behind `{}`", command.words);
                complained(io.err, &text, FAILED)
            }
            (Meaning::Command(command, rest), None) => {
                let outcome = (command.run)(io, rest);
                self.finished(io, outcome)
            }
            (Meaning::Group(words), _) if helped => said(io.out, &self.help(&words)),
            (Meaning::Group(words), _) => complained(io.err, &self.help(&words), FAILED),
            (Meaning::Nothing, _) if helped => said(io.out, &self.help("")),
            (Meaning::Nothing, _) => {
                let text = self.unknown(words.first()) + &self.help("");
                complained(io.err, &text, NO_COMMAND)
            }
        }
    }

    /// The command whose words `args` begin with; the longest, where there are several.
    fn meaning<'a>(&self, args: &'a [String]) -> Meaning<'_, 'a> {
        let named = |command: &&Command| {
            let mut given = args.iter();
            command
                .words
                .split(' ')
                .all(|word| given.next().is_some_and(|arg| arg == word))
        };
        let commands = self.commands.iter().filter(named);
        if let Some(command) = commands.max_by_key(|command| command.words.len()) {
            let words = command.words.split(' ').count();
            return Meaning::Command(command, &args[words..]);
        }
        let begins = |words: &String| {
            let group = format!("{words} ");
            self.commands.iter().any(|c| c.words.starts_with(&group))
        };
        let beginnings = (1..=args.len()).map(|count| args[..count].join(" "));
        match beginnings.take_while(begins).last() {
            Some(words) => Meaning::Group(words),
            None => Meaning::Nothing,
        }
    }

    /// Prints why the command failed, if it did.
    fn finished(&self, io: &mut Io<'_>, outcome: Outcome) -> u8 {
        let Err(error) = outcome else {
            return 0;
        };
        if error.is::<Told>() {
            return FAILED;
        }
        match error.downcast_ref::<Refused>() {
            Some(refused) if refused.why == FlagError::Help => said(io.out, &refused.to_string()),
            Some(refused) => complained(io.err, &refused.to_string(), FAILED),
            None => {
                let text = format!("{}{}", self.complaint, with_causes(&*error));
                complained(io.err, &text, FAILED)
            }
        }
    }

    fn unknown(&self, word: Option<&String>) -> String {
        let Some(word) = word else {
            return String::new();
        };
        let first = |command: &Command| command.words.split(' ').next();
        let known = self.commands.iter().filter_map(first);
        match suggest(word, known) {
            Some(meant) => format!("unknown command `{word}`; did you mean `{meant}`?\n\n"),
            None => format!("unknown command `{word}`\n\n"),
        }
    }

    /// What can follow these words.
    fn help(&self, words: &str) -> String {
        let mut next = BTreeMap::new();
        for command in self.commands.iter().filter(|c| !c.about.is_empty()) {
            let rest = match words {
                "" => Some(command.words),
                _ => command
                    .words
                    .strip_prefix(words)
                    .and_then(|r| r.strip_prefix(' ')),
            };
            match rest.map(|rest| rest.split_once(' ').unwrap_or((rest, ""))) {
                Some((word, "")) => next.insert(word, command.about),
                Some((group, _)) => next.insert(group, next.get(group).copied().unwrap_or("")),
                None => None,
            };
        }
        let name = format!("{} {words}", self.name);
        let mut text = format!("Usage: {} <command> [<flags>]\n\n", name.trim_end());
        text.push_str("Commands (each tells its flags with -help):");
        let width = next.keys().map(|word| word.len()).max().unwrap_or(0);
        for (word, about) in next {
            let line = format!("    {word:width$}    {about}");
            // A `String` takes all that is written to it.
            let _ = write!(text, "\n{}", line.trim_end());
        }
        text
    }
}

/// What this program says it is: the version of SPIRE that it stands in for, and its own.
pub fn version() -> String {
    format!("{SPIRE}+spiffe-issuer-{}", env!("CARGO_PKG_VERSION"))
}

fn said(to: &mut dyn Write, text: &str) -> u8 {
    match writeln!(to, "{text}") {
        Ok(()) => 0,
        Err(_) => FAILED,
    }
}

fn complained(to: &mut dyn Write, text: &str, status: u8) -> u8 {
    // Where nobody can be told, the status tells.
    let _ = writeln!(to, "{text}");
    status
}

const HELP_FLAGS: [&str; 3] = ["-h", "-help", "--help"];
const VERSION_FLAGS: [&str; 3] = ["-v", "-version", "--version"];

/// The exit status of what failed.
const FAILED: u8 = 1;
/// The exit status where there is no such command, as SPIRE's programs have it.
const NO_COMMAND: u8 = 127;
/// The version of SPIRE whose command line this is.
const SPIRE: &str = "1.15.3";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::flags::Flags;

    fn echo(io: &mut Io<'_>, args: &[String]) -> Outcome {
        let mut id = String::new();
        let rest = Flags::of("echo")
            .flag("id", "An ID", &mut id)
            .parse_some(args)?;
        writeln!(io.out, "{id} {rest:?}")?;
        Ok(())
    }

    fn fail(_: &mut Io<'_>, _: &[String]) -> Outcome {
        Err(Box::new(Outer(io::Error::other("inner"))))
    }

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    /// The status, and what went to the output and to the errors.
    fn run(args: &str) -> (u8, String, String) {
        let command = |words, about, run| Command { words, about, run };
        let program = Program {
            name: "prog",
            complaint: "Error: ",
            commands: vec![
                command("api fetch", "Fetches", echo as _),
                command("api fetch hidden", "", echo as _),
                command("api fetch x509", "Fetches X.509", echo as _),
                command("run", "Runs", fail as _),
            ],
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut io = Io {
            input: &mut io::empty(),
            out: &mut out,
            err: &mut err,
        };
        let args: Vec<_> = args.split_whitespace().map(str::to_owned).collect();
        let status = program.run(&mut io, &args);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status, text(out), text(err))
    }

    #[test]
    fn the_longest_name_that_fits_is_the_command() {
        for (args, printed) in [
            ("api fetch -id a", "a []\n"),
            ("api fetch x509 -id=a", "a []\n"),
            ("api fetch x50 -id=a", " [\"x50\", \"-id=a\"]\n"),
            ("api fetch hidden x", " [\"x\"]\n"),
        ] {
            assert_eq!(run(args), (0, printed.to_owned(), String::new()), "{args}");
        }
    }

    #[test]
    fn an_error_is_told_with_its_causes_and_ends_with_one() {
        let told = "Error: outer: inner\n".to_owned();
        assert_eq!(run("run"), (1, String::new(), told));
        let (status, _, told) = run("api fetch -x");
        assert_eq!(status, 1);
        assert!(told.starts_with("flag provided but not defined: -x\nUsage of echo:\n"));
    }

    #[test]
    fn what_is_no_command_ends_with_127_and_the_list_of_commands() {
        let (status, out, told) = run("rum");
        assert_eq!((status, &*out), (127, ""));
        assert_eq!(
            told,
            "unknown command `rum`; did you mean `run`?\n\n\
             Usage: prog <command> [<flags>]\n\n\
             Commands (each tells its flags with -help):\n    \
             api\n    \
             run    Runs\n"
        );
        assert_eq!(run("").0, 127);
    }

    #[test]
    fn half_a_command_tells_what_can_follow() {
        let listed = "Usage: prog api <command> [<flags>]\n\n\
             Commands (each tells its flags with -help):\n    \
             fetch    Fetches\n"
            .to_owned();
        assert_eq!(run("api"), (1, String::new(), listed.clone()));
        assert_eq!(run("api foo").2, listed);
        assert_eq!(run("api --help"), (0, listed, String::new()));
    }

    #[test]
    fn help_and_version_go_to_the_output_and_are_no_failure() {
        assert_eq!(run("--version"), (0, version() + "\n", String::new()));
        let (status, out, told) = run("api fetch -id a -h");
        assert_eq!((status, &*told), (0, ""));
        assert!(out.starts_with("Usage of echo:\n  -id string\n"), "{out}");
        assert!(run("-help").1.starts_with("Usage: prog <command>"));
    }

    #[test]
    fn a_flag_before_the_command_is_refused() {
        let told = "-id=a belongs behind `run`\n".to_owned();
        assert_eq!(run("-id=a run"), (1, String::new(), told));
    }
}

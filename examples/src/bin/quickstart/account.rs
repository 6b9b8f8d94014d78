//! What the reader sees: numbered steps with what happened in each, and how long it took.

use std::{
    cell::Cell,
    error::Error,
    fmt::Display,
    io::{self, IsTerminal, Write},
    time::Instant,
};

use spiffe_core::with_causes;

/// The account of one run. Colours are for terminals.
pub(crate) struct Account {
    begun: Instant,
    steps: Cell<usize>,
    colours: bool,
}

impl Account {
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
            steps: Cell::new(0),
            colours: io::stdout().is_terminal(),
        }
    }

    /// A sentence by itself.
    pub(crate) fn say(&self, text: impl Display) {
        line(text);
    }

    /// Begins the next step.
    pub(crate) fn step(&self, heading: &str) -> Step<'_> {
        self.steps.set(self.steps.get() + 1);
        line("");
        line(self.painted(BOLD, format_args!("{}. {heading}", self.steps.get())));
        Step {
            account: self,
            begun: Instant::now(),
        }
    }

    pub(crate) fn finished(&self) {
        let (steps, seconds) = (self.steps.get(), self.begun.elapsed().as_secs_f64());
        line("");
        line(self.painted(
            GREEN,
            format_args!("All {steps} steps went as expected, in {seconds:.1} s."),
        ));
    }

    pub(crate) fn failed(&self, trouble: &(dyn Error + 'static)) {
        let told = with_causes(trouble);
        line("");
        let at = match self.steps.get() {
            0 => "before the first step".to_owned(),
            step => format!("in step {step}"),
        };
        line(self.painted(RED, format_args!("FAILED {at}: {told}")));
    }

    /// The ends of logs, by program.
    pub(crate) fn logs(&self, logs: &[(String, String)]) {
        for (name, log) in logs {
            line("");
            line(self.painted(BOLD, format_args!("The last lines of {name}:")));
            line(log);
        }
    }

    fn painted(&self, colour: &str, text: impl Display) -> String {
        if self.colours {
            format!("{colour}{text}{PLAIN}")
        } else {
            text.to_string()
        }
    }
}

/// A step that is under way.
pub(crate) struct Step<'a> {
    account: &'a Account,
    begun: Instant,
}

impl Step<'_> {
    /// Something to know, under a name.
    pub(crate) fn fact(&self, name: &str, what: impl Display) {
        let name = self.account.painted(DIM, format_args!("{name:<11}"));
        line(format_args!("   {name} {what}"));
    }

    /// One more thing of the same name.
    pub(crate) fn more(&self, what: impl Display) {
        self.fact("", what);
    }

    /// The step went as expected.
    pub(crate) fn done(self) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let done = self
            .account
            .painted(GREEN, format_args!("done in {seconds:.2} s"));
        line(format_args!("   {done}"));
    }
}

/// A reader who has gone is no reason to stop before everything is put away.
fn line(text: impl Display) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

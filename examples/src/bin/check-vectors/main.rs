//! Judges test vectors: each case of each file of a known form in a folder.
//!
//! One line a case tells what the file expects and what the library says. The program ends with 1
//! where these differ, and with 2 where there is nothing to judge. Cases marked `choice` are left
//! open by the standard: they are shown and never counted.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool prints"
)]

mod file;
mod forms;
#[cfg(test)]
mod tests;
mod verdict;

use std::{env, path::Path, process::ExitCode, time::SystemTime};

use spiffe_core::clock::{Clock, SystemClock};

use file::{File, FileError};
use forms::FORMS;
use verdict::Outcome;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let [folder] = &arguments[..] else {
        eprintln!("usage: check-vectors DIR");
        return ExitCode::from(2);
    };
    match run(Path::new(folder), SystemClock.now()) {
        Ok(outcomes) => report(&outcomes),
        Err(error) => {
            eprintln!("check-vectors: {}", told(&error));
            ExitCode::from(2)
        }
    }
}

/// Judges all files of known forms in `folder`, as of `now`.
fn run(folder: &Path, now: SystemTime) -> Result<Vec<Outcome>, FileError> {
    let mut outcomes = Vec::new();
    let mut found = false;
    for form in FORMS {
        let Some(file) = File::read(&folder.join(form.file))? else {
            continue;
        };
        found = true;
        let judge = (form.open)(&file, now)?;
        for case in file.cases()? {
            let expected = case.expected()?;
            let given = judge(&case)?;
            let outcome = Outcome::new(form.file, case.name(), expected, given);
            println!("{outcome}");
            outcomes.push(outcome);
        }
    }
    if found {
        return Ok(outcomes);
    }
    Err(FileError::NothingToJudge {
        folder: folder.to_path_buf(),
    })
}

fn report(outcomes: &[Outcome]) -> ExitCode {
    let differing = outcomes.iter().filter(|o| o.differs()).count();
    let open = outcomes.iter().filter(|o| o.is_open()).count();
    println!(
        "{} cases: {differing} differ, {open} are left open by the standard",
        outcomes.len()
    );
    ExitCode::from(u8::from(differing > 0))
}

/// An error and its causes on one line, as far as it does not name them itself.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |line, cause| {
        let cause = cause.to_string();
        if line.contains(&cause) {
            line
        } else {
            format!("{line}: {cause}")
        }
    })
}

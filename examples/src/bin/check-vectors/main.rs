//! Judges test vectors: each case of each file of a known form in a folder.
//!
//! One line a case tells what the file expects and what the library says. The program ends with 1
//! where these differ, and with 2 where something could not be judged, which it tells and then goes
//! on with the rest. Cases marked `choice` are left open by the standard: they are shown and never
//! counted.

mod file;
mod forms;
#[cfg(test)]
mod tests;
mod verdict;

use std::{
    env,
    io::{self, Write},
    path::Path,
    process::ExitCode,
    time::SystemTime,
};

use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::with_causes;

use file::{File, FileError};
use forms::{FORMS, Form};
use verdict::Outcome;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let [folder] = &arguments[..] else {
        complain("usage: check-vectors DIR");
        return ExitCode::from(2);
    };
    let found = run(Path::new(folder), SystemClock.now());
    end(&found, &mut io::stdout().lock())
}

/// Reports, and tells how the program ends.
fn end(found: &Found, out: &mut impl Write) -> ExitCode {
    match report(found, out) {
        Ok(()) => found.exit_code(),
        // Whoever reads it has read enough, and cannot be told more.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => found.exit_code(),
        Err(error) => {
            complain(&format!(
                "check-vectors: cannot write the verdicts: {error}"
            ));
            ExitCode::from(2)
        }
    }
}

/// What came of a folder.
#[derive(Debug, Default)]
struct Found {
    outcomes: Vec<Outcome>,
    /// What could not be judged, and why.
    faults: Vec<FileError>,
}

impl Found {
    fn exit_code(&self) -> ExitCode {
        let differs = self.outcomes.iter().any(Outcome::differs);
        match self.faults.is_empty() {
            true => ExitCode::from(u8::from(differs)),
            false => ExitCode::from(2),
        }
    }
}

/// Judges all files of known forms in `folder`, as of `now`.
fn run(folder: &Path, now: SystemTime) -> Found {
    let mut found = Found::default();
    let mut files = 0;
    for form in FORMS {
        match File::read(&folder.join(form.file)) {
            Ok(None) => continue,
            Ok(Some(file)) => {
                if let Err(fault) = run_file(form, &file, now, &mut found) {
                    found.faults.push(fault);
                }
            }
            Err(fault) => found.faults.push(fault),
        }
        files += 1;
    }
    if files == 0 {
        let folder = folder.to_path_buf();
        found.faults.push(FileError::NothingToJudge { folder });
    }
    found
}

/// Judges a file; an error is one of the file, and those of its cases are kept beside the outcomes.
fn run_file(form: &Form, file: &File, now: SystemTime, found: &mut Found) -> Result<(), FileError> {
    let judge = (form.open)(file, now)?;
    for case in file.cases()? {
        let judged = case.expected().and_then(|expected| {
            let given = judge(&case)?;
            Ok(Outcome::new(form.file, case.name(), expected, given))
        });
        match judged {
            Ok(outcome) => found.outcomes.push(outcome),
            Err(fault) => found.faults.push(fault),
        }
    }
    Ok(())
}

/// Tells the verdicts and their number to who asked, and the faults beside them.
fn report(found: &Found, out: &mut impl Write) -> io::Result<()> {
    for fault in &found.faults {
        complain(&format!("check-vectors: {}", with_causes(fault)));
    }
    for outcome in &found.outcomes {
        writeln!(out, "{outcome}")?;
    }
    let outcomes = || found.outcomes.iter();
    let differing = outcomes().filter(|o| o.differs()).count();
    let open = outcomes().filter(|o| o.is_open()).count();
    let (cases, faults) = (found.outcomes.len(), found.faults.len());
    write!(
        out,
        "{cases} cases: {differing} differ, {open} are left open by the standard"
    )?;
    if faults > 0 {
        match faults {
            1 => write!(out, "; 1 fault, and what it touches was not judged")?,
            _ => write!(out, "; {faults} faults, and what they touch was not judged")?,
        }
    }
    writeln!(out)?;
    out.flush()
}

/// Where not even this can be written, the exit code has to do.
fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

//! The workspace's own chores: `cargo xtask <chore>`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool prints"
)]

mod ci;
mod codegen;
mod conformance;
mod corpus;
mod files;
mod layers;
mod unpacked;
mod workspace;

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
};

const USAGE: &str = "\
usage: cargo xtask <chore>

chores:
  ci                all that continuous integration runs beside the tests
  codegen           generate Rust from proto/ and write it into the crates
  codegen --check   fail if what is committed is not what would be generated
  conformance       write docs/conformance.md, the table of requirements and their tests
  conformance --check
                    fail if a requirement has no test, or the table is out of date
  corpus pack       write a table of each folder in fuzz/corpus
  corpus unpack     write a folder of each table in fuzz/corpus
  layers            fail if code names a room that it must not know
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["ci"] => ci::run(&root()).map_err(Into::into),
        ["codegen"] => write_generated(),
        ["codegen", "--check"] => codegen::check(&root()).map_err(Into::into),
        ["conformance"] => conformance::write(&root()).map_err(Into::into),
        ["conformance", "--check"] => conformance::check(&root()).map_err(Into::into),
        ["corpus", "pack"] => corpus::pack(&root()).map_err(Into::into),
        ["corpus", "unpack"] => corpus::unpack(&root()).map_err(Into::into),
        ["layers"] => layers::check(&root()).map_err(Into::into),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", told(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn write_generated() -> Result<(), Box<dyn Error>> {
    for drift in codegen::write(&root())? {
        println!("{drift}");
    }
    Ok(())
}

/// The folder of the workspace.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// An error and all its causes on one line.
fn told(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line += &format!(": {error}");
        cause = error.source();
    }
    line
}

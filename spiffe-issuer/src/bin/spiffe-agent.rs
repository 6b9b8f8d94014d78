//! The agent's program.

use std::env::args_os;
use std::process::ExitCode;

use spiffe_issuer::cli::agent;

fn main() -> ExitCode {
    agent::main(args_os())
}

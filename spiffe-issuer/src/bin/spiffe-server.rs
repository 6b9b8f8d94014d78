//! The server's program.

use std::env::args_os;
use std::process::ExitCode;

use spiffe_issuer::cli::server;

fn main() -> ExitCode {
    server::main(args_os())
}

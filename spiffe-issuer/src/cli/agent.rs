//! `spiffe-agent`: ask a running one.

use std::ffi::OsString;
use std::process::ExitCode;

use super::tree::Program;
use super::workload;

/// Does what the command line says.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let program = Program {
        name: "spiffe-agent",
        complaint: "",
        commands: workload::COMMANDS.to_vec(),
    };
    program.main(args)
}

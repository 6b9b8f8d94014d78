//! The SDK beside rust-spiffe, bare rustls and bare tonic. Arguments choose subjects by their name; see
//! ../README.md for how to read what it prints.

mod calls;
mod documents;
mod handshakes;
mod harness;
mod memory;
mod reload;
mod requests;
mod sources;

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["connections", kind] => return memory::serve(kind),
        ["repeat", kind, times] => {
            repeat(kind, times.parse()?);
            return Ok(());
        }
        _ => {}
    }
    let all: [(&str, fn()); 7] = [
        ("documents", documents::measure),
        ("sources", sources::measure),
        ("handshakes", handshakes::measure),
        ("requests", requests::measure),
        ("calls", calls::measure),
        ("reload", reload::measure),
        ("memory", memory::measure),
    ];
    for (name, measure) in all {
        if arguments.is_empty() || arguments.iter().any(|argument| argument == name) {
            measure();
        }
    }
    Ok(())
}

/// One thing so many times, for a tool that counts instructions.
fn repeat(kind: &str, times: u32) {
    match kind {
        "svid" => documents::repeat(times),
        "call-plaintext" | "call-ours" | "call-authorized" => calls::repeat(kind, times),
        _ => handshakes::repeat(kind, times),
    }
}

//! What a client sends on the agent's socket, before HTTP/2 is made of it.

#![no_main]

#[expect(dead_code, reason = "the other target's part")]
#[path = "../../spiffe-issuer/tests/fuzzed/mod.rs"]
mod fuzzed;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    fuzzed::frames(input);
});

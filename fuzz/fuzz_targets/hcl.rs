//! What operators write as configuration.

#![no_main]

#[expect(dead_code, reason = "the other target's part")]
#[path = "../../spiffe-issuer/tests/fuzzed/mod.rs"]
mod fuzzed;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    fuzzed::configuration(text);
});

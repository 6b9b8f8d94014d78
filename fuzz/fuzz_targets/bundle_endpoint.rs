//! The URLs of bundle endpoints, where they lead on to, and what clients of ours say that they have.

#![no_main]

#[path = "../../spiffe-hyper/tests/fuzzed/mod.rs"]
mod fuzzed;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (text, reference) = input;
    fuzzed::url(text, reference);
    // No fuzzer finds the scheme soon.
    fuzzed::url(&format!("https://{text}"), reference);
    fuzzed::known(reference.as_bytes());
});

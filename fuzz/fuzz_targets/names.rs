//! What anybody gives as the name of a workload, of a trust domain, or as a pattern of names.

#![no_main]

#[expect(dead_code, reason = "the other targets' part")]
#[path = "../../spiffe-core/tests/fuzzed/mod.rs"]
mod fuzzed;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    fuzzed::name(text);
    // No fuzzer finds the scheme soon.
    fuzzed::name(&format!("spiffe://{text}"));
});

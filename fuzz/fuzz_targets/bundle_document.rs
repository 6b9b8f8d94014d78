//! What a bundle endpoint, a Workload API or a file gives as bundles.

#![no_main]

#[expect(dead_code, reason = "the other target's part")]
#[path = "../../spiffe-core/tests/fuzzed/mod.rs"]
mod fuzzed;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| fuzzed::document(text));

//! What a Workload API sends: any bytes as each of its messages.

#![no_main]

#[expect(dead_code, reason = "the other target's part")]
#[path = "../../spiffe-core/tests/fuzzed/watch.rs"]
mod fuzzed;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzzed::messages(bytes));

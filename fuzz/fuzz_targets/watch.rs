//! What befalls a watch of the Workload API: each byte is an event.

#![no_main]

#[expect(dead_code, reason = "the other target's part")]
#[path = "../../spiffe-core/tests/fuzzed/watch.rs"]
mod fuzzed;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|operations: &[u8]| fuzzed::watch(operations));

//! What peers and agents send as certificates and keys.

#![no_main]

#[path = "../../spiffe-core/tests/fuzzed/x509.rs"]
mod fuzzed;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    fuzzed::chain_and_key(input);
});

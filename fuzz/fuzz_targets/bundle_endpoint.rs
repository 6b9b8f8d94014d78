//! The URL of a bundle endpoint, and where its server leads on to, one on a line; and what clients of
//! ours say that they have.

#![no_main]

#[path = "../../spiffe-hyper/tests/fuzzed/mod.rs"]
mod fuzzed;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| fuzzed::endpoint(input));

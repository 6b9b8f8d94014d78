//! What a stranger sends as a token: any text, and any three parts.

#![no_main]

#[expect(dead_code, reason = "the other target's part")]
#[path = "../../spiffe-core/tests/fuzzed/mod.rs"]
mod fuzzed;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use spiffe_core::TrustBundle;

static BUNDLE: LazyLock<TrustBundle> = LazyLock::new(fuzzed::bundle);

fuzz_target!(|input: (&str, &[u8], &[u8], &[u8])| {
    let (text, header, payload, signature) = input;
    fuzzed::token(text, &BUNDLE);
    fuzzed::parts(header, payload, signature, &BUNDLE);
});

//! What a stranger sends as a token: any text; and any header, payload and signature, one on a line.

#![no_main]

#[expect(dead_code, reason = "the other target's part")]
#[path = "../../spiffe-core/tests/fuzzed/mod.rs"]
mod fuzzed;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use spiffe_core::TrustBundle;

static BUNDLE: LazyLock<TrustBundle> = LazyLock::new(fuzzed::bundle);

fuzz_target!(|input: &[u8]| fuzzed::text_and_parts(input, &BUNDLE));

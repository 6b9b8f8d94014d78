//! What a client sends on the agent's socket, before HTTP/2 is made of it: any bytes, cut in two
//! anywhere, are handed on alike or refused alike.

#![no_main]

use libfuzzer_sys::fuzz_target;
use spiffe_issuer::agent::h2_authority::{Frames, MAX_BLOCK};

fuzz_target!(|input: (Vec<u8>, usize, bool)| {
    let (mut bytes, cut, with_preface) = input;
    if with_preface {
        bytes.splice(0..0, *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    }
    let mut whole = Vec::new();
    let outcome = Frames::default().push(&bytes, &mut whole);
    // A replacement is never longer than nine bytes, and a block has one.
    assert!(whole.len() <= 2 * bytes.len() + MAX_BLOCK);

    let (before, after) = bytes.split_at(cut % (bytes.len() + 1));
    let mut frames = Frames::default();
    let mut parts = Vec::new();
    let in_parts = frames
        .push(before, &mut parts)
        .and_then(|()| frames.push(after, &mut parts));
    assert_eq!((whole, outcome), (parts, in_parts));
});

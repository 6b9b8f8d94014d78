//! What holds for any bytes, tried with the vectors and their neighbours, and with what the fuzzer has
//! found.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

#[path = "fuzzed/corpus.rs"]
mod corpus;
#[path = "fuzzed/mod.rs"]
mod fuzzed;
#[path = "fuzzed/x509.rs"]
mod x509;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

#[test]
fn tokens_hold_what_the_fuzz_target_holds_true() {
    let bundle = fuzzed::bundle();
    let mut believed = 0;
    for text in [
        include_str!("vectors/jwtsvid.json"),
        include_str!("vectors/witsvid.json"),
    ] {
        for case in cases(text) {
            let token = case["token"].as_str().unwrap();
            believed += usize::from(fuzzed::token(token, &bundle));
            let parts = token
                .split('.')
                .map(|part| BASE64_URL_SAFE_NO_PAD.decode(part));
            let Ok([header, payload, signature]) =
                <[Vec<u8>; 3]>::try_from(parts.flatten().collect::<Vec<_>>())
            else {
                continue;
            };
            for near in neighbours(&header, 7) {
                fuzzed::parts(&near, &payload, &signature, &bundle);
            }
            for near in neighbours(&payload, 31) {
                fuzzed::parts(&header, &near, &signature, &bundle);
            }
        }
    }
    assert!(believed > 10, "the readers refuse everything");
}

#[test]
fn documents_hold_what_the_fuzz_target_holds_true() {
    for text in [
        include_str!("vectors/spiffebundle.json"),
        include_str!("vectors/bundle_map.json"),
    ] {
        for case in cases(text) {
            let document = case["document"].as_str().unwrap().as_bytes();
            fuzzed::document(document);
            for near in neighbours(document, 97) {
                fuzzed::document(&near);
            }
        }
    }
}

#[test]
fn names_hold_what_the_fuzz_target_holds_true() {
    let mut ids = 0;
    for text in [
        include_str!("vectors/spiffeid.json"),
        include_str!("vectors/trustdomain.json"),
    ] {
        let cases: Vec<Value> = serde_json::from_str(text).unwrap();
        for case in cases {
            let input = case["input"].as_str().unwrap();
            ids += usize::from(fuzzed::name(input));
            for near in neighbours(input.as_bytes(), 3) {
                let text = String::from_utf8_lossy(&near);
                fuzzed::name(&text);
                fuzzed::name(&text.replacen(['"', '{', '0'], "*", 1));
            }
        }
    }
    assert!(ids > 100, "the reader refuses everything");
}

#[test]
fn what_the_fuzzer_found_of_names_holds() {
    let texts = corpus::inputs("names");
    for text in texts.iter().flat_map(|input| str::from_utf8(input)) {
        fuzzed::name(text);
        fuzzed::name(&format!("spiffe://{text}"));
    }
}

#[test]
fn what_the_fuzzer_found_of_tokens_holds() {
    let bundle = fuzzed::bundle();
    for input in corpus::inputs("jwt") {
        fuzzed::text_and_parts(&input, &bundle);
    }
}

#[test]
fn what_the_fuzzer_found_of_documents_holds() {
    for input in corpus::inputs("bundle_document") {
        fuzzed::document(&input);
    }
}

#[test]
fn what_the_fuzzer_found_of_certificates_holds() {
    let inputs = corpus::inputs("x509");
    let read = inputs.iter().filter(|input| x509::chain_and_key(input));
    assert!(read.count() > 10, "the reader refuses everything");
}

/// Texts that differ in one byte, at every `step`th place, and texts that end early.
fn neighbours(text: &[u8], step: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..text.len()).step_by(step).flat_map(|at| {
        let changed = [b'"', b'{', b'0', 0xff].map(|byte| {
            let mut near = text.to_vec();
            near[at] = byte;
            near
        });
        changed.into_iter().chain([text[..at].to_vec()])
    })
}

fn cases(text: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(text).unwrap();
    file["cases"].as_array().unwrap().clone()
}

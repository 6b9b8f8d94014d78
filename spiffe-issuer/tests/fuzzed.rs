//! What holds for any bytes, tried with what the fuzzer has found.
#![cfg(feature = "agent")]
#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "../../spiffe-core/tests/fuzzed/corpus.rs"]
mod corpus;
#[path = "fuzzed/mod.rs"]
mod fuzzed;

#[test]
fn what_the_fuzzer_found_of_configuration_holds() {
    let inputs = corpus::inputs("hcl");
    let texts = inputs.iter().flat_map(|input| str::from_utf8(input));
    let read = texts.filter(|text| fuzzed::configuration(text));
    assert!(read.count() > 0, "the readers refuse everything");
}

#[test]
fn what_the_fuzzer_found_of_frames_holds() {
    let inputs = corpus::inputs("h2_headers");
    let handed_on = inputs.iter().filter(|input| fuzzed::frames(input));
    assert!(handed_on.count() > 0, "everything is refused");
}

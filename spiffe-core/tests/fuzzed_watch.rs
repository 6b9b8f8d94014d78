//! What holds for any messages and any order of events, tried with good messages' neighbours, with
//! operations drawn by lot, and with what the fuzzer has found.
#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "fuzzed/corpus.rs"]
mod corpus;
#[path = "fuzzed/watch.rs"]
mod fuzzed;

#[test]
fn messages_hold_what_the_fuzz_target_holds_true() {
    let good = fuzzed::good_message();
    fuzzed::messages(&good);
    for at in (0..good.len()).step_by(97) {
        fuzzed::messages(&good[..at]);
        for byte in [0, 0x0a, 0x7f, 0xff] {
            let mut near = good.clone();
            near[at] = byte;
            fuzzed::messages(&near);
        }
    }
}

// conformance: WA-4+ WA-22+ WE-21+ WE-22+
#[test]
fn a_watch_holds_what_the_fuzz_target_holds_true() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..100 {
        let operations: Vec<u8> = (0..30).map(|_| random.u8(..)).collect();
        fuzzed::watch(&operations);
    }
}

#[test]
fn what_the_fuzzer_found_of_messages_holds() {
    for input in corpus::inputs("workload_api") {
        fuzzed::messages(&input);
    }
}

#[test]
fn what_the_fuzzer_found_of_the_watch_holds() {
    for operations in corpus::inputs("watch") {
        fuzzed::watch(&operations);
    }
}

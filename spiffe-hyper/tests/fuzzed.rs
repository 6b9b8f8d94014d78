//! What holds for any bytes, tried with what is near to good ones, and with what the fuzzer has found.
#![cfg(feature = "federation")]
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test")]

#[path = "../../spiffe-core/tests/fuzzed/corpus.rs"]
mod corpus;
#[path = "fuzzed/mod.rs"]
mod fuzzed;

use http::StatusCode;

#[test]
fn urls_hold_what_the_fuzz_target_holds_true() {
    let (urls, references) = (
        [
            "https://h.test:8443/a/b?c=d#e",
            "https://[::1]/",
            "https://10.0.0.7:1/..//./x",
        ],
        [
            "//g.test/x",
            "../../x?y",
            "./",
            "https://g.test:65535/",
            "/a/../..//b",
            "#x",
            "..\\x",
        ],
    );
    let mut read = 0;
    for url in urls {
        for reference in references {
            read += usize::from(fuzzed::url(url, reference));
            for near in neighbours(reference) {
                fuzzed::url(url, &near);
            }
        }
        for near in neighbours(url) {
            read += usize::from(fuzzed::url(&near, "../x"));
        }
    }
    assert!(read > 100, "the reader refuses everything");
}

#[test]
fn tags_hold_what_the_fuzz_target_holds_true() {
    assert_eq!(fuzzed::known(b"*"), StatusCode::NOT_MODIFIED);
    for tags in ["W/\"0\", \"1\",", "\"", ",,W/", "W/*"] {
        for near in neighbours(tags) {
            fuzzed::known(near.as_bytes());
        }
    }
}

#[test]
fn what_the_fuzzer_found_of_endpoints_holds() {
    for input in corpus::inputs("bundle_endpoint") {
        fuzzed::endpoint(&input);
    }
}

/// The text with one character left out, twice, or replaced by one that means something.
fn neighbours(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (at, this) in text.char_indices() {
        let (before, after) = (&text[..at], &text[at + this.len_utf8()..]);
        for other in [
            "", "/", ":", "@", "?", "#", ".", "%", "[", "]", " ", "\0", "é", "\\",
        ] {
            all.push(format!("{before}{other}{after}"));
            all.push(format!("{before}{this}{other}{after}"));
        }
        all.push(format!("{before}{this}{this}{after}"));
    }
    all
}

//! What the fuzzer has found, to try it again where no fuzzer is at hand.

use std::{fs, path::Path};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// The inputs of `fuzz/corpus/<target>.txt`; `cargo xtask corpus` writes it.
pub(crate) fn inputs(target: &str) -> Vec<Vec<u8>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = here.join(format!("../fuzz/corpus/{target}.txt"));
    let text = fs::read_to_string(table).unwrap();
    let inputs: Vec<_> = text
        .lines()
        .map(|line| BASE64_STANDARD.decode(line).unwrap())
        .collect();
    assert!(inputs.len() > 10, "{target} has lost its corpus");
    inputs
}

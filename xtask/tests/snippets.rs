//! The pages show Rust; this sees to it that each piece is a tested example of a crate as well.

use std::{fs, path::Path};

const PAGES: [&str; 11] = [
    "README.md",
    "docs/authorizers.md",
    "docs/delegated-identity.md",
    "docs/federation.md",
    "docs/jwt.md",
    "docs/rotation.md",
    "docs/rust-service.md",
    "spiffe-core/README.md",
    "spiffe-hyper/README.md",
    "spiffe-tonic/README.md",
    "spiffe-tower/README.md",
];
const DOCUMENTED: [&str; 14] = [
    "spiffe-core/src/authorizer/mod.rs",
    "spiffe-core/src/broker/mod.rs",
    "spiffe-core/src/delegated/mod.rs",
    "spiffe-core/src/lib.rs",
    "spiffe-core/src/policy.rs",
    "spiffe-core/src/readme.rs",
    "spiffe-core/src/source/mod.rs",
    "spiffe-hyper/src/lib.rs",
    "spiffe-hyper/src/federation/mod.rs",
    "spiffe-hyper/src/readme.rs",
    "spiffe-tonic/src/lib.rs",
    "spiffe-tonic/src/readme.rs",
    "spiffe-tower/src/lib.rs",
    "spiffe-tower/src/readme.rs",
];

/// A page on tests shows pieces of tests.
const PAGE_ON_TESTS: &str = "docs/testing.md";
const TESTS: [&str; 2] = [
    "examples/tests/testing_axum.rs",
    "examples/tests/testing_tonic.rs",
];

#[test]
fn what_the_page_on_tests_shows_is_run_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let tests = TESTS.map(read);
    let tests = tests.each_ref().map(|test| {
        let lines = test.lines().filter(|line| !line.is_empty());
        lines.collect::<Vec<_>>()
    });
    let shown = blocks(&read(PAGE_ON_TESTS));
    let mut shown: Vec<_> = shown.iter().collect();
    shown.retain(|block| block.kind.starts_with("rust"));
    assert!(!shown.is_empty(), "{PAGE_ON_TESTS} shows no Rust");
    for block in shown {
        let run = tests
            .iter()
            .any(|test| test.windows(block.lines.len()).any(|w| *w == block.lines));
        assert!(run, "no test has:\n{}", block.lines.join("\n"));
    }
}

#[test]
fn what_the_pages_show_is_compiled_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let read = |path: String| fs::read_to_string(root.join(path)).unwrap();
    let examples: Vec<_> = DOCUMENTED
        .iter()
        .flat_map(|file| blocks(&documentation(&read((*file).to_owned()))))
        .filter(|block| !matches!(block.kind.as_str(), "ignore" | "text"))
        .collect();
    for page in PAGES {
        let shown = blocks(&read(page.to_owned()));
        let shown: Vec<_> = shown
            .iter()
            .filter(|b| b.kind.starts_with("rust"))
            .collect();
        assert!(!shown.is_empty(), "{page} shows no Rust");
        for block in shown {
            let compiled = examples.iter().any(|example| example.lines == block.lines);
            assert!(
                compiled,
                "{page} shows what no example is:\n{}",
                block.lines.join("\n")
            );
        }
    }
}

struct Block {
    kind: String,
    /// Without empty ones, and without those that rustdoc hides.
    lines: Vec<String>,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut lines = page.lines();
    let mut blocks = Vec::new();
    while let Some(line) = lines.next() {
        if let Some(kind) = line.strip_prefix("```") {
            let block = lines.by_ref().take_while(|line| !line.starts_with("```"));
            let shown = block.filter(|line| !line.is_empty() && !line.starts_with("# "));
            blocks.push(Block {
                kind: kind.to_owned(),
                lines: shown.map(str::to_owned).collect(),
            });
        }
    }
    blocks
}

/// What a crate or a module says of itself, as a page.
fn documentation(code: &str) -> String {
    let lines = code.lines().map_while(|line| line.strip_prefix("//!"));
    let lines = lines.map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line)));
    lines.collect()
}

//! What continuous integration runs beside the tests, one step after the other.

use std::{
    collections::BTreeSet,
    io,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    time::Instant,
};

use crate::{
    codegen::{self, CodegenError},
    conformance::{self, ConformanceError},
    layers::{self, LayersError},
    unpacked,
    workspace::{self, Package, WorkspaceError},
};

/// Runs all steps and stops at the first that fails.
pub(crate) fn run(root: &Path) -> Result<(), CiError> {
    let begun = Instant::now();
    let mut left_out = Vec::new();
    for step in STEPS {
        println!("\n== {}", step.heading);
        let begun = Instant::now();
        match (step.run)(root) {
            Ok(Outcome::Passed) => println!("-- {:.1} s", begun.elapsed().as_secs_f64()),
            Ok(Outcome::LeftOut { why }) => {
                println!("-- LEFT OUT: {why}");
                left_out.push(format!("{} ({why})", step.heading));
            }
            Err(cause) => {
                return Err(CiError {
                    heading: step.heading,
                    cause,
                });
            }
        }
    }
    let passed = STEPS.len() - left_out.len();
    println!(
        "\n== {passed} steps passed in {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    for step in left_out {
        println!("== LEFT OUT: {step}");
    }
    Ok(())
}

struct Step {
    heading: &'static str,
    run: fn(&Path) -> Result<Outcome, StepError>,
}

enum Outcome {
    Passed,
    LeftOut { why: String },
}

/// Quick ones first: whoever waits for the rest should not wait in vain.
const STEPS: &[Step] = &[
    Step {
        heading: "toolchain",
        run: toolchain,
    },
    Step {
        heading: "formatting",
        run: formatting,
    },
    Step {
        heading: "generated code",
        run: generated_code,
    },
    Step {
        heading: "conformance",
        run: conformance,
    },
    Step {
        heading: "layers",
        run: layers,
    },
    Step {
        heading: "lints",
        run: lints,
    },
    Step {
        heading: "each feature alone",
        run: features,
    },
    Step {
        heading: "the core without a runtime",
        run: bare_core,
    },
    Step {
        heading: "names without a standard library",
        run: bare_names,
    },
    Step {
        heading: "workspaces of their own",
        run: other_workspaces,
    },
    Step {
        heading: "packages",
        run: packages,
    },
    Step {
        heading: "documentation",
        run: documentation,
    },
    Step {
        heading: "licences, bans and sources of dependencies",
        run: dependencies,
    },
];

/// Tells which Rust this is. Older ones that the packages promise to build with are a job of their
/// own, for they have to be installed first.
fn toolchain(root: &Path) -> Result<Outcome, StepError> {
    cargo(root, &["--version"])?;
    for package in published(root)? {
        let oldest = package.rust_version.as_deref().unwrap_or("any");
        println!("{}: Rust {oldest} or newer (not tried here)", package.name);
    }
    Ok(Outcome::Passed)
}

fn formatting(root: &Path) -> Result<Outcome, StepError> {
    cargo(root, &["fmt", "--all", "--check"])
}

fn generated_code(root: &Path) -> Result<Outcome, StepError> {
    codegen::check(root)?;
    Ok(Outcome::Passed)
}

fn conformance(root: &Path) -> Result<Outcome, StepError> {
    conformance::check(root)?;
    Ok(Outcome::Passed)
}

fn layers(root: &Path) -> Result<Outcome, StepError> {
    layers::check(root)?;
    Ok(Outcome::Passed)
}

fn lints(root: &Path) -> Result<Outcome, StepError> {
    cargo(
        root,
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--",
            "-D",
            "warnings",
        ],
    )
}

/// Each published package by itself, bare and with one feature at a time: what builds in the
/// workspace may lean on features that a neighbour switched on. Those of a library meet in pairs, too.
fn features(root: &Path) -> Result<Outcome, StepError> {
    for package in published(root)? {
        let check = |features: &[&str]| {
            let package = ["clippy", "--package", &package.name];
            cargo(
                root,
                &[&package, features, &["--", "-D", "warnings"]].concat(),
            )
        };
        check(&[])?;
        check(&["--no-default-features"])?;
        for feature in &package.features {
            check(&["--no-default-features", "--features", feature])?;
        }
        let pairs = pairs(&package.features);
        for pair in pairs.filter(|_| is_library(&package)) {
            check(&["--no-default-features", "--features", &pair])?;
        }
    }
    Ok(Outcome::Passed)
}

fn pairs(features: &[String]) -> impl Iterator<Item = String> {
    let numbered = features.iter().enumerate();
    numbered.flat_map(|(index, one)| {
        let others = features.iter().skip(index + 1);
        others.map(move |other| format!("{one},{other}"))
    })
}

/// Names and proofs must be usable without paying for anything else, and names without proofs.
fn bare_core(root: &Path) -> Result<Outcome, StepError> {
    for (features, most) in [("", MOST_CRATES_OF_NAMES), ("std", MOST_CRATES)] {
        let crates = crates_of_core(root, features)?;
        let is_there = |heavy: &&str| {
            crates
                .iter()
                .any(|one| one.split(' ').next() == Some(*heavy))
        };
        if let Some(dependency) = HEAVY.into_iter().find(is_there) {
            return Err(StepError::Heavy { dependency });
        }
        let count = crates.len();
        println!("spiffe-core with the features {features:?} alone is {count} crates");
        if count > most {
            return Err(StepError::ManyCrates { count, most });
        }
    }
    Ok(Outcome::Passed)
}

/// What `spiffe-core` with these features is built from, itself included, each by name and version.
fn crates_of_core(root: &Path, features: &str) -> Result<BTreeSet<String>, StepError> {
    let tree = Command::new(workspace::cargo())
        .args(["tree", "--package", "spiffe-core", "--no-default-features"])
        .args(["--features", features])
        .args(["--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .map_err(StepError::Start)?;
    if !tree.status.success() {
        return Err(StepError::Command {
            line: "cargo tree".to_owned(),
            status: tree.status,
        });
    }
    let tree = String::from_utf8_lossy(&tree.stdout);
    // What is told again is told with a mark behind name and version.
    let crates = tree.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some(format!(
            "{} {}",
            words.next()?,
            words.next().unwrap_or_default()
        ))
    });
    Ok(crates.collect())
}

const HEAVY: [&str; 4] = ["hyper", "rustls", "tokio", "tonic"];
/// How many crates names and proofs may be made of, `spiffe-core` itself among them.
const MOST_CRATES: usize = 23;
/// How many crates names alone may be made of. All but one of the others only run in the compiler.
const MOST_CRATES_OF_NAMES: usize = 7;

/// Names are type-checked for machines that have no standard library, and for WebAssembly.
fn bare_names(root: &Path) -> Result<Outcome, StepError> {
    let mut missing = Vec::new();
    for target in ["thumbv7em-none-eabi", "wasm32-unknown-unknown"] {
        if !has_target(root, target)? {
            missing.push(target);
            continue;
        }
        for features in ["", "serde"] {
            let package = ["check", "--package", "spiffe-core", "--no-default-features"];
            let choice = ["--features", features, "--target", target];
            cargo(root, &[&package[..], &choice].concat())?;
        }
    }
    match missing.is_empty() {
        true => Ok(Outcome::Passed),
        false => Ok(Outcome::LeftOut {
            why: format!(
                "not installed and not to be had now: {}",
                missing.join(", ")
            ),
        }),
    }
}

/// Whether the library of this target is here, or rustup can fetch it.
fn has_target(root: &Path, target: &str) -> Result<bool, StepError> {
    let library = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", target])
        .current_dir(root)
        .output()
        .map_err(StepError::Start)?;
    let library = String::from_utf8_lossy(&library.stdout).trim().to_owned();
    if !library.is_empty() && Path::new(&library).is_dir() {
        return Ok(true);
    }
    // There may be no rustup, and no network.
    let added = Command::new("rustup")
        .args(["target", "add", target])
        .current_dir(root)
        .stdin(Stdio::null())
        .status();
    Ok(added.is_ok_and(|status| status.success()))
}

/// What no other step builds, for it needs another compiler or what it is measured against.
fn other_workspaces(root: &Path) -> Result<Outcome, StepError> {
    for manifest in ["fuzz/Cargo.toml", "benches/peers/Cargo.toml"] {
        cargo(
            root,
            &["check", "--all-targets", "--manifest-path", manifest],
        )?;
    }
    Ok(Outcome::Passed)
}

/// Each library builds from what would be uploaded of it, with the others as they would be.
fn packages(root: &Path) -> Result<Outcome, StepError> {
    let mut arguments = vec!["package".to_owned(), "--allow-dirty".to_owned()];
    for package in published(root)?.filter(is_library) {
        unpacked::forget(&package.name).map_err(StepError::Forget)?;
        arguments.extend(["--package".to_owned(), package.name]);
    }
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    cargo(root, &arguments)
}

fn documentation(root: &Path) -> Result<Outcome, StepError> {
    let mut command = Command::new(workspace::cargo());
    command
        .args(["doc", "--workspace", "--all-features", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings");
    started(root, command)
}

fn dependencies(root: &Path) -> Result<Outcome, StepError> {
    let mut version = Command::new(workspace::cargo());
    version
        .args(["deny", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if !version.status().map_err(StepError::Start)?.success() {
        return Ok(Outcome::LeftOut {
            why: "cargo-deny is not installed".to_owned(),
        });
    }
    cargo(root, &["deny", "check", "bans", "licenses", "sources"])
}

/// Packages that others may build by themselves.
fn published(root: &Path) -> Result<impl Iterator<Item = Package>, StepError> {
    Ok(workspace::packages(root)?
        .into_iter()
        .filter(|package| package.published))
}

/// Whether it is made for others to build on.
fn is_library(package: &Package) -> bool {
    package.name != "spiffe-issuer"
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<Outcome, StepError> {
    let mut command = Command::new(workspace::cargo());
    command.args(arguments);
    started(root, command)
}

/// Runs a command to its end; what it prints is seen as it comes.
fn started(root: &Path, mut command: Command) -> Result<Outcome, StepError> {
    let arguments: Vec<_> = command
        .get_args()
        .map(|argument| argument.to_string_lossy())
        .collect();
    let line = format!("cargo {}", arguments.join(" "));
    println!("$ {line}");
    let status = command
        .current_dir(root)
        .stdin(Stdio::null())
        .status()
        .map_err(StepError::Start)?;
    if status.success() {
        Ok(Outcome::Passed)
    } else {
        Err(StepError::Command { line, status })
    }
}

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[error("the step {heading:?} failed")]
pub(crate) struct CiError {
    heading: &'static str,
    #[source]
    cause: StepError,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    #[error(transparent)]
    Codegen(#[from] CodegenError),
    #[error("`{line}` ended with {status}")]
    Command { line: String, status: ExitStatus },
    #[error(transparent)]
    Conformance(#[from] ConformanceError),
    #[error("removing what an earlier run unpacked")]
    Forget(#[source] io::Error),
    #[error("spiffe-core needs {dependency} although no feature asks for it")]
    Heavy { dependency: &'static str },
    #[error(transparent)]
    Layers(#[from] LayersError),
    #[error("spiffe-core is {count} crates, more than {most}")]
    ManyCrates { count: usize, most: usize },
    #[error("starting cargo")]
    Start(#[source] io::Error),
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
}

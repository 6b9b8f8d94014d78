//! Who must never name whom, as data. The reasons are those of ARCHITECTURE.md.

/// Code in `rooms`, save in `except`, must not name anything in `never`.
///
/// A room is a module with all that is in it, or a crate. A room may always name itself, also where
/// `never` is a house that it stands in. An outside crate stands for its family: `tokio` is also
/// `tokio_stream`.
pub(super) struct Rule {
    pub(super) rooms: &'static [&'static str],
    pub(super) except: &'static [&'static str],
    pub(super) never: &'static [&'static str],
    pub(super) why: &'static str,
}

impl Rule {
    const fn new(
        rooms: &'static [&'static str],
        never: &'static [&'static str],
        why: &'static str,
    ) -> Self {
        Self {
            rooms,
            except: &[],
            never,
            why,
        }
    }

    const fn save(mut self, except: &'static [&'static str]) -> Self {
        self.except = except;
        self
    }
}

pub(super) const RULES: &[Rule] = &[
    // spiffe-core: data, judgement, motion.
    Rule::new(
        &["spiffe_core::id"],
        &["spiffe_core", "hyper", "rustls", "tokio", "tonic"],
        "names stand on nothing",
    ),
    Rule::new(
        &["spiffe_core::der"],
        &["spiffe_core", "hyper", "rustls", "tokio", "tonic"],
        "reading bytes stands on nothing",
    ),
    Rule::new(
        &["spiffe_core::x509"],
        &["spiffe_core::jwt"],
        "the kinds of documents do not know each other",
    ),
    Rule::new(
        &["spiffe_core::jwt"],
        &["spiffe_core::x509"],
        "the kinds of documents do not know each other",
    ),
    Rule::new(
        &["spiffe_core::x509", "spiffe_core::jwt"],
        &["spiffe_core::bundle"],
        "a bundle is made of documents",
    ),
    Rule::new(
        &[
            "spiffe_core::x509",
            "spiffe_core::jwt",
            "spiffe_core::bundle",
        ],
        &["spiffe_core::verify"],
        "data does not judge itself",
    ),
    Rule::new(
        &["spiffe_core::verify"],
        &["spiffe_core::clock"],
        "a judgement takes the time as an argument",
    ),
    Rule::new(
        &[
            "spiffe_core::x509",
            "spiffe_core::jwt",
            "spiffe_core::bundle",
            "spiffe_core::verify",
            "spiffe_core::snapshot",
            "spiffe_core::authorizer",
            "spiffe_core::backoff",
        ],
        &[
            "spiffe_core::source",
            "spiffe_core::tls",
            "spiffe_core::workload_api",
        ],
        "data and judgement do not know who sets them in motion",
    ),
    Rule::new(
        &[
            "spiffe_core::x509",
            "spiffe_core::jwt",
            "spiffe_core::bundle",
            "spiffe_core::verify",
            "spiffe_core::snapshot",
            "spiffe_core::authorizer",
            "spiffe_core::backoff",
        ],
        &["hyper", "rustls", "tokio", "tonic"],
        "data and judgement build without any runtime",
    ),
    Rule::new(
        &["spiffe_core::workload_api::session"],
        &["spiffe_core::clock", "spiffe_core::proto", "tokio", "tonic"],
        "the machine decides purely; the driver acts",
    ),
    Rule::new(
        &["spiffe_core::workload_api"],
        &["spiffe_core::source", "spiffe_core::tls"],
        "sources and TLS stand on the client",
    ),
    Rule::new(
        &["spiffe_core::tls"],
        &["spiffe_core::workload_api"],
        "TLS takes any source",
    ),
    Rule::new(
        &[
            "spiffe_core::source",
            "spiffe_core::tls",
            "spiffe_core::workload_api",
        ],
        &["spiffe_core::broker", "spiffe_core::delegated"],
        "those who speak for others stand on sources and TLS",
    ),
    // The crates.
    Rule::new(
        &["spiffe_core"],
        &[
            "spiffe_hyper",
            "spiffe_issuer",
            "spiffe_tonic",
            "spiffe_tower",
        ],
        "everything stands on the core",
    ),
    Rule::new(
        &["spiffe_tower"],
        &[
            "hyper",
            "spiffe_hyper",
            "spiffe_issuer",
            "spiffe_tonic",
            "tokio",
            "tonic",
        ],
        "layers fit every stack",
    ),
    Rule::new(
        &["spiffe_hyper"],
        &["spiffe_issuer", "spiffe_tonic", "tonic"],
        "gRPC stands on HTTP",
    ),
    Rule::new(
        &["spiffe_tonic"],
        &["spiffe_issuer"],
        "the libraries do not know the programs",
    ),
    // spiffe-issuer: what both programs stand on.
    Rule::new(
        &["spiffe_issuer::domain"],
        &["spiffe_issuer", "hyper", "rustls", "tokio", "tonic"],
        "meaning stands on nothing but the core",
    ),
    Rule::new(
        &["spiffe_issuer::wire"],
        &[
            "spiffe_issuer::agent",
            "spiffe_issuer::attestation",
            "spiffe_issuer::cli",
            "spiffe_issuer::keys",
            "spiffe_issuer::server",
        ],
        "messages are translated, not acted on",
    ),
    Rule::new(
        &[
            "spiffe_issuer::config",
            "spiffe_issuer::plugin",
            "spiffe_issuer::runtime",
        ],
        &[
            "spiffe_issuer::agent",
            "spiffe_issuer::attestation",
            "spiffe_issuer::cli",
            "spiffe_issuer::keys",
            "spiffe_issuer::server",
            "spiffe_issuer::wire",
        ],
        "the ground does not know what is built on it",
    ),
    Rule::new(
        &["spiffe_issuer::keys"],
        &["spiffe_issuer::attestation"],
        "keys and attestation stand side by side",
    ),
    Rule::new(
        &["spiffe_issuer::attestation"],
        &["spiffe_issuer::keys"],
        "keys and attestation stand side by side",
    ),
    Rule::new(
        &["spiffe_issuer::keys", "spiffe_issuer::attestation"],
        &[
            "spiffe_issuer::agent",
            "spiffe_issuer::cli",
            "spiffe_issuer::server",
            "spiffe_issuer::wire",
        ],
        "both programs use them",
    ),
    // spiffe-issuer: the programs.
    Rule::new(
        &[
            "spiffe_issuer::server::bundles",
            "spiffe_issuer::server::ca",
            "spiffe_issuer::server::entries",
            "spiffe_issuer::server::entry_cache",
            "spiffe_issuer::server::federation",
            "spiffe_issuer::server::nodes",
            "spiffe_issuer::server::svids",
        ],
        &[
            "spiffe_issuer::server::api",
            "spiffe_issuer::server::listen",
            "spiffe_issuer::wire",
            "tonic",
        ],
        "nouns do not know how they are called",
    ),
    Rule::new(
        &["spiffe_issuer::server::store"],
        &["spiffe_issuer::server", "spiffe_issuer::wire", "tonic"],
        "the store keeps the domain and nothing else",
    ),
    Rule::new(
        &["spiffe_issuer::server::api"],
        &[
            "spiffe_issuer::keys",
            "spiffe_issuer::server::store",
            "spiffe_issuer::server::upstream",
        ],
        "handlers decode, call a noun, encode",
    ),
    Rule::new(
        &["spiffe_issuer::server"],
        &["spiffe_issuer::agent", "spiffe_issuer::cli"],
        "server and agent are blind to each other",
    ),
    Rule::new(
        &["spiffe_issuer::agent"],
        &["spiffe_issuer::cli", "spiffe_issuer::server"],
        "server and agent are blind to each other",
    ),
    Rule::new(
        &["spiffe_issuer::cli"],
        &[
            "spiffe_issuer::agent::cache",
            "spiffe_issuer::server::api",
            "spiffe_issuer::server::ca",
            "spiffe_issuer::server::entry_cache",
            "spiffe_issuer::server::store",
        ],
        "the command line speaks the API like everyone else",
    ),
    // Everywhere.
    Rule::new(
        &[
            "spiffe_core",
            "spiffe_hyper",
            "spiffe_issuer",
            "spiffe_tonic",
            "spiffe_tower",
        ],
        &["spiffe_core::proto", "spiffe_issuer::proto"],
        "messages stay at the edge",
    )
    .save(&[
        "spiffe_core::broker",
        "spiffe_core::delegated",
        "spiffe_core::proto",
        "spiffe_core::testing",
        "spiffe_core::workload_api",
        "spiffe_issuer::agent::delegated",
        "spiffe_issuer::agent::sds",
        "spiffe_issuer::agent::server_client",
        "spiffe_issuer::agent::workload_api",
        "spiffe_issuer::cli",
        "spiffe_issuer::proto",
        "spiffe_issuer::server::api",
        "spiffe_issuer::wire",
    ]),
    Rule::new(
        &[
            "spiffe_core",
            "spiffe_hyper",
            "spiffe_issuer",
            "spiffe_tonic",
            "spiffe_tower",
        ],
        &["spiffe_core::testing"],
        "what is shipped does not stand on test support",
    )
    .save(&["spiffe_core::testing"]),
];

/// `package` must not depend on `never`, or only behind a feature.
pub(super) struct PackageRule {
    pub(super) package: &'static str,
    pub(super) never: &'static [&'static str],
    pub(super) unless_optional: bool,
    pub(super) why: &'static str,
}

pub(super) const PACKAGE_RULES: &[PackageRule] = &[
    PackageRule {
        package: "spiffe-core",
        never: &[
            "spiffe-hyper",
            "spiffe-issuer",
            "spiffe-tonic",
            "spiffe-tower",
        ],
        unless_optional: false,
        why: "everything stands on the core",
    },
    PackageRule {
        package: "spiffe-core",
        never: &["hyper", "rustls", "tokio", "tonic"],
        unless_optional: true,
        why: "names and proofs build without any runtime",
    },
    PackageRule {
        package: "spiffe-tower",
        never: &[
            "hyper",
            "rustls",
            "spiffe-hyper",
            "spiffe-issuer",
            "spiffe-tonic",
            "tokio",
            "tonic",
        ],
        unless_optional: false,
        why: "layers fit every stack",
    },
    PackageRule {
        package: "spiffe-hyper",
        never: &["spiffe-issuer", "spiffe-tonic", "tonic"],
        unless_optional: false,
        why: "gRPC stands on HTTP",
    },
    PackageRule {
        package: "spiffe-tonic",
        never: &["spiffe-issuer"],
        unless_optional: false,
        why: "the libraries do not know the programs",
    },
];

/// Data types that share their name with a family, but not its weight.
pub(super) const LIGHT: &[&str] = &["rustls_pki_types", "rustls_webpki"];

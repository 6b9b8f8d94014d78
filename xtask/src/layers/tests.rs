//! The layers, held up to small houses made for it and to our own.

use std::fs;

use super::*;

/// A workspace of the crates that the rules speak of.
struct House(tempfile::TempDir);

impl House {
    fn new() -> Self {
        let house = Self(tempfile::tempdir().unwrap());
        house.write(
            "Cargo.toml",
            "[workspace]\nresolver = \"3\"\nmembers = [\"spiffe-*\"]\n",
        );
        for name in ["core", "tower", "hyper", "tonic", "issuer"] {
            house.manifest(name, "");
            house.write(&format!("spiffe-{name}/src/lib.rs"), "");
        }
        house
    }

    fn manifest(&self, name: &str, dependencies: &str) {
        let package = format!("[package]\nname = \"spiffe-{name}\"\nedition = \"2024\"\n");
        self.write(
            &format!("spiffe-{name}/Cargo.toml"),
            &(package + dependencies),
        );
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The breaches as they are told, one on each line.
    fn breaches(&self) -> Vec<String> {
        match check(self.0.path()) {
            Ok(()) => Vec::new(),
            Err(LayersError::Breached(Breaches(breaches))) => {
                breaches.iter().map(Breach::to_string).collect()
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[test]
fn our_own_layers_hold() {
    if let Err(error) = check(&crate::root()) {
        panic!("{error}");
    }
}

#[test]
fn what_may_be_named_is_no_breach() {
    let house = House::new();
    house.write("spiffe-core/src/lib.rs", "mod id;\npub use id::SpiffeId;");
    house.write(
        "spiffe-core/src/id/mod.rs",
        "mod path;\nuse self::path::Path;\nuse path::X;",
    );
    house.write(
        "spiffe-core/src/id/path.rs",
        "use super::error::IdError;\nuse crate::id::SpiffeId;",
    );
    house.write(
        "spiffe-core/src/tls/verifier.rs",
        "use crate::verify::x509; use rustls::X;",
    );
    house.write(
        "spiffe-core/src/verify/x509.rs",
        "use rustls_pki_types::UnixTime;",
    );
    house.write(
        "spiffe-core/src/snapshot.rs",
        "#[cfg(test)]\nmod tests { use crate::testing::T; use tokio::time; }",
    );
    house.write(
        "spiffe-core/src/proto.rs",
        "pub mod workload { include!(\"proto/gen/workload.rs\"); }",
    );
    house.write(
        "spiffe-core/src/proto/gen/workload.rs",
        "use tonic::codegen; use crate::tls::X;",
    );
    house.write(
        "spiffe-issuer/src/server/store/sql/entries.rs",
        "use super::super::EntryStore; use crate::domain::Entry;",
    );
    house.write(
        "spiffe-issuer/src/server/mod.rs",
        "use store::X; mod store; mod api;",
    );
    house.write(
        "spiffe-issuer/src/server/api/entry.rs",
        "use crate::{proto::server::entry, wire};",
    );
    house.write(
        "spiffe-issuer/tests/world.rs",
        "use spiffe_core::testing::TestClock;",
    );
    assert_eq!(house.breaches(), Vec::<String>::new());
}

#[test]
fn each_kind_of_breach_is_found_and_told() {
    for (file, text, breach) in [
        (
            "spiffe-core/src/verify/x509.rs",
            "//! Doc.\n\nuse crate::clock::Clock;",
            ":3: spiffe_core::verify must not name spiffe_core::clock::Clock: a judgement takes the time as an argument",
        ),
        (
            "spiffe-core/src/id/path.rs",
            "use super::super::x509::Certificate;",
            ":1: spiffe_core::id must not name spiffe_core::x509::Certificate: names stand on nothing",
        ),
        (
            "spiffe-core/src/authorizer.rs",
            "fn f() {\n tokio_stream::iter([]);\n}",
            ":2: spiffe_core::authorizer must not name tokio_stream::iter: data and judgement build without any runtime",
        ),
        (
            "spiffe-tower/src/peer.rs",
            "use tokio::net;",
            ":1: spiffe_tower must not name tokio::net: layers fit every stack",
        ),
        (
            "spiffe-hyper/src/server.rs",
            "use http::X;\n#[tonic::async_trait]\nimpl X {}",
            ":2: spiffe_hyper must not name tonic::async_trait: gRPC stands on HTTP",
        ),
        (
            "spiffe-issuer/src/domain/entry.rs",
            "use crate::wire::entry;",
            ":1: spiffe_issuer::domain must not name spiffe_issuer::wire::entry: meaning stands on nothing but the core",
        ),
        (
            "spiffe-issuer/src/server/store/sql/nodes.rs",
            "use crate::server::nodes::Nodes;",
            ":1: spiffe_issuer::server::store must not name spiffe_issuer::server::nodes::Nodes: the store keeps the domain and nothing else",
        ),
        (
            "spiffe-issuer/src/agent/sync.rs",
            "use crate::{\n  domain::Entry,\n  server::{entries::Entries},\n};",
            ":3: spiffe_issuer::agent must not name spiffe_issuer::server::entries::Entries: server and agent are blind to each other",
        ),
        (
            "spiffe-issuer/src/agent/cache/mod.rs",
            "use spiffe_core::proto::workload::X509svid;",
            ":1: spiffe_issuer must not name spiffe_core::proto::workload::X509svid: messages stay at the edge",
        ),
        (
            "spiffe-issuer/src/keys/disk.rs",
            "use spiffe_core::testing::TestClock;",
            ":1: spiffe_issuer must not name spiffe_core::testing::TestClock: what is shipped does not stand on test support",
        ),
        (
            "spiffe-issuer/src/wire/mod.rs",
            "include!(\"../proto/gen/spire.api.types.rs\");",
            ":1: spiffe-issuer/src/wire/mod.rs must not name include!: only proto.rs includes generated code",
        ),
    ] {
        let house = House::new();
        house.write(file, text);
        assert_eq!(house.breaches(), [format!("{file}{breach}")]);
    }
}

#[test]
fn a_facade_does_not_hide_where_a_thing_lives() {
    let house = House::new();
    house.write("spiffe-core/src/lib.rs", "mod tls;\npub use tls::Verifier;");
    house.write(
        "spiffe-core/src/tls/mod.rs",
        "mod verifier;\npub use verifier::Verifier;",
    );
    house.write("spiffe-core/src/tls/verifier.rs", "pub struct Verifier;");
    house.write("spiffe-core/src/snapshot.rs", "use crate::Verifier;");
    let breaches = house.breaches();
    assert_eq!(breaches.len(), 1, "{breaches:?}");
    assert!(
        breaches[0].contains("must not name spiffe_core::tls::verifier::Verifier"),
        "{breaches:?}"
    );
}

#[test]
fn a_package_must_not_depend_on_what_its_code_must_not_name() {
    for (name, dependencies, breach) in [
        (
            "tower",
            "[dependencies]\ntokio = \"1\"\n",
            Some("spiffe-tower must not name tokio: layers fit every stack"),
        ),
        (
            "tower",
            "[dependencies]\nhyper-util = \"0.1\"\n",
            Some("spiffe-tower must not name hyper-util: layers fit every stack"),
        ),
        ("tower", "[dev-dependencies]\ntokio = \"1\"\n", None),
        (
            "core",
            "[dependencies]\ntonic = { version = \"0.14\", optional = true }\n",
            None,
        ),
        (
            "core",
            "[dependencies]\ntonic = \"0.14\"\n",
            Some("spiffe-core must not name tonic: names and proofs build without any runtime"),
        ),
        ("core", "[dependencies]\nrustls-pki-types = \"1\"\n", None),
        (
            "tonic",
            "[dependencies]\nspiffe-issuer = \"0.1\"\n",
            Some(
                "spiffe-tonic must not name spiffe-issuer: the libraries do not know the programs",
            ),
        ),
    ] {
        let house = House::new();
        house.manifest(name, dependencies);
        let expected: Vec<_> = breach
            .map(|breach| format!("spiffe-{name}/Cargo.toml:1: {breach}"))
            .into_iter()
            .collect();
        assert_eq!(house.breaches(), expected, "{dependencies}");
    }
}

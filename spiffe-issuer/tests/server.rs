//! A whole server, as operators and peers meet it: its configuration file, its sockets.

#![expect(clippy::unwrap_used, reason = "a test")]

mod house;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use house::House;
use spiffe_core::clock::SystemClock;
use spiffe_core::with_causes;
use spiffe_issuer::proto::server::agent::CreateJoinTokenRequest;
use spiffe_issuer::proto::server::agent::agent_client::AgentClient;
use spiffe_issuer::proto::server::bundle::GetBundleRequest;
use spiffe_issuer::proto::server::bundle::bundle_client::BundleClient;
use spiffe_issuer::server::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn an_operator_is_served_on_the_socket_across_restarts() {
    let house = House::new();
    let mut bundles = Vec::new();
    for _ in 0..2 {
        let running = house.run().await;
        let channel = house.operator().await;
        let bundle = BundleClient::new(channel.clone())
            .get_bundle(GetBundleRequest::default())
            .await
            .unwrap()
            .into_inner();
        assert_eq!(bundle.trust_domain, "example.org");
        let request = CreateJoinTokenRequest {
            ttl: 600,
            ..Default::default()
        };
        let mut agents = AgentClient::new(channel);
        let token = agents
            .create_join_token(request)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(token.value.len(), 36);
        bundles.push(bundle.x509_authorities);
        drop(agents);
        let socket = house.path("private/api.sock");
        let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o770);
        running.stop().await;
        assert!(!socket.exists());
        // All that it knows, for whoever makes a backup.
        let files = std::fs::read_dir(house.path("data")).unwrap();
        let mut files: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        files.sort();
        assert_eq!(files, ["keys.json", "store.sqlite3"]);
    }
    assert_eq!(bundles[0], bundles[1], "the authority outlives the process");
}

#[tokio::test]
async fn a_port_in_use_is_named_with_what_to_change() {
    let house = House::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = house.config("");
    config.listen = taken.local_addr().unwrap();
    let refused = Server::start(config, Arc::new(SystemClock))
        .await
        .unwrap_err();
    let told = with_causes(&refused);
    let address = taken.local_addr().unwrap();
    let wanted =
        format!("{address} is in use by another process; stop it, or change `bind_port`: ");
    assert!(told.starts_with(&wanted), "{told}");
    assert!(!house.path("data/keys.json").exists(), "no key was made");
}

#[tokio::test]
async fn a_socket_in_use_is_named_with_what_to_change() {
    let house = House::new();
    let running = house.run().await;
    let told = with_causes(&house.start().await.unwrap_err());
    let socket = house.path("private/api.sock");
    let wanted = format!(
        "cannot listen on the socket; see `socket_path`: {}: another process listens on this \
         socket; stop it, or choose another path",
        socket.display()
    );
    assert_eq!(told, wanted);
    running.stop().await;
}

#[tokio::test]
async fn a_key_file_that_others_can_read_is_refused() {
    let house = House::new();
    house.run().await.stop().await;
    let keys = house.path("data/keys.json");
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o644)).unwrap();
    let told = with_causes(&house.start().await.unwrap_err());
    assert!(told.contains(&keys.display().to_string()), "{told}");
    assert!(told.contains("chmod 600"), "{told}");

    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&keys, "no keys").unwrap();
    let told = with_causes(&house.start().await.unwrap_err());
    assert!(told.contains(&keys.display().to_string()), "{told}");
    assert!(told.contains("not a key file"), "{told}");
}

#[tokio::test]
async fn a_store_of_another_trust_domain_is_refused() {
    use spiffe_issuer::proto::server::entry::BatchCreateEntryRequest;
    use spiffe_issuer::proto::server::entry::entry_client::EntryClient;
    use spiffe_issuer::proto::types;

    let house = House::new();
    let running = house.run().await;
    let id = |path: &str| {
        Some(types::Spiffeid {
            trust_domain: "example.org".into(),
            path: path.into(),
        })
    };
    let entry = types::Entry {
        spiffe_id: id("/a"),
        parent_id: id("/b"),
        selectors: vec![types::Selector {
            r#type: "unix".into(),
            value: "uid:0".into(),
        }],
        ..Default::default()
    };
    let request = BatchCreateEntryRequest {
        entries: vec![entry],
        output_mask: None,
    };
    let mut entries = EntryClient::new(house.operator().await);
    entries.batch_create_entry(request).await.unwrap();
    drop(entries);
    running.stop().await;

    let mut config = house.config("");
    config.trust_domain = "other.test".parse().unwrap();
    let refused = Server::start(config, Arc::new(SystemClock))
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the store has entries of another trust domain, such as spiffe://example.org/a; \
         `trust_domain` is `other.test`"
    );
}

/// The beginning of every HTTP/2 connection, with empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A frame of this type and with these flags on this stream.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Sends these frames over and over, and tells whether the server ends the connection before it has
/// taken so many of them.
async fn is_cut_off(house: &House, frames: impl Fn(u32) -> Vec<u8>, most: u32) -> bool {
    let (mut from, mut to) = house.raw().await.into_split();
    let reading = async {
        let mut buffer = [0; 4096];
        while !matches!(from.read(&mut buffer).await, Ok(0) | Err(_)) {}
    };
    let writing = async {
        to.write_all(PREFACE).await.unwrap();
        for n in 0..most {
            if to.write_all(&frames(n)).await.is_err() {
                return;
            }
        }
        std::future::pending().await
    };
    let ended = async {
        tokio::select! {
            () = reading => {}
            () = writing => {}
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended)
        .await
        .is_ok()
}

/// `:method POST`, `:scheme http`, `:path /`, in HPACK's static table.
const HEADERS: &[u8] = &[0x83, 0x86, 0x84];

/// Opens the n-th stream of a connection and takes it back at once.
fn open_and_reset(n: u32) -> Vec<u8> {
    let (stream, cancel) = (2 * n + 1, [0, 0, 0, 8]);
    [frame(1, 4, stream, HEADERS), frame(3, 0, stream, &cancel)].concat()
}

#[tokio::test]
async fn h2_rapid_reset() {
    let house = House::new();
    let running = house.run().await;
    assert!(is_cut_off(&house, open_and_reset, 100_000).await);

    // A few of them are nothing special: the connection still answers.
    let mut stream = house.raw().await;
    let few = (0..5).flat_map(open_and_reset);
    let ping = frame(6, 0, 0, b"are you?");
    let sent: Vec<_> = PREFACE.iter().copied().chain(few).chain(ping).collect();
    stream.write_all(&sent).await.unwrap();
    let pong = frame(6, 1, 0, b"are you?");
    let mut heard = Vec::new();
    while !heard.windows(pong.len()).any(|bytes| bytes == pong) {
        assert_ne!(stream.read_buf(&mut heard).await.unwrap(), 0, "cut off");
    }
    drop(stream);
    running.stop().await;
}

#[tokio::test]
async fn h2_continuation_flood() {
    let house = House::new();
    let running = house.run().await;
    // Headers that never end: each frame adds a literal field, and none is the last.
    let field = [&[0x40, 1, b'a', 127, 129, 126][..], &[b'x'; 16_381]].concat();
    let flood = |n: u32| match n {
        0 => frame(1, 0, 1, HEADERS),
        _ => frame(9, 0, 1, &field[..16_000]),
    };
    assert!(is_cut_off(&house, flood, 10_000).await);
    running.stop().await;
}

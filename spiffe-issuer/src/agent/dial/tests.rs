use spiffe_core::authorizer::anyone;
use spiffe_core::clock::SystemClock;
use spiffe_core::testing::TestAuthority;
use spiffe_core::tls::{Arrival, ServerTls};
use spiffe_core::{BundleSet, IdentitySnapshot};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::agent::server_client::ServerClient;

const SERVER: &str = "/spire/server";

/// Whom one that listens heard from: who presented a certificate, by its ID.
type Heard = tokio::sync::mpsc::Receiver<Option<SpiffeId>>;

/// Listens with the identity of this path, and hangs up after the handshake.
async fn listening(authority: &TestAuthority, path: &str) -> (ServerAddress, Heard, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = ServerTls::new(authority.source(path), anyone())
        .alpn([&b"h2"[..]])
        .client_auth_optional()
        .acceptor();
    let (tell, heard) = tokio::sync::mpsc::channel(10);
    let mut task = JoinSet::new();
    task.spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            let Ok(arrival) = acceptor.accept_any(io).await else {
                continue;
            };
            let (who, mut io): (_, Box<dyn AsyncRead + Unpin + Send>) = match arrival {
                Arrival::Peer(io) => (Some(io.peer().id().clone()), Box::new(io)),
                Arrival::Anonymous(io) => (None, Box::new(io)),
            };
            // The client says its preface once it believes us.
            if io.read_exact(&mut [0; 24]).await.is_ok() {
                tell.send(who).await.unwrap();
            }
        }
    });
    (ServerAddress::new("127.0.0.1", port), heard, task)
}

fn id(authority: &TestAuthority, path: &str) -> SpiffeId {
    SpiffeId::new(authority.trust_domain(), path).unwrap()
}

fn verified(address: &ServerAddress, authority: &TestAuthority, source: SnapshotCell) -> Verified {
    let server = server_id(authority.trust_domain()).unwrap();
    Verified::new(
        address.clone(),
        server,
        Arc::new(source),
        Arc::new(SystemClock),
    )
}

/// Makes a call, which comes to nothing, for the sake of the handshake.
async fn call(dialer: impl Dialer) -> String {
    let client = ServerClient::anonymous(Box::new(dialer));
    let error = client.post_status("").await.unwrap_err();
    error.to_string()
}

#[tokio::test]
async fn the_server_is_known_by_its_id_and_sees_ours() {
    let authority = TestAuthority::new("td");
    let (address, mut heard, _task) = listening(&authority, SERVER).await;
    let bundle = BundleSet::from(authority.bundle());
    let agent = authority.svid("/spire/agent/a");

    let identity = IdentitySnapshot::new(vec![agent], bundle.clone());
    call(verified(&address, &authority, SnapshotCell::new(identity))).await;
    let heard_from = heard.recv().await.unwrap();
    assert_eq!(heard_from, Some(id(&authority, "/spire/agent/a")));

    // Before it is attested, an agent has a bundle only.
    let nobody = IdentitySnapshot::new(vec![], bundle);
    call(verified(&address, &authority, SnapshotCell::new(nobody))).await;
    assert_eq!(heard.recv().await.unwrap(), None);
}

#[tokio::test]
async fn nobody_else_is_taken_for_the_server() {
    let authority = TestAuthority::new("td");
    let bundles = |authority: &TestAuthority| {
        let bundle = BundleSet::from(authority.bundle());
        SnapshotCell::new(IdentitySnapshot::new(vec![], bundle))
    };
    let (workload, mut heard, _task) = listening(&authority, "/workload").await;
    call(verified(&workload, &authority, bundles(&authority))).await;
    assert!(heard.try_recv().is_err());

    let impostor = TestAuthority::new("td");
    let (address, mut heard, _task) = listening(&impostor, SERVER).await;
    call(verified(&address, &authority, bundles(&authority))).await;
    assert!(heard.try_recv().is_err());
    call(verified(
        &address,
        &authority,
        SnapshotCell::new(Default::default()),
    ))
    .await;
    assert!(
        heard.try_recv().is_err(),
        "without a bundle nobody is believed"
    );
}

#[tokio::test]
async fn the_first_server_may_be_anybody_who_calls_itself_so() {
    let authority = TestAuthority::new("td");
    let server = server_id(authority.trust_domain()).unwrap();
    let (address, mut heard, _task) = listening(&authority, SERVER).await;
    call(FirstServer::new(address, server.clone()).unwrap()).await;
    assert_eq!(heard.recv().await.unwrap(), None);

    let (address, mut heard, _task) = listening(&authority, "/workload").await;
    call(FirstServer::new(address, server).unwrap()).await;
    assert!(heard.try_recv().is_err());
}

#[tokio::test]
async fn a_connection_that_fails_says_why() {
    let authority = TestAuthority::new("td");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = ServerAddress::new("127.0.0.1", listener.local_addr().unwrap().port());
    drop(listener);
    let told = call(verified(
        &address,
        &authority,
        SnapshotCell::new(Default::default()),
    ))
    .await;
    assert!(told.contains("refused"), "{told}");

    // Something that speaks no TLS.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = ServerAddress::new("127.0.0.1", listener.local_addr().unwrap().port());
    let mut task = JoinSet::new();
    task.spawn(async move {
        let (mut io, _) = listener.accept().await.unwrap();
        io.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
    });
    let told = call(verified(
        &address,
        &authority,
        SnapshotCell::new(Default::default()),
    ))
    .await;
    assert!(told.starts_with("Unavailable: "), "{told}");
}

//! Sessions that are resumed: where that is asked for, while nothing has changed, and never past a
//! verdict.
#![expect(clippy::unwrap_used, reason = "a test")]

mod judged;
mod sessions;

use std::sync::Arc;

use spiffe_core::authorizer::anyone;
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::TestAuthority;
use spiffe_core::tls::{Acceptor, Connector, HandshakeError, PeerStream, Resumption, SourceExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::RwLock;

type Stream = PeerStream<DuplexStream>;

/// Two who know each other, and the ends that they talk over.
struct Two {
    ca: TestAuthority,
    server: Arc<SnapshotCell>,
    client: Arc<SnapshotCell>,
    acceptor: Acceptor,
    connector: Connector,
}

impl Two {
    fn new() -> Self {
        let ca = TestAuthority::new("example.org");
        let (server, client) = (ca.source("/s"), ca.source("/c"));
        let bound = Resumption::Bound;
        Self {
            acceptor: server.server(anyone()).resumption(bound).acceptor(),
            connector: client.client(anyone()).resumption(bound).connector(),
            ca,
            server,
            client,
        }
    }

    async fn meet(&self) -> (Stream, Stream) {
        let (accepted, connected) = meet(&self.acceptor, &self.connector).await;
        (accepted.unwrap(), connected.unwrap())
    }

    /// They have met, and may resume.
    async fn acquainted() -> Self {
        let two = Self::new();
        assert!(!two.meet().await.0.is_resumed());
        two
    }
}

/// Policies count for the whole process: a test that changes one goes alone.
static POLICY: RwLock<()> = RwLock::const_new(());

type Outcome = Result<Stream, HandshakeError>;

/// A handshake, and a byte after it: tickets come with what the server sends.
async fn meet(acceptor: &Acceptor, connector: &Connector) -> (Outcome, Outcome) {
    let (ours, theirs) = duplex(64 * 1024);
    let accept = async {
        let mut stream = acceptor.accept(ours).await?;
        // It may be over by now; who looks at the stream sees that.
        let _ = stream.write_all(b"!").await.and(stream.flush().await);
        Ok(stream)
    };
    let connect = async {
        let mut stream = connector.connect_to("s:443", theirs).await?;
        let _ = stream.read_u8().await;
        Ok(stream)
    };
    tokio::join!(accept, connect)
}

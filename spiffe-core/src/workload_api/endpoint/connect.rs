//! How each kind of address is connected to.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{Address, Endpoint};

/// What carries the connection.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send>>;

/// A way of one's own to connect.
#[derive(Clone)]
pub(super) struct Connector {
    name: Arc<str>,
    connect: Arc<dyn Fn() -> Connecting + Send + Sync>,
}

impl Connector {
    pub(super) fn new<F, IO>(name: &str, connect: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<IO>> + Send + 'static,
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let boxed = move || -> Connecting {
            let connecting = connect();
            Box::pin(async move { Ok(Box::new(connecting.await?) as Box<dyn Io>) })
        };
        Self {
            name: name.into(),
            connect: Arc::new(boxed),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connector").field(&self.name).finish()
    }
}

impl Endpoint {
    /// Connects.
    pub(crate) async fn connect(&self) -> io::Result<Box<dyn Io>> {
        let connecting = async {
            let io: Box<dyn Io> = match &self.0 {
                Address::Custom(connector) => (connector.connect)().await?,
                #[cfg(windows)]
                Address::Pipe(name) => Box::new(pipe(name).await?),
                Address::Tcp(address) => Box::new(TcpStream::connect(address).await?),
                #[cfg(unix)]
                Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
            };
            Ok(io)
        };
        timeout(CONNECT_TIMEOUT, connecting).await?
    }
}

/// A pipe has as many ends as its server made; while all are taken, one waits for the next.
#[cfg(windows)]
async fn pipe(name: &str) -> io::Result<tokio::net::windows::named_pipe::NamedPipeClient> {
    const PIPE_BUSY: i32 = 231;
    loop {
        match tokio::net::windows::named_pipe::ClientOptions::new().open(name) {
            Err(error) if error.raw_os_error() == Some(PIPE_BUSY) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            opened => return opened,
        }
    }
}

/// A Unix socket answers at once or not at all; others can hang.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

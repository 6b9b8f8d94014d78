//! From a URI to a channel whose server is verified.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::uri::{InvalidUri, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use spiffe_core::tls::ClientTls;
use spiffe_hyper::{ConnectError, Connector};
use tonic::body::Body;
use tonic::transport::{self, Endpoint};
use tower_service::Service;

use crate::call::{self, CallError};
use crate::lanes::{KEEP_ALIVE, Lanes};

/// Connects to a server: `https://ledger:443`, by a name or an IP address.
///
/// # Errors
///
/// Where the URI is none of this kind, nobody answers, or who answers is not the one.
pub async fn channel(uri: &str, tls: ClientTls) -> Result<Channel, ChannelError> {
    let channel = channel_lazy(uri, tls)?;
    channel
        .lanes
        .connect()
        .await
        .map_err(ChannelError::Connect)?;
    Ok(channel)
}

/// The same, but connects at the first call.
///
/// # Errors
///
/// Where the URI is none of this kind.
pub fn channel_lazy(uri: &str, tls: ClientTls) -> Result<Channel, ChannelError> {
    let origin = origin(uri)?;
    Ok(Channel {
        lanes: Arc::new(Lanes::new(Connector::http2(tls), origin.clone())),
        origin,
    })
}

/// tonic's own channel, which connects at the first call, for code that names that type.
///
/// It connects again by itself, each time with the identity of the moment; but it learns that a
/// connection ends only when that has ended, and a call that is on its way then fails.
///
/// # Errors
///
/// Where the URI is none of this kind.
pub fn stock_channel(uri: &str, tls: ClientTls) -> Result<transport::Channel, ChannelError> {
    Ok(endpoint(origin(uri)?)?.connect_with_connector_lazy(Connector::http2(tls)))
}

/// A channel to one server, for any client that tonic generates. Cheap to clone; all clones share
/// their connection.
///
/// When our own identity is renewed, when the server's certificate is about to end, or when the
/// server says that it goes away, the next connection is made while calls go on over the old one.
/// Then new calls take the new one, and those that have begun come to their end on the old one. No
/// call fails for it. A server that is trusted no more gets no call more, and those that go on end.
///
/// Responses carry the [`spiffe_tower::Connection`] that they came over in their extensions.
#[derive(Clone)]
pub struct Channel {
    lanes: Arc<Lanes>,
    origin: Uri,
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = CallError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, CallError>> + Send>>;

    /// Always: a call waits for its connection by itself.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match call::addressed(request, &self.origin) {
            Ok(request) => {
                let lanes = Arc::clone(&self.lanes);
                Box::pin(call::in_time(request, async move |request| {
                    lanes.send(request).await
                }))
            }
            Err(error) => Box::pin(ready(Err(error))),
        }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

fn origin(uri: &str) -> Result<Uri, ChannelError> {
    let uri: Uri = uri.parse()?;
    if uri.scheme() != Some(&Scheme::HTTPS) {
        return Err(ChannelError::NotHttps(uri));
    }
    if uri.path() != "/" || uri.query().is_some() {
        return Err(ChannelError::Path(uri));
    }
    Ok(uri)
}

fn endpoint(uri: Uri) -> Result<Endpoint, ChannelError> {
    // Wherever in a build a TLS feature of tonic is on, an https endpoint insists on tonic's own
    // TLS. So the endpoint is http, the connector does TLS, and the server is told https.
    let mut plain = uri.clone().into_parts();
    plain.scheme = Some(Scheme::HTTP);
    plain.path_and_query = Some(PathAndQuery::from_static("/"));
    let plain = Uri::from_parts(plain).map_err(|_| ChannelError::NotHttps(uri.clone()))?;
    Ok(Endpoint::from(plain)
        .origin(uri)
        .http2_keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1))
}

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// There is no connection, for this reason.
    #[error(transparent)]
    Connect(Arc<ConnectError>),
    /// It names no server to connect to securely.
    #[error("{0} is no https URI; it should look like https://host:port")]
    NotHttps(Uri),
    /// It names more than a server.
    #[error("{0} has a path or a query; it should look like https://host:port")]
    Path(Uri),
    /// It is no URI at all.
    #[error("this is no URI; it should look like https://host:port")]
    Uri(#[from] InvalidUri),
}

#[cfg(test)]
mod tests {
    use spiffe_core::SourceExt;
    use spiffe_core::authorizer::anyone;
    use spiffe_core::testing::TestAuthority;
    use spiffe_core::with_causes;

    use super::*;

    #[test]
    fn a_server_is_found_by_name_or_address() {
        for (uri, found) in [
            ("https://ledger", "http://ledger/"),
            ("https://ledger:8443", "http://ledger:8443/"),
            ("https://127.0.0.1:8443/", "http://127.0.0.1:8443/"),
            ("https://[::1]:8443", "http://[::1]:8443/"),
        ] {
            assert_eq!(
                endpoint(origin(uri).unwrap()).unwrap().uri().to_string(),
                found,
                "{uri}"
            );
        }
    }

    #[tokio::test]
    async fn where_there_is_no_channel_the_error_itself_says_why() {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = nobody.local_addr().unwrap();
        drop(nobody);
        let tls = TestAuthority::new("a.test").source("/web").client(anyone());
        let error = channel(&format!("https://{address}"), tls)
            .await
            .unwrap_err();
        let told = format!("cannot connect to {address}");
        assert_eq!(error.to_string(), told);
        assert!(with_causes(&error).starts_with(&format!("{told}: ")));
    }

    #[test]
    fn refuses_what_names_no_server_and_says_what_would() {
        for (uri, begins) in [
            ("http://ledger:80", "http://ledger:80/ is no https URI"),
            ("ledger:443", "ledger:443 is no https URI"),
            ("/ledger", "/ledger is no https URI"),
            ("https://ledger/v1", "https://ledger/v1 has a path"),
            ("https://ledger/?v=1", "https://ledger/?v=1 has a path"),
            ("https://", "this is no URI"),
            ("", "this is no URI"),
        ] {
            let error = origin(uri).unwrap_err().to_string();
            assert!(error.starts_with(begins), "{uri}: {error}");
            assert!(error.ends_with("it should look like https://host:port"));
        }
    }
}

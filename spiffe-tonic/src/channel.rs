//! From a URI to a tonic channel whose server is verified.

use std::time::Duration;

use http::Uri;
use http::uri::{InvalidUri, PathAndQuery, Scheme};
use spiffe_core::tls::ClientTls;
use spiffe_hyper::Connector;
use tonic::transport::{Channel, Endpoint};

/// Connects to a server: `https://ledger:443`, by a name or an IP address.
///
/// The channel connects again by itself, each time with the identity and the trust that the source
/// holds by then.
///
/// # Errors
///
/// Where the URI is none of this kind, nobody answers, or who answers is not the one.
pub async fn channel(uri: &str, tls: ClientTls) -> Result<Channel, ChannelError> {
    let connector = Connector::http2(tls);
    Ok(endpoint(uri)?.connect_with_connector(connector).await?)
}

/// The same, but connects at the first call.
///
/// # Errors
///
/// Where the URI is none of this kind.
pub fn channel_lazy(uri: &str, tls: ClientTls) -> Result<Channel, ChannelError> {
    let connector = Connector::http2(tls);
    Ok(endpoint(uri)?.connect_with_connector_lazy(connector))
}

fn endpoint(uri: &str) -> Result<Endpoint, ChannelError> {
    let uri: Uri = uri.parse()?;
    if uri.scheme() != Some(&Scheme::HTTPS) {
        return Err(ChannelError::NotHttps(uri));
    }
    if uri.path() != "/" || uri.query().is_some() {
        return Err(ChannelError::Path(uri));
    }
    // Wherever in a build a TLS feature of tonic is on, an https endpoint insists on tonic's own
    // TLS. So the endpoint is http, the connector does TLS, and the server is told https.
    let mut plain = uri.clone().into_parts();
    plain.scheme = Some(Scheme::HTTP);
    plain.path_and_query = Some(PathAndQuery::from_static("/"));
    let plain = Uri::from_parts(plain).map_err(|_| ChannelError::NotHttps(uri.clone()))?;
    Ok(Endpoint::from(plain)
        .origin(uri)
        .http2_keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_TIMEOUT))
}

/// After how much silence during a call the server is asked whether it is still there. Servers in
/// Go, where nothing else is said, end connections on which that is asked more often than every
/// five minutes.
const PING_AFTER: Duration = Duration::from_secs(6 * 60);
/// How long it may take to answer that.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// There is no connection; the sources tell why.
    #[error("cannot connect")]
    Connect(#[from] tonic::transport::Error),
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
    use hyper_util::rt::TokioIo;
    use tokio::io::{self, AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::{Instant, timeout};
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_quiet_call_is_asked_after_but_no_more_often_than_servers_bear() {
        let (near, far) = duplex(64 * 1024);
        let mut near = Some(TokioIo::new(near));
        let dial = tower::service_fn(move |_: Uri| {
            std::future::ready(near.take().ok_or("one connection must do"))
        });
        let endpoint = endpoint("https://ledger").unwrap();
        let channel = endpoint.connect_with_connector_lazy(dial);
        let mut client = HealthClient::new(channel);
        let mut pings = Vec::new();
        let hour = Duration::from_secs(3600);
        tokio::select! {
            answer = client.watch(HealthCheckRequest::default()) => panic!("{answer:?}"),
            heard = timeout(hour, note_pings(far, &mut pings)) => assert!(heard.is_err(), "{heard:?}"),
        }
        assert!(pings.len() > 5, "{pings:?}");
        // What gRPC servers in Go take for abuse where nothing else is said.
        let bearable = Duration::from_secs(5 * 60);
        assert!(
            pings.is_sorted_by(|one, next| *next - *one >= bearable),
            "{pings:?}"
        );
    }

    /// A server that never answers a call, and notes when it is asked whether it is still there.
    async fn note_pings(mut io: DuplexStream, pings: &mut Vec<Instant>) -> io::Result<()> {
        const SETTINGS: u8 = 4;
        const PING: u8 = 6;
        const ACK: u8 = 1;
        io.read_exact(&mut [0; 24]).await?;
        io.write_all(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).await?;
        loop {
            let mut head = [0; 9];
            io.read_exact(&mut head).await?;
            let mut body = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            io.read_exact(&mut body).await?;
            match head {
                [_, _, _, SETTINGS, 0, ..] => {
                    io.write_all(&[0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0]).await?;
                }
                [_, _, _, PING, 0, ..] => {
                    pings.push(Instant::now());
                    io.write_all(&[0, 0, 8, PING, ACK, 0, 0, 0, 0]).await?;
                    io.write_all(&body).await?;
                }
                _ => {}
            }
        }
    }

    #[test]
    fn a_server_is_found_by_name_or_address() {
        for (uri, found) in [
            ("https://ledger", "http://ledger/"),
            ("https://ledger:8443", "http://ledger:8443/"),
            ("https://127.0.0.1:8443/", "http://127.0.0.1:8443/"),
            ("https://[::1]:8443", "http://[::1]:8443/"),
        ] {
            assert_eq!(endpoint(uri).unwrap().uri().to_string(), found, "{uri}");
        }
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
            let error = endpoint(uri).unwrap_err().to_string();
            assert!(error.starts_with(begins), "{uri}: {error}");
            assert!(error.ends_with("it should look like https://host:port"));
        }
    }
}

//! Where the Broker API is (SPIFFE Broker Endpoint section 4).

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::str::FromStr;

use tokio::net::TcpStream;

use crate::tls::{ClientTls, PeerStream};
use crate::workload_api::{Endpoint, EndpointError, Io};

/// The environment variable that tells where the Broker API is.
pub const BROKER_SOCKET: &str = "SPIFFE_BROKER_SOCKET";

/// The address of a Broker API: `unix:///path` or `tcp://host:port`, where the host may be a name.
/// Either is spoken to by mutual TLS.
#[derive(Debug, Clone)]
pub struct BrokerEndpoint(Address);

#[derive(Debug, Clone)]
enum Address {
    Known(Endpoint),
    /// A DNS name with its port.
    Named(String),
}

impl BrokerEndpoint {
    /// The endpoint that the environment names in [`BROKER_SOCKET`].
    ///
    /// # Errors
    ///
    /// Where it names none, or the text is no endpoint.
    #[expect(
        clippy::disallowed_methods,
        reason = "the standard has the environment say where the API is"
    )]
    pub fn from_env() -> Result<Self, BrokerEndpointError> {
        Self::from_variable(std::env::var_os(BROKER_SOCKET))
    }

    fn from_variable(value: Option<OsString>) -> Result<Self, BrokerEndpointError> {
        let value = value.ok_or(BrokerEndpointError::NotSet)?;
        let text = value.to_str().ok_or(EndpointError::NotUtf8.into());
        text.and_then(str::parse)
            .map_err(|why| BrokerEndpointError::Variable {
                value,
                why: Box::new(why),
            })
    }

    /// Whether whoever listens there is on this machine, so that both mean the same by the number of a
    /// process.
    pub(super) fn is_here(&self) -> bool {
        match &self.0 {
            Address::Known(endpoint) => endpoint.ip().is_none_or(|ip| ip.is_loopback()),
            Address::Named(authority) => authority.starts_with("localhost:"),
        }
    }

    /// The way there: by mutual TLS, with whatever identity there is at that moment.
    pub(super) fn secured(self, tls: ClientTls) -> Endpoint {
        // gRPC servers want to be told that HTTP/2 follows.
        let connector = tls.alpn([b"h2".as_slice()]).connector();
        let name = self.to_string();
        Endpoint::custom(&name, move || {
            let (address, connector) = (self.0.clone(), connector.clone());
            async move {
                let io = address.connect().await?;
                let stream: Result<PeerStream<_>, _> = connector.connect(io).await;
                stream.map_err(io::Error::other)
            }
        })
    }
}

impl Address {
    async fn connect(&self) -> io::Result<Box<dyn Io>> {
        match self {
            Self::Known(endpoint) => endpoint.connect().await,
            Self::Named(authority) => Ok(Box::new(TcpStream::connect(authority).await?)),
        }
    }
}

/// One of a [custom](Endpoint::custom) kind counts as one on this machine, so that processes may be named
/// to it: whoever makes the connections knows where they lead.
impl From<Endpoint> for BrokerEndpoint {
    fn from(endpoint: Endpoint) -> Self {
        Self(Address::Known(endpoint))
    }
}

impl FromStr for BrokerEndpoint {
    type Err = BrokerEndpointError;

    fn from_str(text: &str) -> Result<Self, BrokerEndpointError> {
        match text.parse::<Endpoint>() {
            Ok(endpoint) => Ok(endpoint.into()),
            Err(EndpointError::HostName) => named(text),
            Err(other) => Err(other.into()),
        }
    }
}

/// A `tcp` address whose host is no IP address.
fn named(text: &str) -> Result<BrokerEndpoint, BrokerEndpointError> {
    let authority = text.split_once("//").map_or("", |(_, authority)| authority);
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
    let is_name = |label: &str| {
        let name = label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        name && !label.is_empty()
    };
    if !host.split('.').all(is_name) {
        return Err(BrokerEndpointError::HostName);
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(BrokerEndpoint(Address::Named(format!("{host}:{port}")))),
        _ => Err(EndpointError::NoPort.into()),
    }
}

impl fmt::Display for BrokerEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Address::Known(endpoint) => endpoint.fmt(f),
            Address::Named(authority) => write!(f, "tcp://{authority}"),
        }
    }
}

/// Why a text is no address of a Broker API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerEndpointError {
    /// It is no address of either scheme.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The host of a `tcp` address is neither an IP address nor a name.
    #[error(
        "the host of a tcp address must be an IP address or a DNS name, as in tcp://agent:8443"
    )]
    HostName,
    /// The environment variable is missing.
    #[error(
        "{BROKER_SOCKET} is not set: set it to where the agent listens for brokers, as in \
         unix:///run/spire/broker.sock"
    )]
    NotSet,
    /// The environment variable holds no endpoint.
    // Whoever set it reads one line, so the reason stands in that and is no `source`.
    #[error("{BROKER_SOCKET} is set to {value:?}, and {why}")]
    Variable {
        /// What it holds.
        value: OsString,
        /// Why that is none.
        why: Box<Self>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    // conformance: BE-7+ BE-7- BE-8+ BE-8- BE-9+ BE-9- BE-10+ BE-10- BE-11+ BE-11-
    #[test]
    fn the_standards_addresses_are_read_or_say_what_is_wrong() {
        for (text, here) in [
            ("unix:///run/a.sock", true),
            ("tcp://127.0.0.1:8443", true),
            ("tcp://[::1]:8443", true),
            ("tcp://localhost:8443", true),
            ("tcp://10.0.0.7:8443", false),
            ("tcp://broker.example.com:8443", false),
            ("tcp://localhost.example.com:8443", false),
        ] {
            let read: BrokerEndpoint = text.parse().unwrap();
            assert_eq!((read.to_string().as_str(), read.is_here()), (text, here));
        }
        let other = |why| BrokerEndpointError::Endpoint(why);
        for (text, why) in [
            ("https://h:1", other(EndpointError::Scheme)),
            ("unix://h/a", other(EndpointError::Authority)),
            ("unix://", other(EndpointError::NoPath)),
            ("unix:///a?x", other(EndpointError::Query)),
            ("tcp:h:1", BrokerEndpointError::HostName),
            ("tcp://:8443", BrokerEndpointError::HostName),
            ("tcp://a b:8443", BrokerEndpointError::HostName),
            ("tcp://a..b:8443", BrokerEndpointError::HostName),
            ("tcp://h", other(EndpointError::NoPort)),
            ("tcp://h:0", other(EndpointError::NoPort)),
            ("tcp://h:65536", other(EndpointError::NoPort)),
            ("tcp://127.0.0.1:8000/foo", other(EndpointError::TcpPath)),
        ] {
            assert_eq!(text.parse::<BrokerEndpoint>().unwrap_err(), why, "{text}");
        }
    }

    // conformance: BE-6+ BE-6-
    #[test]
    fn the_environment_must_name_an_endpoint() {
        let missing = BrokerEndpoint::from_variable(None).unwrap_err();
        assert_eq!(missing, BrokerEndpointError::NotSet);
        assert!(missing.to_string().contains("SPIFFE_BROKER_SOCKET"));
        for (value, told) in [
            (
                "tcp://agent",
                r#"SPIFFE_BROKER_SOCKET is set to "tcp://agent", and a tcp address needs a port from 1 to 65535, as in tcp://127.0.0.1:8081"#,
            ),
            (
                "tcp://a b:1",
                r#"SPIFFE_BROKER_SOCKET is set to "tcp://a b:1", and the host of a tcp address must be an IP address or a DNS name, as in tcp://agent:8443"#,
            ),
        ] {
            let why = BrokerEndpoint::from_variable(Some(value.into())).unwrap_err();
            assert_eq!(why.to_string(), told);
        }
        let set = BrokerEndpoint::from_variable(Some("unix:///run/b.sock".into())).unwrap();
        assert_eq!(set.to_string(), "unix:///run/b.sock");
    }
}

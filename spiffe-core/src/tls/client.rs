//! What a client does in a handshake, and the rustls configuration of it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "rustls-0_23")]
use rustls::crypto::CryptoProvider;
use rustls_pki_types::{DnsName, InvalidDnsNameError, ServerName};

use super::config::{ClockTime, Side, with_tls13};
use super::sessions::ClientSessions;
use super::standing::{Court, TrustChange};
use super::{Connector, Resumption};
use crate::authorizer::Authorizer;
use crate::clock::Clock;
use crate::source::IdentitySource;
use crate::verify::Role;

/// The client's side of mutual TLS.
#[derive(Clone, Debug)]
pub struct ClientTls {
    side: Side,
    server_name: Option<ServerName<'static>>,
}

impl ClientTls {
    /// A client with the identity of `source` that talks to whom `allow` lets pass.
    pub fn new(source: Arc<dyn IdentitySource>, allow: impl Authorizer) -> Self {
        Self {
            side: Side::new(source, allow),
            server_name: None,
        }
    }

    /// Tells the server this DNS name (SNI), for proxies that find the way by it. Nothing is told
    /// where nothing is said, and no name is ever checked: who the server is, its SPIFFE ID says.
    ///
    /// # Errors
    ///
    /// Where this is no DNS name.
    pub fn server_name(mut self, name: &str) -> Result<Self, InvalidDnsNameError> {
        let name = DnsName::try_from(name)?.to_owned();
        self.server_name = Some(ServerName::DnsName(name));
        Ok(self)
    }

    /// Asks for these application protocols (ALPN), the preferred one first.
    #[must_use]
    pub fn alpn<'a>(mut self, protocols: impl IntoIterator<Item = &'a [u8]>) -> Self {
        self.side.alpn = protocols.into_iter().map(<[u8]>::to_vec).collect();
        self
    }

    /// Takes the time of day from this clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.side.clock = clock;
        self
    }

    /// How long a handshake may take: 10 seconds where nothing else is said.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.side.handshake_timeout = timeout;
        self
    }

    /// Allows TLS 1.2 as well, for peers that cannot do better. TLS 1.3 only, where nothing is said.
    #[cfg(feature = "tls12")]
    #[must_use]
    pub fn tls12(mut self, allowed: bool) -> Self {
        self.side.tls12 = allowed;
        self
    }

    /// Takes its cryptography from this provider of rustls, in place of aws-lc-rs with
    /// X25519MLKEM768 first. It needs a cipher suite of TLS 1.3.
    ///
    /// # Errors
    ///
    /// Where the provider has none.
    #[cfg(feature = "rustls-0_23")]
    pub fn crypto_provider(mut self, provider: Arc<CryptoProvider>) -> Result<Self, rustls::Error> {
        self.side.use_provider(provider)?;
        Ok(self)
    }

    /// What becomes of connections when trust or policy change while they last: the peer is judged
    /// again where nothing else is said.
    #[must_use]
    pub fn on_trust_change(mut self, what: TrustChange) -> Self {
        self.side.on_change = what;
        self
    }

    /// Where our own identity comes from, for whoever replaces connections when that is renewed.
    #[must_use]
    pub fn source(&self) -> &Arc<dyn IdentitySource> {
        &self.side.source
    }

    /// Whether sessions are resumed: never where nothing is said.
    #[must_use]
    pub fn resumption(mut self, what: Resumption) -> Self {
        self.side.resumption = what;
        self
    }

    /// What makes streams with a peer out of connected IO. Sessions are known to the connector that
    /// they began with, and to its clones.
    #[must_use]
    pub fn connector(&self) -> Connector {
        let court = self.side.court();
        let config = self.config(court.clone());
        // rustls wants a name. This one is not sent, and no session is kept under it.
        let unnamed = ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let name = self.server_name.clone().unwrap_or(unnamed);
        let sessions = match self.side.resumption {
            Resumption::Off => None,
            Resumption::Bound => Some(Arc::new(ClientSessions::new(court.clone()))),
        };
        Connector::new(config, name, self.side.handshake_timeout, court, sessions)
    }

    /// The bare rustls configuration. It presents, verifies and authorizes; no server name is
    /// checked, because the peer's name is its SPIFFE ID. One is sent (SNI) where
    /// [`server_name`](Self::server_name) was called: that which the connection is made with.
    /// Sessions are not resumed, whatever was said: nobody would judge the peer of a resumed one.
    #[cfg(feature = "rustls-0_23")]
    #[must_use]
    pub fn into_rustls(self) -> rustls::ClientConfig {
        self.config(self.side.court())
    }

    /// Without resumption.
    fn config(&self, court: Arc<Court>) -> rustls::ClientConfig {
        let side = &self.side;
        let builder = rustls::ClientConfig::builder_with_details(
            side.provider.clone(),
            Arc::new(ClockTime(side.clock.clone())),
        );
        let mut config = with_tls13(builder.with_protocol_versions(side.versions()))
            .dangerous()
            .with_custom_certificate_verifier(Side::judge(court, Role::Server, true))
            .with_client_cert_resolver(side.presenter());
        config.resumption = rustls::client::Resumption::disabled();
        config.enable_sni = self.server_name.is_some();
        config.alpn_protocols.clone_from(&side.alpn);
        config
    }
}

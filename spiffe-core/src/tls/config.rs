//! What a server or client does in a handshake, and the rustls configuration of it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls_pki_types::{DnsName, InvalidDnsNameError, ServerName, UnixTime};
use tokio::sync::Semaphore;

use super::judge::Judge;
use super::presenter::Presenter;
use super::standing::{Court, TrustChange};
use super::{Acceptor, Connector};
use crate::authorizer::Authorizer;
use crate::clock::{Clock, SystemClock};
use crate::source::IdentitySource;
use crate::verify::Role;

/// Server and client configurations from any source.
pub trait SourceExt: IdentitySource {
    /// A server with this source's identity that lets pass whom `allow` lets pass.
    fn server(&self, allow: impl Authorizer) -> ServerTls;

    /// A client with this source's identity that talks to whom `allow` lets pass.
    fn client(&self, allow: impl Authorizer) -> ClientTls;
}

impl<S: IdentitySource + Clone> SourceExt for S {
    fn server(&self, allow: impl Authorizer) -> ServerTls {
        ServerTls::new(Arc::new(self.clone()), allow)
    }

    fn client(&self, allow: impl Authorizer) -> ClientTls {
        ClientTls::new(Arc::new(self.clone()), allow)
    }
}

/// The server's side of mutual TLS.
#[derive(Clone, Debug)]
pub struct ServerTls {
    side: Side,
    client_may_be_anonymous: bool,
    max_pending_handshakes: usize,
}

impl ServerTls {
    /// A server with the identity of `source` that lets pass whom `allow` lets pass.
    pub fn new(source: Arc<dyn IdentitySource>, allow: impl Authorizer) -> Self {
        Self {
            side: Side::new(source, allow),
            client_may_be_anonymous: false,
            max_pending_handshakes: 1024,
        }
    }

    /// Offers these application protocols (ALPN), the preferred one first.
    #[must_use]
    pub fn alpn<'a>(mut self, protocols: impl IntoIterator<Item = &'a [u8]>) -> Self {
        self.side.alpn = protocols.into_iter().map(<[u8]>::to_vec).collect();
        self
    }

    /// Lets clients without a certificate in; one that is presented must be good all the same.
    /// Such clients come out of [`Acceptor::accept_any`] only.
    #[must_use]
    pub fn client_auth_optional(mut self) -> Self {
        self.client_may_be_anonymous = true;
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

    /// How many handshakes a listener carries on at a time: 1024 where nothing else is said.
    #[must_use]
    pub fn max_pending_handshakes(mut self, limit: usize) -> Self {
        self.max_pending_handshakes = limit.max(1);
        self
    }

    /// The limit that [`max_pending_handshakes`](Self::max_pending_handshakes) set.
    #[must_use]
    pub fn pending_handshakes_limit(&self) -> usize {
        self.max_pending_handshakes
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
        rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])?;
        self.side.provider = provider;
        Ok(self)
    }

    /// What becomes of connections when trust or policy change while they last: the peer is judged
    /// again where nothing else is said.
    #[must_use]
    pub fn on_trust_change(mut self, what: TrustChange) -> Self {
        self.side.on_change = what;
        self
    }

    /// What makes streams with a peer out of accepted IO.
    #[must_use]
    pub fn acceptor(&self) -> Acceptor {
        let config = self.clone().config();
        Acceptor::new(config, self.side.handshake_timeout, self.side.court())
    }

    /// The bare rustls configuration. It presents, verifies and authorizes; the verified peer is to
    /// be read off the connection by whoever drives it, and nobody judges it again.
    #[cfg(feature = "rustls-0_23")]
    #[must_use]
    pub fn into_rustls(self) -> Arc<rustls::ServerConfig> {
        self.config()
    }

    fn config(self) -> Arc<rustls::ServerConfig> {
        let judge = Arc::new(self.side.judge(Role::Client, !self.client_may_be_anonymous));
        let presenter = Arc::new(self.side.presenter());
        let builder = rustls::ServerConfig::builder_with_details(
            self.side.provider.clone(),
            Arc::new(ClockTime(self.side.clock.clone())),
        );
        let mut config = with_tls13(builder.with_protocol_versions(self.side.versions()))
            .with_client_cert_verifier(judge)
            .with_cert_resolver(presenter);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.alpn_protocols = self.side.alpn;
        Arc::new(config)
    }
}

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
        rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])?;
        self.side.provider = provider;
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

    /// What makes streams with a peer out of connected IO.
    #[must_use]
    pub fn connector(&self) -> Connector {
        let config = self.clone().config();
        // rustls wants a name. This one is not sent, and no session is kept under it.
        let unnamed = ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let name = self.server_name.clone().unwrap_or(unnamed);
        Connector::new(config, name, self.side.handshake_timeout, self.side.court())
    }

    /// The bare rustls configuration. It presents, verifies and authorizes; no server name is
    /// checked, because the peer's name is its SPIFFE ID. One is sent (SNI) where
    /// [`server_name`](Self::server_name) was called: that which the connection is made with.
    #[cfg(feature = "rustls-0_23")]
    #[must_use]
    pub fn into_rustls(self) -> Arc<rustls::ClientConfig> {
        self.config()
    }

    fn config(self) -> Arc<rustls::ClientConfig> {
        let judge = Arc::new(self.side.judge(Role::Server, true));
        let presenter = Arc::new(self.side.presenter());
        let builder = rustls::ClientConfig::builder_with_details(
            self.side.provider.clone(),
            Arc::new(ClockTime(self.side.clock.clone())),
        );
        let mut config = with_tls13(builder.with_protocol_versions(self.side.versions()))
            .dangerous()
            .with_custom_certificate_verifier(judge)
            .with_client_cert_resolver(presenter);
        config.resumption = rustls::client::Resumption::disabled();
        config.enable_sni = self.server_name.is_some();
        config.alpn_protocols = self.side.alpn;
        Arc::new(config)
    }
}

/// What both sides have.
#[derive(Clone)]
struct Side {
    source: Arc<dyn IdentitySource>,
    allow: Arc<dyn Authorizer>,
    clock: Arc<dyn Clock>,
    provider: Arc<CryptoProvider>,
    alpn: Vec<Vec<u8>>,
    #[cfg(feature = "tls12")]
    tls12: bool,
    on_change: TrustChange,
    handshake_timeout: Duration,
}

impl Side {
    fn new(source: Arc<dyn IdentitySource>, allow: impl Authorizer) -> Self {
        Self {
            source,
            allow: Arc::new(allow),
            clock: Arc::new(SystemClock),
            // Never the process's default: two crates would fight about it.
            provider: Arc::new(aws_lc_rs::default_provider()),
            alpn: Vec::new(),
            #[cfg(feature = "tls12")]
            tls12: false,
            on_change: TrustChange::default(),
            handshake_timeout: Duration::from_secs(10),
        }
    }

    fn judge(&self, peer: Role, mandatory: bool) -> Judge {
        Judge {
            source: self.source.clone(),
            allow: self.allow.clone(),
            algorithms: self.provider.signature_verification_algorithms,
            peer,
            mandatory,
        }
    }

    fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        #[cfg(feature = "tls12")]
        if self.tls12 {
            return &WITH_TLS12;
        }
        &TLS13_ONLY
    }

    fn court(&self) -> Arc<Court> {
        Arc::new(Court {
            source: self.source.clone(),
            allow: self.allow.clone(),
            clock: self.clock.clone(),
            algorithms: self.provider.signature_verification_algorithms,
            on_change: self.on_change,
            turn: Semaphore::new(1),
        })
    }

    fn presenter(&self) -> Presenter {
        Presenter::new(
            self.source.clone(),
            self.clock.clone(),
            self.provider.key_provider,
        )
    }
}

impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Side")
            .field("handshake_timeout", &self.handshake_timeout)
            .finish_non_exhaustive()
    }
}

static TLS13_ONLY: [&SupportedProtocolVersion; 1] = [&TLS13];
#[cfg(feature = "tls12")]
static WITH_TLS12: [&SupportedProtocolVersion; 2] = [&TLS13, &rustls::version::TLS12];

/// Our clock, for rustls.
#[derive(Debug)]
struct ClockTime(Arc<dyn Clock>);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        self.0
            .now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .map(UnixTime::since_unix_epoch)
    }
}

#[expect(
    clippy::expect_used,
    reason = "the provider has TLS 1.3: ours does, and any other was asked"
)]
fn with_tls13<T>(built: Result<T, rustls::Error>) -> T {
    built.expect("a provider with TLS 1.3")
}

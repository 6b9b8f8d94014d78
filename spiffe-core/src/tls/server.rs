//! What a server does in a handshake, and the rustls configuration of it.

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "rustls-0_23")]
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};

use super::config::{ClockTime, Side, with_tls13};
use super::sessions::ServerSessions;
use super::standing::{Court, TrustChange};
use super::{Acceptor, Resumption};
use crate::authorizer::Authorizer;
use crate::clock::Clock;
use crate::source::IdentitySource;
use crate::verify::Role;

/// The server's side of mutual TLS.
#[derive(Clone, Debug)]
pub struct ServerTls {
    side: Side,
    clients: ClientAuth,
    max_pending_handshakes: usize,
    /// What is presented in place of the SVID.
    presented: Option<Arc<dyn ResolvesServerCert>>,
}

impl ServerTls {
    /// A server with the identity of `source` that lets pass whom `allow` lets pass.
    pub fn new(source: Arc<dyn IdentitySource>, allow: impl Authorizer) -> Self {
        Self {
            side: Side::new(source, allow),
            clients: ClientAuth::Required,
            max_pending_handshakes: 1024,
            presented: None,
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
        self.clients = ClientAuth::Optional;
        self
    }

    /// Asks clients for no certificate at all, as a bundle endpoint must not (SPIFFE Federation section
    /// 5.2.2.3): anybody comes in, and all come out of [`Acceptor::accept_any`] without a peer.
    #[must_use]
    pub fn without_client_auth(mut self) -> Self {
        self.clients = ClientAuth::Off;
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

    /// How many handshakes a listener carries on at a time: 1024 where nothing else is said. While so
    /// many go on, a new connection takes the place of the oldest once that has had half a second.
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
        self.side.use_provider(provider)?;
        Ok(self)
    }

    /// Presents this certificate in place of the SVID: one of the web, for clients that know servers
    /// by their names. Clients prove who they are by their X.509-SVIDs as before, and
    /// [`web_client`](super::web_client) makes such clients.
    #[cfg(feature = "rustls-0_23")]
    #[must_use]
    pub fn presenting(mut self, certificate: Arc<dyn ResolvesServerCert>) -> Self {
        self.presented = Some(certificate);
        self
    }

    /// What becomes of connections when trust or policy change while they last: the peer is judged
    /// again where nothing else is said.
    #[must_use]
    pub fn on_trust_change(mut self, what: TrustChange) -> Self {
        self.side.on_change = what;
        self
    }

    /// Whether sessions are resumed: never where nothing is said.
    #[must_use]
    pub fn resumption(mut self, what: Resumption) -> Self {
        self.side.resumption = what;
        self
    }

    /// What makes streams with a peer out of accepted IO. Sessions are known to the acceptor that they
    /// began with, and to its clones.
    #[must_use]
    pub fn acceptor(&self) -> Acceptor {
        let court = self.side.court();
        let mut config = self.config(court.clone());
        if self.side.resumption == Resumption::Bound {
            config.session_storage = Arc::new(ServerSessions::new(court.clone()));
            config.send_tls13_tickets = TICKETS;
        }
        Acceptor::new(config, self.side.handshake_timeout, court)
    }

    /// The bare rustls configuration. It presents, verifies and authorizes; the verified peer is to
    /// be read off the connection by whoever drives it, and nobody judges it again. Sessions are not
    /// resumed, whatever was said: nobody would judge the peer of a resumed one.
    #[cfg(feature = "rustls-0_23")]
    #[must_use]
    pub fn into_rustls(self) -> rustls::ServerConfig {
        self.config(self.side.court())
    }

    #[cfg(all(test, feature = "testing"))]
    pub(super) fn court(&self) -> Arc<Court> {
        self.side.court()
    }

    /// Without resumption.
    fn config(&self, court: Arc<Court>) -> rustls::ServerConfig {
        let side = &self.side;
        let mandatory = self.clients == ClientAuth::Required;
        let judge = Side::judge(court, Role::Client, mandatory);
        let builder = rustls::ServerConfig::builder_with_details(
            side.provider.clone(),
            Arc::new(ClockTime(side.clock.clone())),
        );
        let builder = with_tls13(builder.with_protocol_versions(side.versions()));
        let builder = match self.clients {
            ClientAuth::Off => builder.with_no_client_auth(),
            ClientAuth::Optional | ClientAuth::Required => builder.with_client_cert_verifier(judge),
        };
        let presented = match &self.presented {
            Some(certificate) => certificate.clone(),
            None => side.presenter(),
        };
        let mut config = builder.with_cert_resolver(presented);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.alpn_protocols.clone_from(&side.alpn);
        config
    }
}

/// Whether clients prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClientAuth {
    Off,
    Optional,
    Required,
}

/// How many times a session can be resumed at once: each ticket is good for one connection.
const TICKETS: usize = 2;

//! What the configurations of both sides have in common.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, UNIX_EPOCH};

use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls_pki_types::UnixTime;

use super::judge::Judge;
use super::presenter::Presenter;
use super::standing::{Court, TrustChange};
use super::{ClientTls, Resumption, ServerTls};
use crate::authorizer::Authorizer;
use crate::clock::{Clock, SystemClock};
use crate::source::IdentitySource;
use crate::telemetry;
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

/// What both sides have.
#[derive(Clone)]
pub(super) struct Side {
    pub(super) source: Arc<dyn IdentitySource>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) alpn: Vec<Vec<u8>>,
    #[cfg(feature = "tls12")]
    pub(super) tls12: bool,
    pub(super) resumption: Resumption,
    pub(super) on_change: TrustChange,
    pub(super) handshake_timeout: Duration,
    allow: Arc<dyn Authorizer>,
}

impl Side {
    pub(super) fn new(source: Arc<dyn IdentitySource>, allow: impl Authorizer) -> Self {
        telemetry::describe_once();
        Self {
            source,
            clock: Arc::new(SystemClock),
            // Never the process's default: two crates would fight about it.
            provider: Arc::new(aws_lc_rs::default_provider()),
            alpn: Vec::new(),
            #[cfg(feature = "tls12")]
            tls12: false,
            resumption: Resumption::default(),
            on_change: TrustChange::default(),
            handshake_timeout: Duration::from_secs(10),
            allow: Arc::new(allow),
        }
    }

    /// Takes another provider, if that has TLS 1.3: so [`with_tls13`] holds.
    #[cfg(feature = "rustls-0_23")]
    pub(super) fn use_provider(
        &mut self,
        provider: Arc<CryptoProvider>,
    ) -> Result<(), rustls::Error> {
        rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])?;
        self.provider = provider;
        Ok(())
    }

    pub(super) fn judge(court: Arc<Court>, peer: Role, mandatory: bool) -> Arc<Judge> {
        Arc::new(Judge {
            court,
            peer,
            mandatory,
        })
    }

    pub(super) fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        #[cfg(feature = "tls12")]
        if self.tls12 {
            return &WITH_TLS12;
        }
        &TLS13_ONLY
    }

    pub(super) fn court(&self) -> Arc<Court> {
        Arc::new(Court {
            source: self.source.clone(),
            allow: self.allow.clone(),
            clock: self.clock.clone(),
            algorithms: self.provider.signature_verification_algorithms,
            on_change: self.on_change,
            connections: AtomicU32::new(0),
        })
    }

    pub(super) fn presenter(&self) -> Arc<Presenter> {
        Arc::new(Presenter::new(
            self.source.clone(),
            self.clock.clone(),
            self.provider.key_provider,
        ))
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
pub(super) struct ClockTime(pub(super) Arc<dyn Clock>);

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
pub(super) fn with_tls13<T>(built: Result<T, rustls::Error>) -> T {
    built.expect("a provider with TLS 1.3")
}

//! What we present in a handshake: the SVID that is the default one at that moment.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::KeyProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::clock::Clock;
use crate::snapshot::IdentitySnapshot;
use crate::source::IdentitySource;
use crate::telemetry::Lately;
use crate::with_causes;
use crate::x509::X509Svid;

pub(super) struct Presenter {
    source: Arc<dyn IdentitySource>,
    clock: Arc<dyn Clock>,
    keys: &'static dyn KeyProvider,
    // What rustls makes of the snapshot's SVID. It goes with that very snapshot and no other.
    made: ArcSwapOption<Made>,
}

struct Made {
    from: Arc<IdentitySnapshot>,
    key: Option<Arc<CertifiedKey>>,
}

impl Presenter {
    pub(super) fn new(
        source: Arc<dyn IdentitySource>,
        clock: Arc<dyn Clock>,
        keys: &'static dyn KeyProvider,
    ) -> Self {
        Self {
            source,
            clock,
            keys,
            made: ArcSwapOption::empty(),
        }
    }

    /// Nothing where there is no SVID, or it has expired: the other side would refuse it anyhow.
    fn present(&self) -> Option<Arc<CertifiedKey>> {
        let snapshot = self.source.snapshot();
        let svid = snapshot.svid()?;
        let now = self.clock.now();
        if svid.not_after() <= now {
            // Whoever comes can have it said, so it is not said each time.
            if EXPIRY_TOLD.may_tell(now) {
                tracing::warn!(spiffe_id = %svid.id(), "own SVID has expired and is not presented");
            }
            return None;
        }
        if let Some(made) = &*self.made.load()
            && Arc::ptr_eq(&made.from, &snapshot)
        {
            return made.key.clone();
        }
        let key = self.make(svid);
        self.made.store(Some(Arc::new(Made {
            from: snapshot,
            key: key.clone(),
        })));
        key
    }

    fn make(&self, svid: &X509Svid) -> Option<Arc<CertifiedKey>> {
        let chain = svid
            .chain()
            .iter()
            .map(|certificate| certificate.der().clone())
            .collect();
        let der = PrivatePkcs8KeyDer::from(svid.key().pkcs8_der().to_vec());
        match self.keys.load_private_key(PrivateKeyDer::Pkcs8(der)) {
            Ok(key) => Some(Arc::new(CertifiedKey::new(chain, key))),
            Err(error) => {
                tracing::error!(spiffe_id = %svid.id(), error = %with_causes(&error), "own key is of no use for TLS");
                None
            }
        }
    }
}

impl ResolvesServerCert for Presenter {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.present()
    }
}

impl ResolvesClientCert for Presenter {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.present()
    }

    /// True also without an SVID: rustls asks once, and one may come.
    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for Presenter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presenter").finish_non_exhaustive()
    }
}

/// One for all, for there may be a presenter for each connection.
static EXPIRY_TOLD: Lately = Lately::never();

//! Whether a proof still holds while its connection lasts.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::WebPkiSupportedAlgorithms;
use tokio::sync::watch;

use crate::clock::{Clock, sleep_until};
use crate::source::IdentitySource;
use crate::verify::{Peer, VerifyError, x509_peer_with};

/// What a proof is judged with again.
#[derive(Clone)]
pub(super) struct Standing {
    pub(super) source: Arc<dyn IdentitySource>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl Standing {
    /// Waits until the proof does not hold any more, and tells why.
    pub(super) async fn ended(self, mut peer: Peer) -> VerifyError {
        // Before the first look: what is published in between is seen.
        let mut changes = self.source.subscribe();
        loop {
            let (snapshot, now) = (self.source.snapshot(), self.clock.now());
            // Certificates count in whole seconds, and hold through their last one.
            let end = peer.not_after() + Duration::from_secs(1);
            if snapshot.generation() != peer.generation() || end <= now {
                let (chain, bundles) = (peer.certificates(), snapshot.bundles());
                match x509_peer_with(self.algorithms.all, chain, bundles, peer.role(), now) {
                    Ok(again) => peer = again.judged_at(snapshot.generation()),
                    Err(why) => return why,
                }
                continue;
            }
            tokio::select! {
                () = changed(&mut changes) => {}
                () = sleep_until(&*self.clock, end) => {}
            }
        }
    }
}

/// Waits for a change. Of a source that is gone there is none.
async fn changed(changes: &mut watch::Receiver<u64>) {
    if changes.changed().await.is_err() {
        pending().await
    }
}

//! Follows the server: entries and bundles, every few seconds.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use spiffe_core::clock::Clock;
use spiffe_core::{BundleSet, TrustBundle, TrustDomain};
use tokio::sync::mpsc;

use super::cache::{Cache, Changes};
use super::own_identity::OwnIdentity;
use super::server_client::{CallError, ServerClient};
use crate::runtime::health::Part;
use crate::runtime::periodic::{Pace, every};
use crate::runtime::{Shutdown, TaskError};
use crate::wire::bundle::ToldBundle;

/// What following the server takes.
pub struct Sync {
    /// The server.
    pub server: ServerClient,
    /// The agent's own identity, whose bundle this keeps fresh.
    pub own: Arc<OwnIdentity>,
    /// Where all that is learnt goes.
    pub cache: Arc<Cache>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Told when the agent's own SVID was signed by one that is tainted now.
    pub tainted: mpsc::Sender<()>,
    /// What was learnt before.
    pub memory: Memory,
}

/// What a sync has to know of those before it.
#[derive(Debug, Default)]
pub struct Memory {
    /// The key IDs of authorities that are known to be tainted.
    tainted: Mutex<HashSet<Vec<u8>>>,
    /// Whether the server was told our version.
    has_told_version: std::sync::atomic::AtomicBool,
}

impl Sync {
    /// Syncs until told to stop.
    ///
    /// # Errors
    ///
    /// None: what fails is tried again.
    pub async fn run(
        &self,
        interval: Duration,
        health: Part,
        stop: Shutdown,
    ) -> Result<(), TaskError> {
        every(
            Pace::new(interval),
            &*self.clock,
            health,
            &stop,
            async || {
                self.own.in_force().await;
                Ok(self.once().await?)
            },
        )
        .await;
        Ok(())
    }

    /// Learns what there is now. Bundles come first: nobody shall get an SVID that those who know no
    /// newer bundle would not believe.
    async fn once(&self) -> Result<(), SyncError> {
        self.tell_version().await;
        let own = self.own_bundle().await?;
        let entries = self.server.entries(self.cache.entries()).await;
        let entries = entries.map_err(SyncError::Entries)?;
        let mut foreign = HashSet::new();
        for entry in &entries {
            foreign.extend(entry.body.federates_with.iter().cloned());
        }
        foreign.remove(self.own.trust_domain());
        let bundles = self.foreign_bundles(foreign).await.with(own);
        let now = self.clock.now();
        self.cache.sync_bundles(bundles, now);
        log(&self.cache.sync_entries(entries, now));
        Ok(())
    }

    async fn own_bundle(&self) -> Result<TrustBundle, SyncError> {
        let told = self.server.bundle(self.own.trust_domain()).await;
        let told = told.map_err(SyncError::Bundle)?;
        self.own.set_bundle(told.bundle.clone()).await;
        self.heed_taint(&told);
        Ok(told.bundle)
    }

    /// Has replaced what authorities signed that are tainted since the last time.
    fn heed_taint(&self, told: &ToldBundle) {
        let tainted: HashSet<_> = told
            .tainted
            .iter()
            .filter_map(|authority| authority.subject_key_id().map(<[u8]>::to_vec))
            .collect();
        let mut known = self
            .memory
            .tainted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let news: HashSet<_> = tainted.difference(&known).cloned().collect();
        *known = tainted;
        drop(known);
        if news.is_empty() {
            return;
        }
        let ids: Vec<_> = news.iter().map(|id| hex(id)).collect();
        tracing::warn!(
            subject_key_ids = ids.join(","),
            "New tainted X.509 authorities found"
        );
        let count = self.cache.taint(&news);
        if count > 0 {
            tracing::info!(
                count,
                "Scheduled rotation for SVID entries due to tainted X.509 authorities"
            );
        }
        if self.own.is_signed_by(&news) {
            // One message there is as good as two.
            let _ = self.tainted.try_send(());
        }
    }

    /// The bundles of these trust domains. One that cannot be had now stays as it was; one that the
    /// server has no more goes.
    async fn foreign_bundles(&self, trust_domains: HashSet<TrustDomain>) -> BundleSet {
        let before = self.cache.bundles();
        let asked = stream::iter(trust_domains).map(async |trust_domain| {
            let told = self.server.foreign_bundle(&trust_domain).await;
            (trust_domain, told)
        });
        let mut told = asked.buffer_unordered(AT_ONCE);
        let mut bundles = Vec::new();
        while let Some((trust_domain, told)) = told.next().await {
            match told {
                Ok(bundle) => bundles.extend(bundle),
                Err(error) => {
                    tracing::warn!(
                        trust_domain_id = %trust_domain,
                        error = &error as &dyn std::error::Error,
                        "Bundle of a federated trust domain could not be fetched"
                    );
                    bundles.extend(before.get(&trust_domain).cloned());
                }
            }
        }
        bundles.into_iter().collect()
    }

    /// Tells the server our version, once. It only wants to know.
    async fn tell_version(&self) {
        use std::sync::atomic::Ordering::Relaxed;
        if self.memory.has_told_version.load(Relaxed) {
            return;
        }
        match self.server.post_status(VERSION).await {
            Ok(()) => self.memory.has_told_version.store(true, Relaxed),
            Err(error) => tracing::debug!(
                error = &error as &dyn std::error::Error,
                "Server could not be told the agent's version"
            ),
        }
    }
}

fn log(changes: &Changes) {
    for entry in &changes.created {
        tracing::debug!(entry = %entry.id, spiffe_id = %entry.body.spiffe_id, "Entry created");
    }
    for (_, entry) in &changes.updated {
        tracing::debug!(entry = %entry.id, spiffe_id = %entry.body.spiffe_id, "Entry updated");
    }
    for entry in &changes.deleted {
        tracing::debug!(entry = %entry.id, spiffe_id = %entry.body.spiffe_id, "Entry removed");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why a sync came to nothing. The texts are known to those who watch logs.
#[derive(Debug, thiserror::Error)]
enum SyncError {
    #[error("failed to fetch the bundle")]
    Bundle(#[source] CallError),
    #[error("failed to fetch authorized entries")]
    Entries(#[source] CallError),
}

/// What SPIRE's server understands, and which of it this is.
pub const VERSION: &str = concat!(
    "1.15.3+",
    env!("CARGO_PKG_NAME"),
    ".",
    env!("CARGO_PKG_VERSION")
);

/// So many foreign bundles are asked for at a time.
const AT_ONCE: usize = 10;

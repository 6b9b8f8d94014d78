//! What the tasks of a federated source have in common, and the tasks.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use spiffe_core::clock::sleep_until;
use spiffe_core::source::SnapshotCell;
use spiffe_core::{IdentitySource, TrustBundle, TrustDomain};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;

use super::partners::{Partner, Partners};
use super::store::Store;
use crate::federation::{BundleClient, FetchError, interval};

pub(super) struct Shared {
    pub(super) base: Arc<dyn IdentitySource>,
    pub(super) cell: SnapshotCell,
    pub(super) client: BundleClient,
    pub(super) store: Option<Store>,
    pub(super) partners: Mutex<Partners>,
    /// Wakes at each turn of a relationship.
    pub(super) turned: watch::Sender<()>,
}

impl Shared {
    /// A poisoned lock still holds what it held: nothing in here is left half done.
    pub(super) fn partners(&self) -> MutexGuard<'_, Partners> {
        self.partners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what the source below and the relationships have now. The lock puts those who publish in
    /// a row, each with the newest of both.
    pub(super) fn publish(&self, partners: &mut Partners) {
        let shown = partners.overlay(&self.base.snapshot());
        self.cell.publish(shown);
    }

    /// Takes over each change of the source below, until that is gone.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut changes = self.base.subscribe();
        // What came before is shown already, or is seen at once.
        changes.mark_changed();
        while changes.changed().await.is_ok() {
            self.publish(&mut self.partners());
            // It may have brought a bundle that somebody waits for.
            self.turned.send_replace(());
        }
    }

    /// Keeps one bundle up to date, until its relationship ends.
    ///
    /// A fetch that failed is tried again at the next interval and not before: an endpoint in trouble
    /// is left in peace (SPIFFE Federation section 6.2).
    pub(super) async fn keep(self: Arc<Self>, trust_domain: TrustDomain, nudge: Arc<Notify>) {
        loop {
            let Some(round) = self.with_partner(&trust_domain, &nudge, |partner| partner.begin())
            else {
                return;
            };
            let mut changes = self.cell.subscribe();
            let believed = self.cell.snapshot().bundles().clone();
            let (relationship, held) = (&round.relationship, round.held.as_ref());
            let fetched = self.client.fetch(relationship, held, &believed).await;
            // Nobody was asked yet: as soon as there is something to believe the endpoint by, it is.
            let untrusted = matches!(fetched, Err(FetchError::NoTrust(_)));
            let now = self.client.time().now();
            let landed = self.with_partner(&trust_domain, &nudge, |partner| {
                let replaced = partner.land(&round, fetched, now);
                let hint = partner.bundle().and_then(TrustBundle::refresh_hint);
                let next = now + interval::next(hint, fastrand::f64());
                partner.wait_until(next);
                (replaced, partner.is_unstored(), next)
            });
            let Some((replaced, unstored, next)) = landed else {
                return;
            };
            if replaced {
                self.publish(&mut self.partners());
            }
            if replaced || unstored {
                self.clone().settle(trust_domain.clone()).await;
            }
            self.with_partner(&trust_domain, &nudge, Partner::finish);
            self.turned.send_replace(());
            tokio::select! {
                () = self.rest(&trust_domain, &nudge, next) => {}
                _ = changes.changed(), if untrusted => {}
            }
        }
    }

    /// Waits until it is time for the next fetch, or somebody wants it now.
    async fn rest(&self, trust_domain: &TrustDomain, nudge: &Arc<Notify>, next: SystemTime) {
        let mut time = pin!(sleep_until(&**self.client.time(), next));
        loop {
            tokio::select! {
                () = &mut time => return,
                () = nudge.notified() => {}
            }
            // It may be that a fetch has begun since.
            let is_wanted = self.with_partner(trust_domain, nudge, |partner| partner.is_wanted());
            if is_wanted.unwrap_or(true) {
                return;
            }
        }
    }

    /// Stores what is held now, where there is a store, and notes what came of it.
    pub(super) async fn settle(self: Arc<Self>, trust_domain: TrustDomain) {
        let settled = spawn_blocking(move || {
            let held = || self.partners().get(&trust_domain)?.bundle().cloned();
            if let Some(store) = &self.store {
                let stored = store.settle(&trust_domain, held);
                if let Some(partner) = self.partners().get_mut(&trust_domain) {
                    partner.note_stored(stored);
                }
            }
        });
        // It fails only with the runtime, and then there is nobody left to be told.
        let _ = settled.await;
    }

    /// Does something with a relationship, unless that ended, or made way for another.
    fn with_partner<T>(
        &self,
        trust_domain: &TrustDomain,
        nudge: &Arc<Notify>,
        act: impl FnOnce(&mut Partner) -> T,
    ) -> Option<T> {
        let mut partners = self.partners();
        let partner = partners.get_mut(trust_domain)?;
        Arc::ptr_eq(&partner.nudge, nudge).then(|| act(partner))
    }
}

//! Following the authority above us: its roots come to our bundle as soon as it has them, and an
//! authority of ours that stands below a root of yesterday is followed by one below a root of today.

use std::collections::BTreeSet;
use std::time::SystemTime;

use spiffe_core::x509::Certificate;
use tracing::{info, warn};

use super::journal::X509Record;
use super::{CaError, CaManager, UpstreamError};
use crate::domain::{AuthorityId, AuthorityKind};
use crate::server::store::AuthorityList;

impl CaManager {
    /// Looks what the authority above us has come to, if there is one.
    pub(super) async fn follow_upstream(&mut self, now: SystemTime) -> Result<(), CaError> {
        let Some(upstream) = self.upstream.clone() else {
            return Ok(());
        };
        let roots = upstream.roots().await?;
        if roots != self.roots {
            let list = AuthorityList::from(roots.clone());
            let of = &self.config.trust_domain;
            self.store.append_authorities(of, &list).await?;
            self.roots = roots;
        }
        let tainted = self.tainted_roots().await?;
        let names = self.roots.iter().filter_map(name);
        let current: BTreeSet<_> = names.filter(|root| !tainted.contains(root)).collect();
        let Some(root) = self.journal.x509.active().and_then(X509Record::upstream) else {
            // The first one is still to be made, or does not say what is above it.
            return Ok(());
        };
        if tainted.contains(&root) {
            if current.is_empty() {
                return Err(UpstreamError::Tainted.into());
            }
            info!("Current root CA is signed by a tainted upstream authority, preparing rotation");
            if !self.next_is_below(&current) {
                self.prepare(AuthorityKind::X509, now).await?;
            }
            return self.activate(AuthorityKind::X509, now).await;
        }
        // A root that is merely new is let become known before anything below it signs.
        if !current.contains(&root) && !self.next_is_below(&current) && self.followed != self.roots
        {
            self.prepare(AuthorityKind::X509, now).await?;
            self.followed.clone_from(&self.roots);
        }
        Ok(())
    }

    fn next_is_below(&self, roots: &BTreeSet<AuthorityId>) -> bool {
        let next = self.journal.x509.next().and_then(X509Record::upstream);
        next.is_some_and(|root| roots.contains(&root))
    }

    /// Says once what an authority above us does not do.
    pub(super) fn warn_of_upstream(&self) {
        if let Some(upstream) = &self.upstream
            && self.config.jwt.is_some()
        {
            warn!(
                plugin_name = upstream.name(),
                "UpstreamAuthority plugin does not support JWT-SVIDs: our keys of JWT-SVIDs are known \
                 in our own bundle only, and not to other servers below the same root"
            );
        }
    }

    /// The roots in our bundle below which nothing is to be signed any more.
    pub(super) async fn tainted_roots(&self) -> Result<BTreeSet<AuthorityId>, CaError> {
        let bundle = self.store.find_bundle(&self.config.trust_domain).await?;
        let roots = bundle.map(|bundle| bundle.x509_authorities);
        let roots = roots.unwrap_or_default().into_iter();
        let tainted = roots.filter(|root| root.tainted);
        Ok(tainted.filter_map(|root| name(&root.certificate)).collect())
    }
}

fn name(root: &Certificate) -> Option<AuthorityId> {
    root.subject_key_id().map(AuthorityId::from_key_id)
}

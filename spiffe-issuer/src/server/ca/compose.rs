//! Credential composers: what operators add to the certificates of workloads. None of them can change
//! whose a certificate is, its key, or how long it lives.

use std::sync::Arc;

use super::Leaf;
use crate::config::Issues;
use crate::plugin::BuiltIn;

/// Adds to what stands in certificates.
pub trait CredentialComposer: Send + Sync + 'static {
    /// The certificate of a workload with what is added to it.
    fn workload(&self, leaf: Leaf) -> Leaf;
}

/// `CredentialComposer "uniqueid" {}`: gives each workload an X.500 unique identifier in its subject,
/// for verifiers that tell callers apart by their subjects.
pub const UNIQUE_ID: BuiltIn<dyn CredentialComposer> = BuiltIn {
    name: "uniqueid",
    make: |settings, _| {
        let mut issues = Issues::default();
        let nothing = settings.fields(&mut issues, |_| Some(()));
        issues.finish(nothing)?.logged();
        Ok(Arc::new(UniqueId))
    },
};

struct UniqueId;

impl CredentialComposer for UniqueId {
    fn workload(&self, leaf: Leaf) -> Leaf {
        leaf.with_unique_id()
    }
}

//! The flags that describe an entry, and the entry that they describe.

use crate::cli::flags::Flags;
use crate::cli::selectors::{self, BadSelector};
use crate::cli::text::{self, BadId};
use crate::proto::types::{self, entry::AdditionalAttributes};

/// The flags of `entry create` and `entry update`.
#[derive(Debug, Default)]
pub(super) struct EntryFlags {
    pub(super) data: String,
    pub(super) entry_id: String,
    pub(super) federates_with: Vec<String>,
    pub(super) parent_id: String,
    admin: bool,
    disable_x509_svid_prefetch: Option<bool>,
    dns: Vec<String>,
    downstream: bool,
    entry_expiry: i64,
    hint: String,
    jwt_svid_include_jti: Option<bool>,
    jwt_svid_ttl: i32,
    selectors: Vec<String>,
    spiffe_id: String,
    store_svid: bool,
    x509_svid_ttl: i32,
}

impl EntryFlags {
    pub(super) fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        flags
            .flag(
                "admin",
                "Its holder may call all of the server's APIs",
                &mut self.admin,
            )
            .flag("data", DATA, &mut self.data)
            .flag(
                "disableX509SVIDPrefetch",
                PREFETCH,
                &mut self.disable_x509_svid_prefetch,
            )
            .flag(
                "dns",
                "A DNS `name` in its X509-SVIDs. Can be used more than once",
                &mut self.dns,
            )
            .flag(
                "downstream",
                "Its holder is a downstream server",
                &mut self.downstream,
            )
            .flag("entryExpiry", EXPIRY, &mut self.entry_expiry)
            .flag("entryID", "The ID of the entry", &mut self.entry_id)
            .flag("federatesWith", FEDERATES_WITH, &mut self.federates_with)
            .flag(
                "hint",
                "What tells it from other identities of a workload",
                &mut self.hint,
            )
            .flag("jwtSVIDIncludeJTI", JTI, &mut self.jwt_svid_include_jti)
            .flag(
                "jwtSVIDTTL",
                "The lifetime of its JWT-SVIDs, in seconds",
                &mut self.jwt_svid_ttl,
            )
            .flag(
                "parentID",
                "The SPIFFE ID of its parent",
                &mut self.parent_id,
            )
            .flag("selector", selectors::SELECTOR, &mut self.selectors)
            .flag(
                "spiffeID",
                "The SPIFFE ID that it gives",
                &mut self.spiffe_id,
            )
            .flag(
                "storeSVID",
                "Its SVIDs are put into a store",
                &mut self.store_svid,
            )
            .flag(
                "x509SVIDTTL",
                "The lifetime of its X509-SVIDs, in seconds",
                &mut self.x509_svid_ttl,
            )
    }

    /// The SPIFFE ID that the entry gives.
    pub(super) fn spiffe_id(&self) -> Result<types::Spiffeid, EntryError> {
        match &*self.spiffe_id {
            "" => Err(EntryError::NoSpiffeId),
            id => Ok(text::id("SPIFFE ID", id)?),
        }
    }

    /// The parent that the flags name.
    pub(super) fn parent_id(&self) -> Result<types::Spiffeid, EntryError> {
        Ok(text::id("parent ID", &self.parent_id)?)
    }

    /// The entry.
    pub(super) fn entry(&self, parent: types::Spiffeid) -> Result<types::Entry, EntryError> {
        if self.selectors.is_empty() {
            return Err(EntryError::NoSelectors);
        }
        for (ttl, kind) in [(self.x509_svid_ttl, "x509"), (self.jwt_svid_ttl, "JWT")] {
            if ttl < 0 {
                return Err(EntryError::NegativeTtl(kind));
            }
        }
        Ok(types::Entry {
            id: self.entry_id.clone(),
            spiffe_id: Some(self.spiffe_id()?),
            parent_id: Some(parent),
            selectors: selectors::selectors(&self.selectors)?,
            x509_svid_ttl: self.x509_svid_ttl,
            federates_with: self.federates_with.clone(),
            admin: self.admin,
            downstream: self.downstream,
            expires_at: self.entry_expiry,
            dns_names: self.dns.clone(),
            store_svid: self.store_svid,
            jwt_svid_ttl: self.jwt_svid_ttl,
            hint: self.hint.clone(),
            additional_attributes: self.attributes_over(None),
            ..Default::default()
        })
    }

    /// Whether the flags say something about attributes that are only ever sent together.
    pub(super) fn names_attributes(&self) -> bool {
        self.disable_x509_svid_prefetch.is_some() || self.jwt_svid_include_jti.is_some()
    }

    /// The attributes as they were, with what the flags say of them.
    pub(super) fn attributes_over(
        &self,
        before: Option<AdditionalAttributes>,
    ) -> Option<AdditionalAttributes> {
        if !self.names_attributes() {
            return before;
        }
        let mut attributes = before.unwrap_or_default();
        if let Some(disable) = self.disable_x509_svid_prefetch {
            attributes.disable_x509_svid_prefetch = disable;
        }
        if let Some(include) = self.jwt_svid_include_jti {
            attributes.jwt_svid_include_jti = include;
        }
        Some(attributes)
    }
}

/// What the flags leave open or say wrongly.
#[derive(Debug, thiserror::Error)]
pub(super) enum EntryError {
    #[error(transparent)]
    BadId(#[from] BadId),
    #[error(transparent)]
    BadSelector(#[from] BadSelector),
    #[error("a positive {0}-SVID TTL is required")]
    NegativeTtl(&'static str),
    #[error("an entry ID is required")]
    NoEntryId,
    #[error("a parent ID is required")]
    NoParentId,
    #[error("a parent ID is required if the node flag is not set")]
    NoParentIdNorNode,
    #[error("at least one selector is required")]
    NoSelectors,
    #[error("a SPIFFE ID is required")]
    NoSpiffeId,
    #[error("node entries can not federate")]
    NodeFederates,
}

const DATA: &str = "A `file` with the entries as JSON, - for the input; the flags that describe an entry are unused";
const EXPIRY: &str = "When the entry is removed, in seconds since the epoch";
const FEDERATES_WITH: &str =
    "A foreign trust `domain` whose bundle it gets. Can be used more than once";
const JTI: &str = "Each of its JWT-SVIDs bears an ID of its own";
const PREFETCH: &str = "Agents wait with its X509-SVID until it is asked for";

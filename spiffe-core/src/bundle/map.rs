//! Many bundles in one document: the SPIFFE bundle map, which gRPC reads from a file.

use serde_json::{Value, json};

use super::document::{Loaded, MAX_LEN, MAX_TOLD};
use super::error::{BundleMapError, WriteError};
use super::{BundleSet, TrustBundle};
use crate::TrustDomain;
use crate::json::{self as strict, Object};

impl BundleSet {
    /// Reads a SPIFFE bundle map (SPIFFE Trust Domain and Bundle section 5; gRFC A87): all of it or
    /// nothing.
    ///
    /// Refresh hints of its bundles mean nothing there (section 5.1.1) and are left out.
    ///
    /// # Errors
    ///
    /// Where it is no map of bundles, a trust domain is in it twice, or a bundle is malformed.
    pub fn from_bundle_map(text: &[u8]) -> Result<Loaded<Self>, BundleMapError> {
        let map = strict::object(text, MAX_LEN)?;
        let bundles = map
            .get(TRUST_DOMAINS)
            .and_then(Value::as_object)
            .ok_or(BundleMapError::NoTrustDomains)?;
        let mut skipped = Vec::new();
        let mut set = Vec::new();
        for (name, document) in bundles {
            let loaded = bundle(name, document)?;
            skipped.extend(loaded.skipped);
            set.push(loaded.value.with_refresh_hint(None));
        }
        Ok(Loaded {
            value: set.into_iter().collect(),
            skipped,
        })
    }

    /// Writes a SPIFFE bundle map.
    ///
    /// # Errors
    ///
    /// Where one of the bundles cannot be published; see [`TrustBundle::to_document`].
    pub fn to_bundle_map(&self) -> Result<String, WriteError> {
        let mut bundles = Object::new();
        for bundle in self.iter() {
            bundles.insert(bundle.trust_domain().to_string(), bundle.members()?.into());
        }
        Ok(json!({ TRUST_DOMAINS: bundles }).to_string())
    }
}

fn bundle(name: &str, document: &Value) -> Result<Loaded<TrustBundle>, BundleMapError> {
    let trust_domain: TrustDomain = name.parse().map_err(|source| BundleMapError::Name {
        name: name.chars().take(MAX_TOLD).collect(),
        source,
    })?;
    let Some(document) = document.as_object() else {
        let source = strict::JsonError::NotAnObject.into();
        return Err(BundleMapError::Bundle {
            trust_domain,
            source,
        });
    };
    TrustBundle::from_members(trust_domain.clone(), document).map_err(|source| {
        BundleMapError::Bundle {
            trust_domain,
            source,
        }
    })
}

const TRUST_DOMAINS: &str = "trust_domains";

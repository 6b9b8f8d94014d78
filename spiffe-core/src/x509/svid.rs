//! X.509-SVIDs: a chain and the key that belongs to it, or no value at all.

use std::sync::Arc;
use std::time::SystemTime;

use super::{Certificate, PrivateKey, X509Error};
use crate::SpiffeId;

/// An X.509-SVID with its private key (X509-SVID section 2). Cheap to clone.
///
/// ID, chain and key agree with one another: the leaf obeys the rules of the standard, and the key
/// is the leaf's.
#[derive(Debug, Clone)]
pub struct X509Svid {
    id: SpiffeId,
    chain: Arc<[Certificate]>,
    key: PrivateKey,
    hint: Arc<str>,
}

impl X509Svid {
    /// The SVID of this chain, leaf first, and this key.
    ///
    /// # Errors
    ///
    /// Where there is no leaf, it breaks a rule, or the key belongs to another one.
    pub fn new(chain: Vec<Certificate>, key: PrivateKey) -> Result<Self, X509Error> {
        let leaf = chain.first().ok_or(X509Error::NoCertificate)?;
        let id = leaf.leaf_id()?;
        if leaf.public_key() != key.public_key() {
            return Err(X509Error::ForeignKey);
        }
        Ok(Self {
            id,
            chain: chain.into(),
            key,
            hint: Arc::from(""),
        })
    }

    /// Reads the form of the Workload API: certificates in DER one after the other, leaf first,
    /// and an unencrypted PKCS#8 key (SPIFFE Workload API section 5.1).
    ///
    /// # Errors
    ///
    /// Where either is malformed, or as for [`new`](Self::new).
    pub fn from_der(chain: &[u8], key: &[u8]) -> Result<Self, X509Error> {
        Self::new(
            Certificate::many_from_der(chain)?,
            PrivateKey::from_pkcs8_der(key)?,
        )
    }

    /// Reads PEM texts.
    ///
    /// # Errors
    ///
    /// As for [`from_der`](Self::from_der).
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, X509Error> {
        Self::new(
            Certificate::many_from_pem(chain)?,
            PrivateKey::from_pem(key)?,
        )
    }

    /// The same SVID with a hint (SPIFFE Workload API section 8).
    #[must_use]
    pub fn with_hint(self, hint: &str) -> Self {
        Self {
            hint: hint.into(),
            ..self
        }
    }

    /// The identity.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The certificates, leaf first.
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// The certificates in DER one after the other, leaf first, as the Workload API sends them.
    #[must_use]
    pub fn chain_der(&self) -> Vec<u8> {
        self.chain.iter().flat_map(|c| c.der().to_vec()).collect()
    }

    /// The certificates as PEM blocks, leaf first. The key has its own
    /// [`to_pem`](PrivateKey::to_pem).
    #[must_use]
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(Certificate::to_pem).collect()
    }

    /// The first certificate, which carries the identity.
    #[must_use]
    pub fn leaf(&self) -> &Certificate {
        // `new` refuses an empty chain.
        &self.chain[0]
    }

    /// The private key of the leaf.
    #[must_use]
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// When the leaf begins to be valid.
    #[must_use]
    pub fn not_before(&self) -> SystemTime {
        self.leaf().not_before()
    }

    /// When the leaf ceases to be valid.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.leaf().not_after()
    }

    /// What the operator tells this identity apart by; often empty.
    #[must_use]
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

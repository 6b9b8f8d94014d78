//! A certificate and its facts, and the rules that are judged by them, whoever holds the bytes.

use std::time::SystemTime;

use super::X509Error;
use super::facts::Facts;
use crate::SpiffeId;
use crate::der::Malformed;

/// DER and the facts that were read off it. `D` holds the bytes: for good, or for a moment.
pub(crate) struct Parsed<D> {
    pub(super) der: D,
    pub(super) facts: Facts,
}

impl<'a> Parsed<&'a [u8]> {
    /// Reads a certificate where it lies: that of a peer, of which only the verdict is kept.
    pub(crate) fn read(der: &'a [u8]) -> Result<Self, X509Error> {
        super::refuse_pem(der)?;
        Self::read_numbered(der, 0)
    }

    pub(super) fn read_numbered(der: &'a [u8], index: usize) -> Result<Self, X509Error> {
        let malformed = |Malformed { at }| X509Error::Certificate { index, at };
        let facts = Facts::read(der).map_err(malformed)?;
        Ok(Self { der, facts })
    }
}

impl<D: AsRef<[u8]>> Parsed<D> {
    pub(crate) fn not_after(&self) -> SystemTime {
        self.facts.not_after
    }

    /// See [`Certificate::may_issue`](super::Certificate::may_issue).
    pub(crate) fn may_issue(&self) -> bool {
        let facts = &self.facts;
        facts.is_ca && facts.key_usage.is_none_or(|usage| usage.cert_sign)
    }

    /// See [`Certificate::spiffe_id`](super::Certificate::spiffe_id).
    pub(crate) fn spiffe_id(&self) -> Result<SpiffeId, X509Error> {
        let names = &self.facts.uri_names;
        if names.count != 1 {
            return Err(X509Error::UriNames { count: names.count });
        }
        if names.constructed {
            return Err(X509Error::UriNameInPieces);
        }
        let name = &self.der.as_ref()[names.last.clone()];
        // What is not ASCII fails as a byte that no ID may hold; the scheme is checked before.
        let text = str::from_utf8(name).map_err(|_| crate::IdError::Scheme)?;
        Ok(text.parse()?)
    }

    /// See [`Certificate::leaf_id`](super::Certificate::leaf_id).
    pub(crate) fn leaf_id(&self) -> Result<SpiffeId, X509Error> {
        let facts = &self.facts;
        if facts.is_ca {
            return Err(X509Error::CaLeaf);
        }
        match facts.key_usage {
            Some(usage) if usage.cert_sign || usage.crl_sign => {
                return Err(X509Error::SigningLeaf);
            }
            Some(usage) if usage.digital_signature => {}
            _ => return Err(X509Error::NoDigitalSignature),
        }
        if facts.subject_is_empty && !facts.names_critical {
            return Err(X509Error::UncriticalName);
        }
        let id = self.spiffe_id()?;
        if id.path().is_empty() {
            return Err(X509Error::RootPath);
        }
        Ok(id)
    }
}

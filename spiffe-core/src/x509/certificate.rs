//! A certificate: its DER and the few facts that we judge by, parsed once.

use std::fmt;
use std::str;
use std::sync::Arc;
use std::time::SystemTime;

use der::{Reader, SliceReader};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::facts::Facts;
use super::{PublicKey, X509Error};
use crate::SpiffeId;

/// An X.509 certificate. Cheap to clone.
#[derive(Clone)]
pub struct Certificate(Arc<Inner>);

struct Inner {
    der: CertificateDer<'static>,
    facts: Facts,
}

impl Certificate {
    /// How many certificates one input may hold.
    pub const MAX_MANY: usize = 200;

    /// Reads exactly one DER certificate.
    ///
    /// # Errors
    ///
    /// Where the bytes are no certificate, or more than one.
    pub fn from_der(der: &[u8]) -> Result<Self, X509Error> {
        super::refuse_pem(der)?;
        Self::read(der, 0)
    }

    /// Reads DER certificates that stand one after the other, as the Workload API sends them.
    ///
    /// # Errors
    ///
    /// Where one of them is malformed, or there are more than [`MAX_MANY`](Self::MAX_MANY). No
    /// bytes are no certificates, which is no error here.
    pub fn many_from_der(mut der: &[u8]) -> Result<Vec<Self>, X509Error> {
        super::refuse_pem(der)?;
        let mut certificates = Vec::new();
        while !der.is_empty() {
            let index = certificates.len();
            if index == Self::MAX_MANY {
                return Err(X509Error::TooMany {
                    limit: Self::MAX_MANY,
                });
            }
            let malformed = |_| X509Error::Certificate { index, at: 0 };
            let first = SliceReader::new(der)
                .and_then(|mut r| r.tlv_bytes())
                .map_err(malformed)?;
            certificates.push(Self::read(first, index)?);
            der = &der[first.len()..];
        }
        Ok(certificates)
    }

    /// Reads all certificates of a PEM text; other blocks are passed over.
    ///
    /// # Errors
    ///
    /// Where the text is malformed, holds no certificate, or a certificate is malformed.
    pub fn many_from_pem(text: &[u8]) -> Result<Vec<Self>, X509Error> {
        let mut certificates = Vec::new();
        for der in CertificateDer::pem_slice_iter(text) {
            let index = certificates.len();
            if index == Self::MAX_MANY {
                return Err(X509Error::TooMany {
                    limit: Self::MAX_MANY,
                });
            }
            certificates.push(Self::read(&der.map_err(|_| X509Error::Pem)?, index)?);
        }
        if certificates.is_empty() {
            return Err(X509Error::NotInPem {
                what: "certificate",
            });
        }
        Ok(certificates)
    }

    fn read(der: &[u8], index: usize) -> Result<Self, X509Error> {
        let facts = Facts::read(der).map_err(|error| X509Error::Certificate {
            index,
            at: error
                .position()
                .map_or(0, |at| usize::try_from(u32::from(at)).unwrap_or(0)),
        })?;
        Ok(Self(Arc::new(Inner {
            der: der.to_vec().into(),
            facts,
        })))
    }

    /// The DER.
    #[must_use]
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.0.der
    }

    /// The certificate as a PEM block.
    #[must_use]
    pub fn to_pem(&self) -> String {
        super::to_pem("CERTIFICATE", self.der())
    }

    /// When it begins to be valid.
    #[must_use]
    pub fn not_before(&self) -> SystemTime {
        self.0.facts.not_before
    }

    /// When it ceases to be valid.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.0.facts.not_after
    }

    /// The serial number: big-endian, unsigned, without leading zeros.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        &self.0.facts.serial
    }

    /// The subject's name, as DER.
    #[must_use]
    pub fn subject_der(&self) -> &[u8] {
        &self.0.der[self.0.facts.subject.clone()]
    }

    /// Whether issuer and subject have one name, as those of a root do (RFC 5280 section 3.2).
    #[must_use]
    pub fn is_self_issued(&self) -> bool {
        self.0.facts.is_self_issued
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.0.facts.public_key
    }

    /// Whether it is an authority (basic constraints, cA).
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.0.facts.is_ca
    }

    /// Whether it may sign certificates: it is an authority, and its key usage, where there is
    /// one, says so (RFC 5280 section 4.2.1.3).
    #[must_use]
    pub fn may_issue(&self) -> bool {
        self.is_ca() && self.0.facts.key_usage.is_none_or(|usage| usage.cert_sign)
    }

    /// The subject key identifier.
    #[must_use]
    pub fn subject_key_id(&self) -> Option<&[u8]> {
        self.0.facts.subject_key_id.as_deref()
    }

    /// The key identifier of the authority that signed it.
    #[must_use]
    pub fn authority_key_id(&self) -> Option<&[u8]> {
        self.0.facts.authority_key_id.as_deref()
    }

    /// The SPIFFE ID: that of the one URI name (X509-SVID section 2).
    ///
    /// # Errors
    ///
    /// Where there is not exactly one URI name, or it is no SPIFFE ID.
    pub fn spiffe_id(&self) -> Result<SpiffeId, X509Error> {
        let [name] = &self.0.facts.uri_names[..] else {
            return Err(X509Error::UriNames {
                count: self.0.facts.uri_names.len(),
            });
        };
        // What is not ASCII fails as a byte that no ID may hold; the scheme is checked before.
        let text = str::from_utf8(name).map_err(|_| crate::IdError::Scheme)?;
        Ok(text.parse()?)
    }

    /// The SPIFFE ID of a leaf, after all rules that the standard sets a leaf (X509-SVID sections
    /// 2, 3.1, 4.1, 4.3 and 5.2).
    ///
    /// # Errors
    ///
    /// The rule that is broken.
    pub fn leaf_id(&self) -> Result<SpiffeId, X509Error> {
        let facts = &self.0.facts;
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

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der() == other.der()
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self
            .0
            .facts
            .uri_names
            .iter()
            .map(|name| String::from_utf8_lossy(name));
        f.debug_struct("Certificate")
            .field("uri_names", &names.collect::<Vec<_>>())
            .field("not_after", &self.not_after())
            .finish_non_exhaustive()
    }
}

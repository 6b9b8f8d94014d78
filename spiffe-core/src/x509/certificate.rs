//! A certificate: its DER and the few facts that we judge by, parsed once.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::anchor_from_trusted_cert;

use super::facts::Facts;
use super::parsed::Parsed;
use super::{PublicKey, X509Error};
use crate::SpiffeId;
use crate::der::{Malformed, Walk};

/// An X.509 certificate. Cheap to clone.
#[derive(Clone)]
pub struct Certificate(Arc<Inner>);

struct Inner {
    parsed: Parsed<CertificateDer<'static>>,
    public_key: PublicKey,
    // Made when it is first asked for, and asked for at each handshake from then on.
    anchor: OnceLock<Option<TrustAnchor<'static>>>,
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
            let malformed = |Malformed { at }| X509Error::Certificate { index, at };
            let first = Walk::over(der).any().map_err(malformed)?.whole();
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
        let Parsed { facts, .. } = Parsed::read_numbered(der, index)?;
        Ok(Self(Arc::new(Inner {
            public_key: PublicKey::inside(der, &facts.public_key),
            parsed: Parsed {
                der: der.to_vec().into(),
                facts,
            },
            anchor: OnceLock::new(),
        })))
    }

    /// The DER.
    #[must_use]
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.0.parsed.der
    }

    /// What webpki makes of it as an authority, if anything.
    pub(crate) fn anchor(&self) -> Option<&TrustAnchor<'static>> {
        let make = || Some(anchor_from_trusted_cert(self.der()).ok()?.to_owned());
        self.0.anchor.get_or_init(make).as_ref()
    }

    /// The certificate as a PEM block.
    #[must_use]
    pub fn to_pem(&self) -> String {
        super::to_pem("CERTIFICATE", self.der())
    }

    /// When it begins to be valid.
    #[must_use]
    pub fn not_before(&self) -> SystemTime {
        self.facts().not_before
    }

    /// When it ceases to be valid.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.0.parsed.not_after()
    }

    /// The serial number: big-endian, unsigned, without leading zeros.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        &self.der()[self.facts().serial.clone()]
    }

    /// The subject's name, as DER.
    #[must_use]
    pub fn subject_der(&self) -> &[u8] {
        &self.der()[self.facts().subject.clone()]
    }

    /// Whether issuer and subject have one name, as those of a root do (RFC 5280 section 3.2).
    #[must_use]
    pub fn is_self_issued(&self) -> bool {
        self.facts().is_self_issued
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.0.public_key
    }

    /// Whether it is an authority (basic constraints, cA).
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.facts().is_ca
    }

    /// Whether it may sign certificates: it is an authority, and its key usage, where there is
    /// one, says so (RFC 5280 section 4.2.1.3).
    #[must_use]
    pub fn may_issue(&self) -> bool {
        self.0.parsed.may_issue()
    }

    /// The subject key identifier.
    #[must_use]
    pub fn subject_key_id(&self) -> Option<&[u8]> {
        let at = self.facts().subject_key_id.clone()?;
        Some(&self.der()[at])
    }

    /// The key identifier of the authority that signed it.
    #[must_use]
    pub fn authority_key_id(&self) -> Option<&[u8]> {
        let at = self.facts().authority_key_id.clone()?;
        Some(&self.der()[at])
    }

    /// The SPIFFE ID: that of the one URI name (X509-SVID section 2).
    ///
    /// # Errors
    ///
    /// Where there is not exactly one URI name, or it is no SPIFFE ID.
    pub fn spiffe_id(&self) -> Result<SpiffeId, X509Error> {
        self.0.parsed.spiffe_id()
    }

    /// The SPIFFE ID of a leaf, after all rules that the standard sets a leaf (X509-SVID sections
    /// 2, 3.1, 4.1, 4.3 and 5.2).
    ///
    /// # Errors
    ///
    /// The rule that is broken.
    pub fn leaf_id(&self) -> Result<SpiffeId, X509Error> {
        self.0.parsed.leaf_id()
    }

    fn facts(&self) -> &Facts {
        &self.0.parsed.facts
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
        f.debug_struct("Certificate")
            .field("spiffe_id", &self.spiffe_id())
            .field("not_after", &self.not_after())
            .finish_non_exhaustive()
    }
}

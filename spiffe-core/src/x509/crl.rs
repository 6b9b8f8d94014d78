//! Certificate revocation lists: read, and kept as they came.

use std::fmt;
use std::sync::Arc;

use rustls_pki_types::CertificateRevocationListDer;
use webpki::BorrowedCertRevocationList;

use super::X509Error;

/// A certificate revocation list (RFC 5280 section 5), as the Workload API sends it (SPIFFE Workload
/// API section 5.2.1). Cheap to clone.
///
/// Its shape has been checked and its signature has not. Nothing here judges peers by it: SPIFFE
/// revokes by letting certificates end soon.
#[derive(Clone, PartialEq, Eq)]
pub struct Crl(Arc<CertificateRevocationListDer<'static>>);

impl Crl {
    /// Reads a list in DER.
    ///
    /// # Errors
    ///
    /// Where it is malformed.
    pub fn from_der(der: &[u8]) -> Result<Self, X509Error> {
        BorrowedCertRevocationList::from_der(der).map_err(|_| X509Error::Crl)?;
        let der = CertificateRevocationListDer::from(der.to_vec());
        Ok(Self(Arc::new(der)))
    }

    /// The list in DER.
    #[must_use]
    pub fn der(&self) -> &CertificateRevocationListDer<'static> {
        &self.0
    }
}

impl fmt::Debug for Crl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crl({} bytes)", self.0.len())
    }
}

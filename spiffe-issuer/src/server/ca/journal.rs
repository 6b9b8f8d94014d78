//! What this server has to know of its authorities after a restart: which there are, in which slot
//! the key of each is, and how far each has come. The keys stay in the key manager.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use spiffe_core::x509::Certificate;

use super::CaError;
use super::rotation::{Authority, Rotation};
use crate::domain::AuthorityId;
use crate::keys::KeyId;

/// The two keys that take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Slot {
    A,
    B,
}

impl Slot {
    pub(super) const BOTH: [Self; 2] = [Self::A, Self::B];

    pub(super) fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The key in this slot of the X.509 authorities.
    pub(super) fn x509_key(self) -> KeyId {
        let [a, b] = KeyId::X509_CA;
        match self {
            Self::A => a,
            Self::B => b,
        }
    }
}

/// An X.509 authority, but for its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct X509Record {
    /// Where its key is; of an old authority, where it was.
    pub(super) slot: Slot,
    pub(super) issued_at: SystemTime,
    pub(super) certificate: Certificate,
    /// What goes out behind each leaf.
    pub(super) intermediates: Vec<Certificate>,
}

impl X509Record {
    pub(super) fn id(&self) -> AuthorityId {
        AuthorityId::from_key_id(self.certificate.subject_key_id().unwrap_or_default())
    }
}

impl Authority for X509Record {
    fn issued_at(&self) -> SystemTime {
        self.issued_at
    }

    fn not_after(&self) -> SystemTime {
        self.certificate.not_after()
    }
}

/// The journal as the store keeps it.
pub(super) fn write(x509: &Rotation<X509Record>) -> Vec<u8> {
    let lines = [
        x509.active().map(|record| Line::of(Stands::Active, record)),
        x509.next().map(|record| Line::of(Stands::Prepared, record)),
        x509.old().map(|record| Line::of(Stands::Old, record)),
    ];
    let document = Document {
        version: VERSION,
        x509: lines.into_iter().flatten().collect(),
    };
    // Numbers and texts in lists have no way to fail.
    serde_json::to_vec(&document).unwrap_or_default()
}

/// Reads what the store kept.
pub(super) fn read(body: &[u8]) -> Result<Rotation<X509Record>, CaError> {
    let document: Document = serde_json::from_slice(body).map_err(JournalError::Json)?;
    if document.version != VERSION {
        return Err(JournalError::Version(document.version).into());
    }
    let [mut active, mut next, mut old] = [None, None, None];
    for line in document.x509 {
        let record = Some(line.record()?);
        match line.standing {
            Stands::Active => active = record,
            Stands::Prepared => next = record,
            Stands::Old => old = record,
        }
    }
    Ok(Rotation::of(active, next, old))
}

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A certificate in it is none.
    #[error("one of its certificates is malformed")]
    Certificate(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It is not in the form that we write.
    #[error("it is not in the form that we write")]
    Json(#[source] serde_json::Error),
    /// A time in it is further away than time goes.
    #[error("{0} seconds after 1970 are no time")]
    Time(u64),
    /// A newer program wrote it.
    #[error("it has version {0}, this program knows version {VERSION}")]
    Version(u32),
}

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    x509: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    standing: Stands,
    slot: Slot,
    issued_at: u64,
    /// The authority's own certificate as base64 of DER, and then what goes out behind each leaf.
    certificates: Vec<String>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Stands {
    Active,
    Old,
    Prepared,
}

impl Line {
    fn of(standing: Stands, record: &X509Record) -> Self {
        let issued_at = record.issued_at.duration_since(SystemTime::UNIX_EPOCH);
        let certificates = std::iter::once(&record.certificate).chain(&record.intermediates);
        Self {
            standing,
            slot: record.slot,
            issued_at: issued_at.unwrap_or_default().as_secs(),
            certificates: certificates.map(|c| STANDARD.encode(c.der())).collect(),
        }
    }

    fn record(&self) -> Result<X509Record, JournalError> {
        let certificate = |text: &String| {
            let der = STANDARD.decode(text);
            let der = der.map_err(|error| JournalError::Certificate(error.into()))?;
            Certificate::from_der(&der).map_err(|error| JournalError::Certificate(error.into()))
        };
        let mut certificates = self.certificates.iter().map(certificate);
        let own = certificates
            .next()
            .unwrap_or_else(|| Err(JournalError::Certificate("there is none".into())))?;
        let issued_at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.issued_at));
        Ok(X509Record {
            slot: self.slot,
            issued_at: issued_at.ok_or(JournalError::Time(self.issued_at))?,
            certificate: own,
            intermediates: certificates.collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_journal_is_an_error_and_never_a_panic() {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::default();
        let root = STANDARD.encode(params.self_signed(&key).unwrap().der());
        let document = |issued_at: u64, certificates: &str| {
            format!(
                r#"{{"version": 1, "x509": [{{"standing": "active", "slot": "A",
                    "issued_at": {issued_at}, "certificates": [{certificates}]}}]}}"#
            )
        };
        let root = format!("\"{root}\"");
        assert!(read(document(1, &root).as_bytes()).is_ok());
        for body in [
            String::new(),
            "{}".to_owned(),
            r#"{"version": 2, "x509": []}"#.to_owned(),
            document(1, ""),
            document(1, "\"!\""),
            document(1, "\"AAAA\""),
            document(u64::MAX, &root),
        ] {
            assert!(read(body.as_bytes()).is_err(), "{body}");
        }
    }
}

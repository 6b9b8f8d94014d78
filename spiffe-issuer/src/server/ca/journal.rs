//! What this server has to know of its authorities after a restart: which there are, in which slot
//! the key of each is, and how far each has come. The keys stay in the key manager.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use spiffe_core::x509::{Certificate, PublicKey};

use super::rotation::{Authority, Rotation};
use super::{AuthorityState, CaError};
use crate::domain::{AuthorityId, AuthorityKind, Standing};
use crate::keys::KeyId;

/// All that is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Journal {
    pub(super) x509: Rotation<X509Record>,
    pub(super) jwt: Rotation<TokenRecord>,
    pub(super) wit: Rotation<TokenRecord>,
}

impl Journal {
    /// Nothing is.
    pub(super) const EMPTY: Self = Self {
        x509: Rotation::Empty,
        jwt: Rotation::Empty,
        wit: Rotation::Empty,
    };

    pub(super) fn tokens(&self, kind: TokenKind) -> &Rotation<TokenRecord> {
        match kind {
            TokenKind::Jwt => &self.jwt,
            TokenKind::Wit => &self.wit,
        }
    }

    pub(super) fn with_x509(&self, x509: Rotation<X509Record>) -> Self {
        Self {
            x509,
            ..self.clone()
        }
    }

    pub(super) fn with_tokens(&self, kind: TokenKind, keys: Rotation<TokenRecord>) -> Self {
        match kind {
            TokenKind::Jwt => Self {
                jwt: keys,
                ..self.clone()
            },
            TokenKind::Wit => Self {
                wit: keys,
                ..self.clone()
            },
        }
    }

    /// How the authorities of this kind stand: the one that signs first.
    pub(super) fn states(&self, kind: AuthorityKind) -> Vec<AuthorityState> {
        match kind {
            AuthorityKind::Jwt => self.jwt.all().map(TokenRecord::state).collect(),
            AuthorityKind::Wit => self.wit.all().map(TokenRecord::state).collect(),
            AuthorityKind::X509 => self.x509.all().map(X509Record::state).collect(),
        }
    }
}

/// The kinds of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    Jwt,
    Wit,
}

impl From<TokenKind> for AuthorityKind {
    fn from(kind: TokenKind) -> Self {
        match kind {
            TokenKind::Jwt => Self::Jwt,
            TokenKind::Wit => Self::Wit,
        }
    }
}

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

    /// The key in this slot of the authorities of this kind.
    pub(super) fn key(self, kind: AuthorityKind) -> KeyId {
        let [a, b] = match kind {
            AuthorityKind::Jwt => KeyId::JWT_SIGNER,
            AuthorityKind::Wit => KeyId::WIT_SIGNER,
            AuthorityKind::X509 => KeyId::X509_CA,
        };
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

    /// The root above it; none where it is a root itself.
    pub(super) fn upstream(&self) -> Option<AuthorityId> {
        let uppermost = self.intermediates.last()?;
        uppermost.authority_key_id().map(AuthorityId::from_key_id)
    }

    pub(super) fn state((standing, record): (Standing, &Self)) -> AuthorityState {
        AuthorityState {
            id: record.id(),
            standing,
            expires_at: record.not_after(),
            upstream: record.upstream(),
        }
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

/// An authority that signs tokens, but for its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TokenRecord {
    /// Where its key is; of an old authority, where it was.
    pub(super) slot: Slot,
    pub(super) id: AuthorityId,
    pub(super) public_key: PublicKey,
    pub(super) issued_at: SystemTime,
    pub(super) not_after: SystemTime,
}

impl TokenRecord {
    pub(super) fn state((standing, record): (Standing, &Self)) -> AuthorityState {
        AuthorityState {
            id: record.id.clone(),
            standing,
            expires_at: record.not_after,
            upstream: None,
        }
    }
}

impl Authority for TokenRecord {
    fn issued_at(&self) -> SystemTime {
        self.issued_at
    }

    fn not_after(&self) -> SystemTime {
        self.not_after
    }
}

/// The journal as the store keeps it.
pub(super) fn write(journal: &Journal) -> Vec<u8> {
    let document = Document {
        version: VERSION,
        x509: journal.x509.all().map(X509Line::of).collect(),
        jwt: journal.jwt.all().map(TokenLine::of).collect(),
        wit: journal.wit.all().map(TokenLine::of).collect(),
    };
    // Numbers and texts in lists have no way to fail.
    serde_json::to_vec(&document).unwrap_or_default()
}

/// Reads what the store kept.
pub(super) fn read(body: &[u8]) -> Result<Journal, CaError> {
    let document: Document = serde_json::from_slice(body).map_err(JournalError::Json)?;
    if !(OLDEST..=VERSION).contains(&document.version) {
        return Err(JournalError::Version(document.version).into());
    }
    Ok(Journal {
        x509: rotation(&document.x509, X509Line::record)?,
        jwt: rotation(&document.jwt, TokenLine::record)?,
        wit: rotation(&document.wit, TokenLine::record)?,
    })
}

fn rotation<L, A: Authority>(
    lines: &[L],
    record: impl Fn(&L) -> Result<(Stands, A), JournalError>,
) -> Result<Rotation<A>, JournalError> {
    let [mut active, mut next, mut old] = [None, None, None];
    for line in lines {
        let (standing, record) = record(line)?;
        match standing {
            Stands::Active => active = Some(record),
            Stands::Prepared => next = Some(record),
            Stands::Old => old = Some(record),
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
    /// A key in it is none.
    #[error("one of its keys is malformed")]
    Key(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A time in it is further away than time goes.
    #[error("{0} seconds after 1970 are no time")]
    Time(u64),
    /// A newer program wrote it.
    #[error("it has version {0}, this program knows versions up to {VERSION}")]
    Version(u32),
}

/// The first version knew X.509 authorities only.
const OLDEST: u32 = 1;
const VERSION: u32 = 2;

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    x509: Vec<X509Line>,
    #[serde(default)]
    jwt: Vec<TokenLine>,
    #[serde(default)]
    wit: Vec<TokenLine>,
}

#[derive(Serialize, Deserialize)]
struct X509Line {
    standing: Stands,
    slot: Slot,
    issued_at: u64,
    /// The authority's own certificate as base64 of DER, and then what goes out behind each leaf.
    certificates: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct TokenLine {
    standing: Stands,
    slot: Slot,
    issued_at: u64,
    not_after: u64,
    key_id: String,
    /// As base64 of DER.
    public_key: String,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Stands {
    Active,
    Old,
    Prepared,
}

impl From<Standing> for Stands {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Active => Self::Active,
            Standing::Old => Self::Old,
            Standing::Prepared => Self::Prepared,
        }
    }
}

impl X509Line {
    fn of((standing, record): (Standing, &X509Record)) -> Self {
        let certificates = std::iter::once(&record.certificate).chain(&record.intermediates);
        Self {
            standing: standing.into(),
            slot: record.slot,
            issued_at: seconds(record.issued_at),
            certificates: certificates.map(|c| STANDARD.encode(c.der())).collect(),
        }
    }

    fn record(&self) -> Result<(Stands, X509Record), JournalError> {
        let certificate = |text: &String| {
            let der = STANDARD.decode(text);
            let der = der.map_err(|error| JournalError::Certificate(error.into()))?;
            Certificate::from_der(&der).map_err(|error| JournalError::Certificate(error.into()))
        };
        let mut certificates = self.certificates.iter().map(certificate);
        let own = certificates
            .next()
            .unwrap_or_else(|| Err(JournalError::Certificate("there is none".into())))?;
        let record = X509Record {
            slot: self.slot,
            issued_at: time(self.issued_at)?,
            certificate: own,
            intermediates: certificates.collect::<Result<_, _>>()?,
        };
        Ok((self.standing, record))
    }
}

impl TokenLine {
    fn of((standing, record): (Standing, &TokenRecord)) -> Self {
        Self {
            standing: standing.into(),
            slot: record.slot,
            issued_at: seconds(record.issued_at),
            not_after: seconds(record.not_after),
            key_id: record.id.as_str().to_owned(),
            public_key: STANDARD.encode(record.public_key.spki_der()),
        }
    }

    fn record(&self) -> Result<(Stands, TokenRecord), JournalError> {
        let der = STANDARD.decode(&self.public_key);
        let der = der.map_err(|error| JournalError::Key(error.into()))?;
        let key = PublicKey::from_spki_der(&der);
        let record = TokenRecord {
            slot: self.slot,
            id: AuthorityId::from_text(&self.key_id),
            public_key: key.map_err(|error| JournalError::Key(error.into()))?,
            issued_at: time(self.issued_at)?,
            not_after: time(self.not_after)?,
        };
        Ok((self.standing, record))
    }
}

fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

fn time(seconds: u64) -> Result<SystemTime, JournalError> {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    time.ok_or(JournalError::Time(seconds))
}

#[cfg(test)]
mod tests {
    use spiffe_core::x509::{KeyKind, PrivateKey};

    use super::*;

    fn document(version: u32, issued_at: u64, certificates: &str, more: &str) -> String {
        format!(
            r#"{{"version": {version}, "x509": [{{"standing": "active", "slot": "A",
                "issued_at": {issued_at}, "certificates": [{certificates}]}}]{more}}}"#
        )
    }

    fn root() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::default();
        let root = STANDARD.encode(params.self_signed(&key).unwrap().der());
        format!("\"{root}\"")
    }

    #[test]
    fn what_is_no_journal_is_an_error_and_never_a_panic() {
        let root = root();
        let key = |end: u64, key: &str| {
            format!(
                r#", "jwt": [{{"standing": "old", "slot": "B", "issued_at": 1, "not_after": {end},
                    "key_id": "k", "public_key": "{key}"}}]"#
            )
        };
        let good = PrivateKey::generate(KeyKind::EcP256).unwrap();
        let good = STANDARD.encode(good.public_key().spki_der());
        assert!(read(document(2, 1, &root, &key(9, &good)).as_bytes()).is_ok());
        for body in [
            String::new(),
            "{}".to_owned(),
            r#"{"version": 0, "x509": []}"#.to_owned(),
            r#"{"version": 3, "x509": []}"#.to_owned(),
            document(2, 1, "", ""),
            document(2, 1, "\"!\"", ""),
            document(2, 1, "\"AAAA\"", ""),
            document(2, u64::MAX, &root, ""),
            document(2, 1, &root, &key(u64::MAX, &good)),
            document(2, 1, &root, &key(9, "!")),
            document(2, 1, &root, &key(9, "AAAA")),
        ] {
            assert!(read(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_journal_of_the_first_version_has_no_keys_of_tokens() {
        let read = read(document(1, 1, &root(), "").as_bytes()).unwrap();
        assert!(read.x509.active().is_some());
        assert_eq!((read.jwt, read.wit), (Rotation::Empty, Rotation::Empty));
    }

    #[test]
    fn a_journal_comes_back_as_it_was_written() {
        let record = |slot, id: &str, from: u64| TokenRecord {
            slot,
            id: AuthorityId::from_text(id),
            public_key: PrivateKey::generate(KeyKind::EcP256)
                .unwrap()
                .public_key()
                .clone(),
            issued_at: time(from).unwrap(),
            not_after: time(from + 9).unwrap(),
        };
        let known = read(document(1, 1, &root(), "").as_bytes()).unwrap();
        let keys = Rotation::Empty
            .prepared(record(Slot::A, "one", 1))
            .prepared(record(Slot::B, "two", 2))
            .activated()
            .prepared(record(Slot::A, "three", 3));
        let journal = known.with_tokens(TokenKind::Jwt, keys.clone());
        let journal = journal.with_tokens(TokenKind::Wit, keys.retired());
        assert_eq!(read(&write(&journal)).unwrap(), journal);
    }
}

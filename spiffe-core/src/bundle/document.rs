//! Bundles as JSON: the SPIFFE bundle document, and the plain JWK Set of the Workload API.
//!
//! One key that is of no use never takes the others down: it is left out and told (SPIFFE Trust
//! Domain and Bundle section 4.1.3).

use std::time::Duration;

use serde_json::{Value, json};

use super::TrustBundle;
use super::entry::{self, Use};
use super::error::{DocumentError, KeyFlaw, Skipped, WriteError};
use crate::TrustDomain;
use crate::json::{self as strict, Object};
use crate::jwt::Jwk;
use crate::x509::Certificate;

/// What was read, and what was left out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loaded<T> {
    /// What was read.
    pub value: T,
    /// The keys that were left out, for whoever keeps the log.
    pub skipped: Vec<Skipped>,
}

impl TrustBundle {
    /// Reads a SPIFFE bundle document (SPIFFE Trust Domain and Bundle section 4), as bundle
    /// endpoints serve it.
    ///
    /// A refresh hint that is no number of seconds is ignored.
    ///
    /// # Errors
    ///
    /// Where it is no JSON object, has no list of keys, or a sequence number that is none.
    pub fn from_document(
        trust_domain: TrustDomain,
        text: &[u8],
    ) -> Result<Loaded<Self>, DocumentError> {
        Self::from_members(trust_domain, &strict::object(text, MAX_LEN)?)
    }

    pub(super) fn from_members(
        trust_domain: TrustDomain,
        document: &Object,
    ) -> Result<Loaded<Self>, DocumentError> {
        let mut read = Entries::new(keys(document)?);
        let x509: Vec<Certificate> = read.all(Use::X509, entry::x509);
        let jwt: Vec<Jwk> = read.all(Use::Jwt, entry::token_key);
        #[cfg(feature = "incubating-wit")]
        let wit: Vec<Jwk> = read.all(Use::Wit, entry::token_key);
        let skipped = read.skipped(&trust_domain, |entry| Use::of(entry).is_some());

        let bundle = Self::new(trust_domain, x509)
            .with_jwt_authorities(jwt)
            .with_sequence(sequence(document)?)
            .with_refresh_hint(refresh_hint(document));
        #[cfg(feature = "incubating-wit")]
        let bundle = bundle.with_wit_authorities(wit);
        Ok(Loaded {
            value: bundle,
            skipped,
        })
    }

    /// Writes a SPIFFE bundle document.
    ///
    /// # Errors
    ///
    /// Where a key for tokens has no ID, or the key of an X.509 authority has no form in JSON.
    pub fn to_document(&self) -> Result<String, WriteError> {
        let mut document = self.members()?;
        if let Some(hint) = self.refresh_hint() {
            document.insert(REFRESH_HINT.to_owned(), hint.as_secs().into());
        }
        Ok(Value::from(document).to_string())
    }

    /// All of the document but its refresh hint.
    pub(super) fn members(&self) -> Result<Object, WriteError> {
        let mut keys = Vec::new();
        for (index, authority) in self.x509_authorities().iter().enumerate() {
            let written = entry::write_x509(authority);
            keys.push(written.map_err(|source| WriteError::Authority { index, source })?);
        }
        keys.extend(write_token_keys(self.jwt_authorities(), Use::Jwt)?);
        #[cfg(feature = "incubating-wit")]
        {
            keys.extend(write_token_keys(self.wit_authorities(), Use::Wit)?);
            self.check_wit_names()?;
        }
        let mut document = Object::new();
        document.insert(KEYS.to_owned(), keys.into());
        if let Some(sequence) = self.sequence() {
            document.insert(SEQUENCE.to_owned(), sequence.into());
        }
        Ok(document)
    }

    /// Reads the JWK Set that the Workload API serves as JWT bundle (SPIFFE Workload API section
    /// 6.2.2).
    ///
    /// Where any of its keys says what it is for, those count that are for JWT-SVIDs. There are
    /// agents that serve no `use` at all; then all keys count.
    ///
    /// # Errors
    ///
    /// Where it is no JSON object or has no list of keys.
    pub fn from_jwt_jwks(
        trust_domain: TrustDomain,
        text: &[u8],
    ) -> Result<Loaded<Self>, DocumentError> {
        let document = strict::object(text, MAX_LEN)?;
        let keys = keys(&document)?;
        let plain = !keys.iter().any(|key| key.get(entry::USE).is_some());
        let mut read = Entries::new(keys);
        let counts = |entry: &Object| plain || Use::of(entry) == Some(Use::Jwt);
        let jwt = read.those(counts, entry::token_key);
        let skipped = read.skipped(&trust_domain, counts);
        Ok(Loaded {
            value: Self::new(trust_domain, Vec::new()).with_jwt_authorities(jwt),
            skipped,
        })
    }

    /// Writes the keys for JWT-SVIDs as the Workload API serves them: a JWK Set in which each key
    /// says what it is for.
    ///
    /// # Errors
    ///
    /// Where a key has no ID.
    pub fn to_jwt_jwks(&self) -> Result<String, WriteError> {
        let keys = write_token_keys(self.jwt_authorities(), Use::Jwt)?;
        Ok(json!({ KEYS: keys }).to_string())
    }

    /// No key for WIT-SVIDs goes by the name of another key (WIT-SVID section 6.1).
    #[cfg(feature = "incubating-wit")]
    fn check_wit_names(&self) -> Result<(), WriteError> {
        let wit = self.wit_authorities();
        let twice = wit.iter().enumerate().position(|(index, key)| {
            let mut others = self.jwt_authorities().iter().chain(&wit[..index]);
            others.any(|other| other.key_id() == key.key_id())
        });
        twice.map_or(Ok(()), |index| Err(WriteError::KeyIdTwice { index }))
    }

    /// Reads the JWK Set that the Workload API serves as WIT bundle (SPIFFE Workload API section 7).
    /// Keys that are not for WIT-SVIDs do not count (WIT-SVID section 6.2).
    ///
    /// # Errors
    ///
    /// Where it is no JSON object or has no list of keys.
    #[cfg(feature = "incubating-wit")]
    pub fn from_wit_jwks(
        trust_domain: TrustDomain,
        text: &[u8],
    ) -> Result<Loaded<Self>, DocumentError> {
        let document = strict::object(text, MAX_LEN)?;
        let mut read = Entries::new(keys(&document)?);
        let wit = read.all(Use::Wit, entry::token_key);
        let skipped = read.skipped(&trust_domain, |entry| Use::of(entry) == Some(Use::Wit));
        Ok(Loaded {
            value: Self::new(trust_domain, Vec::new()).with_wit_authorities(wit),
            skipped,
        })
    }

    /// Writes the keys for WIT-SVIDs as the Workload API serves them.
    ///
    /// # Errors
    ///
    /// Where a key has no ID.
    #[cfg(feature = "incubating-wit")]
    pub fn to_wit_jwks(&self) -> Result<String, WriteError> {
        let keys = write_token_keys(self.wit_authorities(), Use::Wit)?;
        Ok(json!({ KEYS: keys }).to_string())
    }
}

/// The entries of the list `keys`, and what was wrong with those that were looked at.
struct Entries<'a> {
    keys: &'a [Value],
    flaws: Vec<(usize, KeyFlaw)>,
}

impl<'a> Entries<'a> {
    fn new(keys: &'a [Value]) -> Self {
        Self {
            keys,
            flaws: Vec::new(),
        }
    }

    /// Reads all entries that are for `purpose`.
    fn all<T>(&mut self, purpose: Use, read: fn(&Object) -> Result<T, KeyFlaw>) -> Vec<T> {
        self.those(|entry| Use::of(entry) == Some(purpose), read)
    }

    /// Reads all entries that count.
    fn those<T>(
        &mut self,
        counts: impl Fn(&Object) -> bool,
        read: fn(&Object) -> Result<T, KeyFlaw>,
    ) -> Vec<T> {
        let mut good = Vec::new();
        for (index, entry) in self.keys.iter().enumerate() {
            match entry.as_object().filter(|entry| counts(entry)).map(read) {
                Some(Ok(value)) => good.push(value),
                Some(Err(flaw)) => self.flaws.push((index, flaw)),
                None => {}
            }
        }
        good
    }

    /// All that was left out, also what nobody looked at.
    fn skipped(
        mut self,
        trust_domain: &TrustDomain,
        counts: impl Fn(&Object) -> bool,
    ) -> Vec<Skipped> {
        for (index, entry) in self.keys.iter().enumerate() {
            match entry.as_object() {
                Some(entry) if counts(entry) => {}
                Some(_) => self.flaws.push((index, KeyFlaw::Use)),
                None => self.flaws.push((index, KeyFlaw::NotAnObject)),
            }
        }
        self.flaws.sort_by_key(|(index, _)| *index);
        let skipped = self.flaws.into_iter().map(|(index, flaw)| Skipped {
            trust_domain: trust_domain.clone(),
            index,
            key_id: key_id(&self.keys[index]),
            flaw,
        });
        skipped.collect()
    }
}

fn keys(document: &Object) -> Result<&[Value], DocumentError> {
    let keys = document.get(KEYS).and_then(Value::as_array);
    match keys.ok_or(DocumentError::NoKeys)? {
        keys if keys.len() > MAX_KEYS => Err(DocumentError::TooManyKeys { limit: MAX_KEYS }),
        keys => Ok(keys),
    }
}

fn sequence(document: &Object) -> Result<Option<u64>, DocumentError> {
    let sequence = document.get(SEQUENCE);
    sequence
        .map(|number| number.as_u64().ok_or(DocumentError::Sequence))
        .transpose()
}

fn refresh_hint(document: &Object) -> Option<Duration> {
    let seconds = document.get(REFRESH_HINT)?.as_u64()?;
    Some(Duration::from_secs(seconds))
}

fn key_id(entry: &Value) -> Option<Box<str>> {
    let key_id = entry.get("kid")?.as_str()?;
    Some(key_id.chars().take(MAX_TOLD).collect())
}

fn write_token_keys(keys: &[Jwk], purpose: Use) -> Result<Vec<Value>, WriteError> {
    let written = keys.iter().enumerate().map(|(index, key)| {
        entry::write_token_key(key, purpose).ok_or(WriteError::NoKeyId { index })
    });
    written.collect()
}

const KEYS: &str = "keys";
const REFRESH_HINT: &str = "spiffe_refresh_hint";
const SEQUENCE: &str = "spiffe_sequence";

/// How long the text of a bundle or of a map of bundles may be.
pub(super) const MAX_LEN: usize = 4 * 1024 * 1024;

/// How many keys a bundle may have.
const MAX_KEYS: usize = 1000;

/// How much is told of an ID or name that is of no use.
pub(super) const MAX_TOLD: usize = 64;

//! What the tests of the cache are made of.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType, SignatureAlgorithm,
};
use spiffe_core::x509::{Certificate, KeyKind, PrivateKey, PublicKey};
use spiffe_core::{TrustBundle, TrustDomain, X509Svid};

use crate::domain::{Entry, Hint, NewEntry, Revision, SelectorSet};

/// Seconds after a beginning.
pub(crate) fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

pub(crate) fn selectors(texts: &[&str]) -> SelectorSet {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// The entry of `spiffe://td/<id>`, made at a time.
pub(crate) fn entry(id: &str, created: u64, texts: &[&str]) -> Arc<Entry> {
    Arc::new(Entry {
        id: id.parse().unwrap(),
        revision: Revision(0),
        created_at: at(created),
        body: NewEntry {
            id: None,
            spiffe_id: format!("spiffe://td/{id}").parse().unwrap(),
            parent_id: "spiffe://td/spire/agent/join_token/t".parse().unwrap(),
            selectors: selectors(texts),
            x509_svid_ttl: None,
            jwt_svid_ttl: None,
            federates_with: [].into(),
            admin: false,
            downstream: false,
            expires_at: None,
            dns_names: Vec::new(),
            store_svid: false,
            hint: Hint::default(),
            disable_x509_svid_prefetch: false,
            jwt_svid_include_jti: false,
        },
    })
}

/// A P-256 key that a certificate is for.
struct Subject<'k>(&'k PublicKey);

impl PublicKeyData for Subject<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.key_bits()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// Somebody who signs SVIDs.
pub(crate) struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.subject_alt_names = vec![SanType::URI("spiffe://td".try_into().unwrap())];
        params.not_before = at(0).into();
        params.not_after = at(1_000_000_000).into();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            certificate: Certificate::from_der(certificate.der()).unwrap(),
            issuer: Issuer::new(params, key),
        }
    }

    /// An SVID for this entry that ends so many seconds after the beginning.
    pub(crate) fn svid(&self, entry: &Entry, until: u64) -> X509Svid {
        let key = PrivateKey::generate(KeyKind::EcP256).unwrap();
        let path = entry.body.spiffe_id.path();
        let leaf = self.sign(path, key.public_key(), 0, until);
        X509Svid::new(vec![leaf], key).unwrap()
    }

    /// An SVID for this entry that is valid whatever the time is.
    pub(crate) fn lasting_svid(&self, entry: &Entry) -> X509Svid {
        self.svid(entry, 1_000_000_000)
    }

    /// A certificate for this key and `spiffe://td<path>`.
    pub(crate) fn sign(&self, path: &str, key: &PublicKey, from: u64, until: u64) -> Certificate {
        let mut params = CertificateParams::default();
        params.not_before = at(from).into();
        params.not_after = at(until).into();
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let uri = format!("spiffe://td{path}").try_into().unwrap();
        params.subject_alt_names = vec![SanType::URI(uri)];
        let leaf = params.signed_by(&Subject(key), &self.issuer).unwrap();
        Certificate::from_der(leaf.der()).unwrap()
    }

    pub(crate) fn key_id(&self) -> Vec<u8> {
        self.certificate.subject_key_id().unwrap().to_vec()
    }

    pub(crate) fn bundle(&self, trust_domain: &'static str) -> TrustBundle {
        let trust_domain = TrustDomain::from_static(trust_domain);
        TrustBundle::new(trust_domain, vec![self.certificate.clone()])
    }
}

//! Our certificates against those of another writer, field by field, and against the requests of
//! those who would like to be someone else.

mod profile;
mod requests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use der::Decode;
use rcgen::KeyPair;
use rustls_pki_types::PrivateKeyDer;
use spiffe_core::x509::{Certificate, KeyKind, PrivateKey};
use spiffe_core::{SpiffeId, TrustDomain};

use super::CaError;
use super::sign::{Authorities, X509, X509Authority};
use super::template::{CaSubject, Leaf, Root};
use crate::domain::{Entry, NewEntry, Revision, SelectorSet};
use crate::keys::{KeyId, KeyManager, MemoryKeys, Signer};

const TD: TrustDomain = TrustDomain::from_static("td");
const HOUR: Duration = Duration::from_secs(3600);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_900_000_000_777)
}

async fn signer(kind: KeyKind) -> Arc<dyn Signer> {
    let keys = MemoryKeys::default();
    keys.generate(&KeyId::new("k"), kind).await.unwrap()
}

async fn authority(kind: KeyKind, subject: CaSubject, lifetime: Duration) -> X509Authority {
    let signer = signer(kind).await;
    let root = Root {
        trust_domain: TD,
        subject,
        lifetime,
    };
    let authorities = Authorities::none();
    let signed = authorities.self_sign(root, Arc::clone(&signer), now());
    X509Authority {
        certificate: signed.await.unwrap(),
        signer,
        intermediates: Vec::new(),
        signed: Arc::default(),
    }
}

fn entry(path: &str, dns_names: &[&str]) -> Entry {
    let id = |path: &str| -> SpiffeId { format!("spiffe://td{path}").parse().unwrap() };
    let body = NewEntry {
        dns_names: dns_names.iter().map(|&name| name.to_owned()).collect(),
        ..NewEntry::new(id(path), id("/p"), SelectorSet::new())
    };
    Entry {
        id: "e".parse().unwrap(),
        revision: Revision(0),
        created_at: now(),
        body,
    }
}

/// A key of this test, for us and for the other writer.
fn key(kind: KeyKind) -> (PrivateKey, KeyPair) {
    let key = PrivateKey::generate(kind).unwrap();
    let pair = for_rcgen(&key);
    (key, pair)
}

fn for_rcgen(key: &PrivateKey) -> KeyPair {
    let der = PrivateKeyDer::try_from(key.pkcs8_der().to_vec()).unwrap();
    KeyPair::try_from(&der).unwrap()
}

fn parsed(certificate: &Certificate) -> x509_cert::Certificate {
    x509_cert::Certificate::from_der(certificate.der()).unwrap()
}

#[tokio::test]
async fn nothing_is_signed_before_there_is_an_authority() {
    let authorities = Authorities::none();
    let (key, _) = key(KeyKind::EcP256);
    let leaf = Leaf::server(&TD, key.public_key().clone(), HOUR).unwrap();
    let all = authorities
        .issue_all(std::slice::from_ref(&leaf), now())
        .await;
    assert!(matches!(all, Err(CaError::NotReady)));
    let one = authorities.issue(leaf, now()).await;
    assert!(matches!(one, Err(CaError::NotReady)));
    assert!(authorities.x509_states().is_empty());
}

#[tokio::test]
async fn many_are_signed_in_order_each_with_its_own_serial() {
    let authority = authority(KeyKind::EcP256, CaSubject::default(), HOUR * 24).await;
    let authorities = Authorities::none();
    authorities.replace_x509(X509 {
        active: Arc::new(authority),
        known: Vec::new(),
    });
    let (key, _) = key(KeyKind::EcP256);
    let leaf = |n| {
        Leaf::workload(
            &entry(&format!("/{n}"), &[]),
            key.public_key().clone(),
            HOUR,
        )
    };
    let leaves: Vec<_> = (0..50).map(leaf).collect();
    let issued = authorities.issue_all(&leaves, now()).await.unwrap();
    let mut serials = BTreeSet::new();
    for (leaf, chain) in leaves.iter().zip(&issued) {
        let [certificate] = &chain.as_ref().unwrap()[..] else {
            panic!("{chain:?}");
        };
        assert_eq!(&certificate.leaf_id().unwrap(), leaf.id());
        serials.insert(certificate.serial().to_vec());
    }
    assert_eq!(serials.len(), 50);
}

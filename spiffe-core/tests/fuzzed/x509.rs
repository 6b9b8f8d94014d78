//! What the fuzz target `x509` holds true for what peers and agents send as certificates and keys: no
//! bytes panic, what is read says the same when it is read again, and nobody is believed whom no
//! authority has signed. A plain test tries the same with what the fuzzer has found.

use std::time::{Duration, UNIX_EPOCH};

use spiffe_core::verify::{Role, x509_peer};
use spiffe_core::x509::{Certificate, PrivateKey, PublicKey, X509Svid};
use spiffe_core::{BundleSet, SpiffeId, TrustBundle, TrustDomain};

/// Two bytes say how long the chain is; the key follows it. Tells whether a chain was read.
pub(crate) fn chain_and_key(input: &[u8]) -> bool {
    let Some((length, rest)) = input.split_first_chunk() else {
        return false;
    };
    let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
    let (chain, key) = rest.split_at(length);
    identity(chain, key)
}

fn identity(bytes: &[u8], key: &[u8]) -> bool {
    let _ = Certificate::many_from_pem(bytes);
    let _ = PublicKey::from_spki_der(bytes);
    let _ = PrivateKey::from_pkcs8_der(key);
    if let Ok(svid) = X509Svid::from_der(bytes, key) {
        assert_eq!(svid.leaf().leaf_id().as_ref(), Ok(svid.id()));
    }
    let Ok(chain) = Certificate::many_from_der(bytes) else {
        return false;
    };
    for certificate in &chain {
        let again = Certificate::from_der(certificate.der()).unwrap();
        assert_eq!(again.subject_der(), certificate.subject_der());
        if let Ok(id) = certificate.spiffe_id() {
            assert_eq!(id.as_str().parse::<SpiffeId>().as_ref(), Ok(&id));
        }
    }
    judged(&chain);
    true
}

fn judged(chain: &[Certificate]) {
    let chain_der: Vec<_> = chain.iter().map(|c| c.der().clone()).collect();
    let now = UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    let judge = |bundles: &BundleSet| {
        [Role::Client, Role::Server].map(|role| x509_peer(&chain_der, bundles, role, now))
    };
    let domain = TrustDomain::from_static("example.org");
    // Judged by what came along, it may hold; by a bundle that is empty it never does.
    let own_bundle = TrustBundle::new(domain.clone(), chain.to_vec());
    for peer in judge(&own_bundle.into()).iter().flatten() {
        assert!(peer.id().is_member_of(&domain) && peer.not_after() >= now);
    }
    let nobody = TrustBundle::new(domain, Vec::new());
    assert!(judge(&nobody.into()).iter().all(Result::is_err));
}

//! Benchmarks; see `benches/`. This is what they share: certificates that both we and bare rustls
//! accept, so that the two can do the same work.
#![expect(
    clippy::expect_used,
    reason = "what fails here would fail each time, before anything is measured"
)]

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use spiffe_core::{
    BundleSet, IdentitySnapshot, SpiffeId, TrustBundle, TrustDomain, X509Svid,
    source::SnapshotCell,
    x509::{Certificate, PrivateKey},
};

/// The name by which bare rustls knows the server; we go by its SPIFFE ID.
pub const DNS_NAME: &str = "bench.test";

/// The trust domain of all that is issued here.
pub const TRUST_DOMAIN: TrustDomain = TrustDomain::from_static("bench.test");

/// A root, and an intermediate below it.
pub struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

/// Who signs a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    /// The intermediate: the chain has two certificates.
    Intermediate,
    /// The root: the chain is the leaf alone.
    Root,
}

impl Default for Authority {
    fn default() -> Self {
        let root = CertifiedIssuer::self_signed(authority(), key()).expect("signs itself");
        let intermediate =
            CertifiedIssuer::signed_by(authority(), key(), &root).expect("the root signs");
        Self { root, intermediate }
    }
}

impl Authority {
    /// What there is to trust.
    #[must_use]
    pub fn bundle(&self) -> TrustBundle {
        let root = Certificate::from_der(self.root.der()).expect("rcgen writes certificates");
        TrustBundle::new(TRUST_DOMAIN, vec![root])
    }

    /// A P-256 identity with both a SPIFFE ID and a DNS name.
    #[must_use]
    pub fn svid(&self, path: &str, signer: Signer) -> X509Svid {
        let id = SpiffeId::new(&TRUST_DOMAIN, path).expect("a path");
        let key = key();
        let mut params = CertificateParams::new([DNS_NAME.to_owned()]).expect("a DNS name");
        let uri = id.as_str().try_into().expect("ASCII");
        params.subject_alt_names.push(SanType::URI(uri));
        // Said in full, as rust-spiffe wants it.
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let (issuer, above) = match signer {
            Signer::Intermediate => (&self.intermediate, Some(self.intermediate.der())),
            Signer::Root => (&self.root, None),
        };
        let leaf = params.signed_by(&key, issuer).expect("an issuer signs");
        let chain = [Some(leaf.der()), above].into_iter().flatten();
        let chain = chain.map(|der| Certificate::from_der(der).expect("a certificate"));
        let key = PrivateKey::from_pkcs8_der(&key.serialize_der()).expect("a key");
        X509Svid::new(chain.collect(), key).expect("leaf and key belong together")
    }

    /// A source that holds an identity signed by the root, and the bundle.
    #[must_use]
    pub fn source(&self, path: &str) -> Arc<SnapshotCell> {
        let svids = vec![self.svid(path, Signer::Root)];
        let snapshot = IdentitySnapshot::new(svids, BundleSet::from(self.bundle()));
        Arc::new(SnapshotCell::new(snapshot))
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn key() -> KeyPair {
    KeyPair::generate().expect("the system has random bytes")
}

//! An authority that issues what a test asks for, flaws included.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};

use crate::bundle::{BundleSet, TrustBundle};
use crate::clock::{Clock, SystemClock};
use crate::jwt::{Algorithm, SigningKey};
use crate::snapshot::IdentitySnapshot;
use crate::source::SnapshotCell;
use crate::x509::{Certificate, PrivateKey, X509Svid};
use crate::{SpiffeId, TrustDomain};

/// The one authority of a trust domain. Two of them for one trust domain do not know each other.
pub struct TestAuthority {
    trust_domain: TrustDomain,
    pub(super) now: SystemTime,
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(super) jwt_key: Arc<SigningKey>,
    #[cfg(feature = "incubating-wit")]
    pub(super) wit_key: Arc<SigningKey>,
}

impl TestAuthority {
    /// An authority that issues around the machine's time of day.
    ///
    /// # Panics
    ///
    /// Where this is no trust domain name.
    #[must_use]
    pub fn new(trust_domain: &str) -> Self {
        Self::at(trust_domain, SystemClock.now())
    }

    /// An authority for which it is `now`, for good.
    ///
    /// # Panics
    ///
    /// Where this is no trust domain name.
    #[must_use]
    pub fn at(trust_domain: &str, now: SystemTime) -> Self {
        let trust_domain: TrustDomain = trust_domain.parse().unwrap();
        let mut params = params(
            &format!("{trust_domain} authority"),
            [format!("spiffe://{trust_domain}")],
        );
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = (now - DAY).into();
        params.not_after = (now + 3650 * DAY).into();
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self {
            trust_domain,
            now,
            issuer,
            jwt_key: token_key(Algorithm::Es256),
            #[cfg(feature = "incubating-wit")]
            wit_key: token_key(Algorithm::Es256),
        }
    }

    /// The same authority, which signs its JWT-SVIDs with a new key for this algorithm.
    #[must_use]
    pub fn with_jwt_algorithm(mut self, algorithm: Algorithm) -> Self {
        self.jwt_key = token_key(algorithm);
        self
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The bundle by which others believe this authority: its certificate, and its keys for tokens.
    #[must_use]
    pub fn bundle(&self) -> TrustBundle {
        let bundle = self
            .x509_bundle()
            .with_jwt_authorities(vec![self.jwt_key.public_key().clone()]);
        #[cfg(feature = "incubating-wit")]
        let bundle = bundle.with_wit_authorities(vec![self.wit_key.public_key().clone()]);
        bundle
    }

    /// The half of the bundle that the Workload API sends beside X.509-SVIDs: without keys for
    /// tokens.
    #[must_use]
    pub fn x509_bundle(&self) -> TrustBundle {
        let root = Certificate::from_der(self.issuer.der()).unwrap();
        TrustBundle::new(self.trust_domain.clone(), vec![root])
    }

    /// An SVID with a key of its own, valid for an hour around now.
    ///
    /// # Panics
    ///
    /// Where `path` is no path of a SPIFFE ID.
    #[must_use]
    pub fn svid(&self, path: &str) -> X509Svid {
        self.draft(path).svid()
    }

    /// An SVID that is still to be given its flaws.
    ///
    /// # Panics
    ///
    /// Where `path` is no path of a SPIFFE ID.
    pub fn draft(&self, path: &str) -> SvidDraft<'_> {
        let id = SpiffeId::new(&self.trust_domain, path).unwrap();
        let mut params = params("workload", [id.to_string()]);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let draft = SvidDraft {
            authority: self,
            params,
        };
        draft.valid(self.now - HOUR / 2, self.now + HOUR / 2)
    }

    /// A snapshot of one SVID and the own bundle.
    ///
    /// # Panics
    ///
    /// Where `path` is no path of a SPIFFE ID.
    #[must_use]
    pub fn snapshot(&self, path: &str) -> IdentitySnapshot {
        IdentitySnapshot::new(vec![self.svid(path)], BundleSet::from(self.bundle()))
    }

    /// A source that holds [`snapshot`](Self::snapshot) until told otherwise.
    ///
    /// # Panics
    ///
    /// Where `path` is no path of a SPIFFE ID.
    #[must_use]
    pub fn source(&self, path: &str) -> Arc<SnapshotCell> {
        Arc::new(SnapshotCell::new(self.snapshot(path)))
    }
}

/// An SVID that is not signed yet.
#[must_use]
pub struct SvidDraft<'a> {
    authority: &'a TestAuthority,
    params: CertificateParams,
}

impl SvidDraft<'_> {
    /// Valid from one moment to another, in whole seconds.
    pub fn valid(mut self, from: SystemTime, to: SystemTime) -> Self {
        self.params.not_before = from.into();
        self.params.not_after = to.into();
        self
    }

    /// Valid from now, for so long.
    pub fn lifetime(self, lifetime: Duration) -> Self {
        let now = self.authority.now;
        self.valid(now, now + lifetime)
    }

    /// It ended an hour ago.
    pub fn expired(self) -> Self {
        let now = self.authority.now;
        self.valid(now - 2 * HOUR, now - HOUR)
    }

    /// It begins in an hour.
    pub fn not_yet_valid(self) -> Self {
        let now = self.authority.now;
        self.valid(now + HOUR, now + 2 * HOUR)
    }

    /// It bears a second URI name, which no SVID may.
    pub fn also_named(mut self, path: &str) -> Self {
        let second = SpiffeId::new(&self.authority.trust_domain, path).unwrap();
        self.params.subject_alt_names.push(uri(second.to_string()));
        self
    }

    /// The leaf is an authority itself, which no leaf may be.
    pub fn as_authority(mut self) -> Self {
        self.params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self
    }

    /// The SVID.
    ///
    /// # Panics
    ///
    /// Where it has a flaw that no SVID can have; see [`chain_and_key`](Self::chain_and_key).
    #[must_use]
    pub fn svid(self) -> X509Svid {
        let (chain, key) = self.chain_and_key();
        X509Svid::new(chain, key).unwrap()
    }

    /// Chain and key as they are, for flaws that keep them from being an SVID.
    #[must_use]
    pub fn chain_and_key(self) -> (Vec<Certificate>, PrivateKey) {
        let key = KeyPair::generate().unwrap();
        let leaf = self.params.signed_by(&key, &self.authority.issuer).unwrap();
        (
            vec![Certificate::from_der(leaf.der()).unwrap()],
            PrivateKey::from_pkcs8_der(&key.serialize_der()).unwrap(),
        )
    }
}

fn token_key(algorithm: Algorithm) -> Arc<SigningKey> {
    Arc::new(SigningKey::generate(algorithm).unwrap())
}

fn params(common_name: &str, uris: [String; 1]) -> CertificateParams {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.subject_alt_names = uris.into_iter().map(uri).collect();
    params
}

fn uri(text: String) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::{Role, VerifyError, x509_peer};
    use crate::x509::X509Error;

    #[test]
    fn what_it_issues_is_believed_by_its_bundle_only() {
        let (authority, other) = (TestAuthority::new("a.test"), TestAuthority::new("a.test"));
        let leaf = [authority.svid("/web").leaf().der().clone()];
        let judge =
            |bundle| x509_peer(&leaf, &BundleSet::from(bundle), Role::Client, authority.now);
        assert_eq!(judge(authority.bundle()).unwrap().id().path(), "/web");
        assert!(judge(other.bundle()).is_err());
    }

    #[test]
    fn flaws_are_the_ones_asked_for() {
        let authority = TestAuthority::new("a.test");
        let bundles = BundleSet::from(authority.bundle());
        for (draft, why) in [
            (authority.draft("/a").expired(), VerifyError::Expired),
            (
                authority.draft("/a").not_yet_valid(),
                VerifyError::NotYetValid,
            ),
            (
                authority.draft("/a").also_named("/b"),
                X509Error::UriNames { count: 2 }.into(),
            ),
            (
                authority.draft("/a").as_authority(),
                X509Error::CaLeaf.into(),
            ),
        ] {
            let leaf = [draft.chain_and_key().0[0].der().clone()];
            let judged = x509_peer(&leaf, &bundles, Role::Client, authority.now);
            assert_eq!(judged.unwrap_err(), why);
        }
    }
}

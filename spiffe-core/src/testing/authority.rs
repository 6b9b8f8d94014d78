//! An authority that issues what a test asks for, flaws included.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::svid::{DAY, HOUR, params, uri};
use crate::TrustDomain;
use crate::bundle::{BundleSet, TrustBundle};
use crate::clock::{Clock, SystemClock};
use crate::jwt::{Algorithm, SigningKey};
use crate::snapshot::IdentitySnapshot;
use crate::source::SnapshotCell;
use crate::x509::{Certificate, X509Svid};

/// An authority of a trust domain. Two of them for one trust domain do not know each other, though
/// their certificates bear the same name.
pub struct TestAuthority {
    trust_domain: TrustDomain,
    pub(super) now: SystemTime,
    pub(super) issuer: CertifiedIssuer<'static, KeyPair>,
    /// What a leaf is sent with: the certificates between it and the root, the lowest first.
    pub(super) above: Vec<Certificate>,
    root: Certificate,
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
        AuthorityDraft::new(trust_domain.parse().unwrap(), now).authority()
    }

    /// An authority that is still to be given its flaws.
    ///
    /// # Panics
    ///
    /// Where this is no trust domain name.
    pub fn root(trust_domain: &str) -> AuthorityDraft<'static> {
        AuthorityDraft::new(trust_domain.parse().unwrap(), SystemClock.now())
    }

    /// An authority below this one, still to be given its flaws. What it issues comes with its
    /// certificate; its bundle is that of the root.
    pub fn intermediate(&self) -> AuthorityDraft<'_> {
        AuthorityDraft {
            parent: Some(self),
            ..AuthorityDraft::new(self.trust_domain.clone(), self.now)
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
        TrustBundle::new(self.trust_domain.clone(), vec![self.root.clone()])
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

impl fmt::Debug for TestAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestAuthority")
            .field("trust_domain", &self.trust_domain)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// An authority whose certificate is not signed yet.
#[derive(Debug)]
#[must_use]
pub struct AuthorityDraft<'a> {
    parent: Option<&'a TestAuthority>,
    trust_domain: TrustDomain,
    now: SystemTime,
    params: CertificateParams,
}

impl AuthorityDraft<'_> {
    fn new(trust_domain: TrustDomain, now: SystemTime) -> Self {
        let mut params = params(
            &format!("{trust_domain} authority"),
            &format!("spiffe://{trust_domain}"),
        );
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let draft = Self {
            parent: None,
            trust_domain,
            now,
            params,
        };
        draft.valid(now - DAY, now + 3650 * DAY)
    }

    /// Valid from one moment to another, in whole seconds.
    pub fn valid(mut self, from: SystemTime, to: SystemTime) -> Self {
        self.params.not_before = from.into();
        self.params.not_after = to.into();
        self
    }

    /// It ended an hour ago. What it issues is valid now all the same.
    pub fn expired(self) -> Self {
        let now = self.now;
        self.valid(now - DAY, now - HOUR)
    }

    /// Its certificate may not sign certificates: `keyCertSign` is missing.
    pub fn without_cert_sign(mut self) -> Self {
        self.params.key_usages = vec![KeyUsagePurpose::CrlSign];
        self
    }

    /// Its certificate bears no SPIFFE ID, which is allowed.
    pub fn without_name(mut self) -> Self {
        self.params.subject_alt_names.clear();
        self
    }

    /// It bears this URI name and no other: `spiffe://a.test/ca` has a path, which no authority's may.
    ///
    /// # Panics
    ///
    /// Where it is not ASCII.
    pub fn named(mut self, name: &str) -> Self {
        self.params.subject_alt_names = vec![uri(name)];
        self
    }

    /// It may vouch for names of this URI host only (name constraints): for another trust domain than
    /// its own, if that is another.
    ///
    /// # Panics
    ///
    /// Where the host is longer than a trust domain can be.
    pub fn constrained_to(mut self, host: &str) -> Self {
        let mut constraints =
            CustomExtension::from_oid_content(&[2, 5, 29, 30], permitted_host(host));
        constraints.set_criticality(true);
        self.params.custom_extensions.push(constraints);
        self
    }

    /// The authority.
    ///
    /// # Panics
    ///
    /// Where the machine gives no randomness.
    #[must_use]
    pub fn authority(self) -> TestAuthority {
        let key = KeyPair::generate().unwrap();
        let issuer = match self.parent {
            Some(parent) => CertifiedIssuer::signed_by(self.params, key, &parent.issuer).unwrap(),
            None => CertifiedIssuer::self_signed(self.params, key).unwrap(),
        };
        let own = Certificate::from_der(issuer.der()).unwrap();
        let (above, root) = match self.parent {
            Some(parent) => ([&[own][..], &parent.above].concat(), parent.root.clone()),
            None => (Vec::new(), own),
        };
        TestAuthority {
            trust_domain: self.trust_domain,
            now: self.now,
            issuer,
            above,
            root,
            jwt_key: match self.parent {
                Some(parent) => Arc::clone(&parent.jwt_key),
                None => token_key(Algorithm::Es256),
            },
            #[cfg(feature = "incubating-wit")]
            wit_key: match self.parent {
                Some(parent) => Arc::clone(&parent.wit_key),
                None => token_key(Algorithm::Es256),
            },
        }
    }
}

fn token_key(algorithm: Algorithm) -> Arc<SigningKey> {
    Arc::new(SigningKey::generate(algorithm).unwrap())
}

/// `NameConstraints` (RFC 5280 section 4.2.1.10) with one permitted URI host, in DER.
fn permitted_host(host: &str) -> Vec<u8> {
    let wrap = |tag: u8, content: &[u8]| {
        let length = u8::try_from(content.len()).ok().filter(|len| *len < 0x80);
        [&[tag, length.unwrap()][..], content].concat()
    };
    let name = wrap(0x86, host.as_bytes());
    let permitted = wrap(0xa0, &wrap(0x30, &name));
    wrap(0x30, &permitted)
}

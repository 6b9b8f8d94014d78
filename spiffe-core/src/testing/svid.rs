//! X.509-SVIDs that an authority signs as a test asks for, flaws included.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};

#[cfg(feature = "tls")]
use super::Impostor;
use super::TestAuthority;
use crate::SpiffeId;
use crate::verify::Role;
use crate::x509::{Certificate, PrivateKey, X509Svid};

impl TestAuthority {
    /// An SVID that is still to be given its flaws.
    ///
    /// # Panics
    ///
    /// Where `path` is no path of a SPIFFE ID.
    pub fn draft(&self, path: &str) -> SvidDraft<'_> {
        let id = SpiffeId::new(self.trust_domain(), path).unwrap();
        let mut params = params("workload", id.as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let draft = SvidDraft {
            authority: self,
            params,
            forgery: None,
        };
        draft.valid(self.now - HOUR / 2, self.now + HOUR / 2)
    }
}

/// An SVID that is not signed yet.
#[derive(Debug)]
#[must_use]
pub struct SvidDraft<'a> {
    authority: &'a TestAuthority,
    params: CertificateParams,
    forgery: Option<Forgery>,
}

/// What is false about an SVID as a whole.
#[derive(Debug, Clone, Copy)]
enum Forgery {
    ForeignKey,
    SignedByStranger,
    Tampered,
}

impl<'a> SvidDraft<'a> {
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

    /// It bears a DNS name too, which is allowed.
    ///
    /// # Panics
    ///
    /// Where it is not ASCII.
    pub fn also_dns(mut self, name: &str) -> Self {
        let name = SanType::DnsName(name.try_into().unwrap());
        self.params.subject_alt_names.push(name);
        self
    }

    /// It bears a second URI name, which no SVID may.
    ///
    /// # Panics
    ///
    /// Where `path` is no path of a SPIFFE ID.
    pub fn also_named(mut self, path: &str) -> Self {
        let second = SpiffeId::new(self.authority.trust_domain(), path).unwrap();
        self.params.subject_alt_names.push(uri(second.as_str()));
        self
    }

    /// It bears this URI name and no other, whatever it is: `spiffe://a.test` has no path,
    /// `spiffe://other.test/web` is of another trust domain, `https://a.test/web` is no SPIFFE ID.
    ///
    /// # Panics
    ///
    /// Where it is not ASCII.
    pub fn named(mut self, name: &str) -> Self {
        self.params.subject_alt_names = vec![uri(name)];
        self
    }

    /// It bears no name at all.
    pub fn without_name(mut self) -> Self {
        self.params.subject_alt_names.clear();
        self
    }

    /// The leaf is an authority itself, which no leaf may be.
    pub fn as_authority(mut self) -> Self {
        self.params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self
    }

    /// The leaf may sign certificates, which none may.
    pub fn with_cert_sign(self) -> Self {
        self.with_usage(KeyUsagePurpose::KeyCertSign)
    }

    /// The leaf may sign revocation lists, which none may.
    pub fn with_crl_sign(self) -> Self {
        self.with_usage(KeyUsagePurpose::CrlSign)
    }

    /// The leaf does not say what its key is for, which each must.
    pub fn without_key_usage(mut self) -> Self {
        self.params.key_usages.clear();
        self
    }

    /// The key of the leaf is for agreeing on keys and not for signing, which each must be.
    pub fn without_digital_signature(mut self) -> Self {
        self.params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
        self
    }

    /// The leaf is good for this side of a connection only.
    pub fn only_for(mut self, role: Role) -> Self {
        self.params.extended_key_usages = vec![match role {
            Role::Client => ExtendedKeyUsagePurpose::ClientAuth,
            Role::Server => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        self
    }

    /// The leaf has no extended key usage, which is allowed.
    pub fn without_purpose(mut self) -> Self {
        self.params.extended_key_usages.clear();
        self
    }

    /// It has a critical extension that nobody knows.
    pub fn with_unknown_extension(mut self) -> Self {
        // Below the number that is set apart for examples (RFC 5612).
        let oid = [1, 3, 6, 1, 4, 1, 32473, 1];
        let mut unknown = CustomExtension::from_oid_content(&oid, vec![5, 0]);
        unknown.set_criticality(true);
        self.params.custom_extensions.push(unknown);
        self
    }

    /// Another authority of the same name has signed it.
    pub fn signed_by_stranger(mut self) -> Self {
        self.forgery = Some(Forgery::SignedByStranger);
        self
    }

    /// Its signature was changed afterwards.
    pub fn tampered(mut self) -> Self {
        self.forgery = Some(Forgery::Tampered);
        self
    }

    /// Its key is another one than that of its certificate.
    pub fn with_foreign_key(mut self) -> Self {
        self.forgery = Some(Forgery::ForeignKey);
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
        let stranger;
        let authority = match self.forgery {
            Some(Forgery::SignedByStranger) => {
                let name = self.authority.trust_domain().as_str();
                stranger = TestAuthority::at(name, self.authority.now);
                &stranger
            }
            _ => self.authority,
        };
        let signed = self.params.signed_by(&key, &authority.issuer).unwrap();
        let mut leaf = signed.der().to_vec();
        if let (Some(Forgery::Tampered), Some(last)) = (self.forgery, leaf.last_mut()) {
            *last ^= 1;
        }
        let key = match self.forgery {
            Some(Forgery::ForeignKey) => KeyPair::generate().unwrap(),
            _ => key,
        };
        let leaf = Certificate::from_der(&leaf).unwrap();
        (
            [&[leaf][..], &authority.above].concat(),
            PrivateKey::from_pkcs8_der(&key.serialize_der()).unwrap(),
        )
    }

    /// Somebody who presents this SVID, flaws included.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn impostor(self) -> Impostor {
        let (chain, key) = self.chain_and_key();
        Impostor::new(chain.iter().map(|c| c.der().clone()), &key)
    }

    fn with_usage(mut self, usage: KeyUsagePurpose) -> Self {
        self.params.key_usages.push(usage);
        self
    }
}

pub(super) fn params(common_name: &str, name: &str) -> CertificateParams {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.subject_alt_names = vec![uri(name)];
    params
}

pub(super) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

//! Chain, bundles and time in; a verified peer out (X509-SVID section 5).
//!
//! Path validation is webpki's. What it leaves out is done here: the rules for the leaf, the choice
//! of authorities by the leaf's own trust domain, the end of authorities, that whoever signs
//! certificates may do so, and which trust domains an authority may vouch for.

use std::ptr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::{
    CertificateDer, Der, SignatureVerificationAlgorithm, TrustAnchor, UnixTime,
};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use super::uri_constraints::UriConstraints;
use super::{Peer, Role, VerifyError};
use crate::bundle::{BundleSet, TrustBundle};
use crate::x509::{Certificate, Parsed, X509Error};
use crate::{SpiffeId, TrustDomain};

/// How many certificates of a peer are looked at.
const MAX_CHAIN: usize = 10;

/// Verifies the chain of a peer, leaf first, with the bundle of the peer's own trust domain.
///
/// `role` is the side that the peer is on: where the leaf names extended key usages, that of its
/// role must be among them.
///
/// # Errors
///
/// The first rule that does not hold.
pub fn x509_peer(
    chain: &[CertificateDer<'_>],
    bundles: &BundleSet,
    role: Role,
    now: SystemTime,
) -> Result<Peer, VerifyError> {
    x509_peer_with(webpki::ALL_VERIFICATION_ALGS, chain, bundles, role, now)
}

/// The same with these signature algorithms only.
pub(crate) fn x509_peer_with(
    algorithms: &[&dyn SignatureVerificationAlgorithm],
    chain: &[CertificateDer<'_>],
    bundles: &BundleSet,
    role: Role,
    now: SystemTime,
) -> Result<Peer, VerifyError> {
    let [leaf, intermediates @ ..] = chain else {
        return Err(VerifyError::NoCertificate);
    };
    if chain.len() > MAX_CHAIN {
        return Err(VerifyError::TooManyCertificates { limit: MAX_CHAIN });
    }
    let parsed = Parsed::read(leaf)?;
    let id = parsed.leaf_id()?;
    if is_distrusted(leaf, bundles) {
        return Err(VerifyError::Distrusted);
    }
    let bundle = bundle_of(&id, bundles)?;
    let authorities = Authorities::valid_at(now, bundle)?;

    let end_entity = EndEntityCert::try_from(leaf).map_err(VerifyError::Chain)?;
    let path = end_entity
        .verify_for_usage(
            algorithms,
            &authorities.anchors,
            intermediates,
            UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)),
            match role {
                Role::Client => KeyUsage::client_auth(),
                Role::Server => KeyUsage::server_auth(),
            },
            None,
            Some(&|path| {
                issuers_may_issue(path)?;
                authorities.are_trusted(path, bundles)?;
                authorities.permit(path, &id)
            }),
        )
        .map_err(|error| explain(error, role, id.trust_domain()))?;
    let not_after = authorities.end_of(&path).min(parsed.not_after());
    Ok(Peer::proven(id, chain, not_after, role))
}

fn bundle_of<'a>(id: &SpiffeId, bundles: &'a BundleSet) -> Result<&'a TrustBundle, VerifyError> {
    let trust_domain = id.trust_domain();
    bundles
        .get(&trust_domain)
        .ok_or(VerifyError::UnknownTrustDomain(trust_domain))
}

/// The authorities of a bundle that may sign now, and what webpki makes of them: the same at the same
/// place.
struct Authorities<'a> {
    known: Vec<Authority<'a>>,
    anchors: Vec<TrustAnchor<'a>>,
}

struct Authority<'a> {
    certificate: &'a Certificate,
    constraints: UriConstraints,
}

impl<'a> Authorities<'a> {
    /// webpki neither asks when an anchor ends nor whether it is an authority at all.
    fn valid_at(now: SystemTime, bundle: &'a TrustBundle) -> Result<Self, VerifyError> {
        let all = bundle.x509_authorities();
        let mut known = Vec::with_capacity(all.len());
        let mut anchors = Vec::with_capacity(all.len());
        for certificate in all {
            let is_good = certificate.not_before() <= now
                && now <= certificate.not_after()
                && certificate.may_issue();
            let Some(anchor) = certificate.anchor().filter(|_| is_good) else {
                continue;
            };
            let mut anchor = borrowed(anchor);
            known.push(Authority {
                certificate,
                constraints: UriConstraints::take_from(&mut anchor),
            });
            anchors.push(anchor);
        }
        if anchors.is_empty() {
            return Err(VerifyError::NoAuthority(bundle.trust_domain().clone()));
        }
        Ok(Self { known, anchors })
    }

    /// Whether the authority of a path may vouch for all its names, that of the leaf among them.
    fn permit(&self, path: &VerifiedPath<'_>, leaf: &SpiffeId) -> Result<(), webpki::Error> {
        let constraints = self.at_top_of(path).map(|top| &top.constraints);
        let permitted = constraints.is_some_and(|constraints| {
            constraints.is_empty()
                || constraints.permit(leaf)
                    && path
                        .intermediate_certificates()
                        .all(|issuer| permits_issuer(constraints, &issuer.der()))
        });
        if permitted {
            Ok(())
        } else {
            Err(webpki::Error::NameConstraintViolation)
        }
    }

    /// Whether no key of a path above its leaf is distrusted. Another path may be: each is asked about.
    fn are_trusted(
        &self,
        path: &VerifiedPath<'_>,
        bundles: &BundleSet,
    ) -> Result<(), webpki::Error> {
        let mut above = path.intermediate_certificates();
        let at_top = self.at_top_of(path).map(|top| top.certificate.der());
        if above.any(|issuer| is_distrusted(&issuer.der(), bundles))
            || at_top.is_none_or(|der| is_distrusted(der, bundles))
        {
            // No revocation list is looked at, so this means nothing else.
            return Err(webpki::Error::CertRevoked);
        }
        Ok(())
    }

    /// Which of them a path leads to.
    fn at_top_of(&self, path: &VerifiedPath<'_>) -> Option<&Authority<'a>> {
        let is_it = |anchor: &TrustAnchor<'_>| ptr::eq(anchor, path.anchor());
        self.known.get(self.anchors.iter().position(is_it)?)
    }

    /// The earliest end of all that a path leans on above its leaf.
    fn end_of(&self, path: &VerifiedPath<'_>) -> SystemTime {
        let anchor = self.at_top_of(path);
        let above = path
            .intermediate_certificates()
            .map(|issuer| Parsed::read(&issuer.der()).map_or(UNIX_EPOCH, |c| c.not_after()));
        // Every path has an anchor of ours; were it not found, the proof would end at once.
        let anchor_end = anchor.map_or(UNIX_EPOCH, |top| top.certificate.not_after());
        above.fold(anchor_end, SystemTime::min)
    }
}

/// The same anchor, of the same bytes.
fn borrowed<'a>(anchor: &'a TrustAnchor<'_>) -> TrustAnchor<'a> {
    let constraints = anchor.name_constraints.as_deref();
    TrustAnchor {
        subject: Der::from_slice(&anchor.subject),
        subject_public_key_info: Der::from_slice(&anchor.subject_public_key_info),
        name_constraints: constraints.map(Der::from_slice),
    }
}

/// Whether a certificate is for, or signed with, a key that is distrusted; it is, where that cannot be
/// told.
fn is_distrusted(der: &CertificateDer<'_>, bundles: &BundleSet) -> bool {
    // Mostly there is none, and then nothing is read.
    bundles.distrusted().next().is_some()
        && Certificate::from_der(der).map_or(true, |certificate| {
            bundles.distrusts(&certificate).is_some()
        })
}

/// An intermediate need not have a name; one that is no SPIFFE ID cannot be judged.
fn permits_issuer(constraints: &UriConstraints, issuer: &CertificateDer<'_>) -> bool {
    let name = Parsed::read(issuer).and_then(|issuer| issuer.spiffe_id());
    match name {
        Ok(id) => constraints.permit(&id),
        Err(why) => why == X509Error::UriNames { count: 0 },
    }
}

/// webpki asks an intermediate for cA and not for `keyCertSign` (RFC 5280 section 6.1.4 (n)).
fn issuers_may_issue(path: &VerifiedPath<'_>) -> Result<(), webpki::Error> {
    let all = path
        .intermediate_certificates()
        .all(|issuer| Parsed::read(&issuer.der()).is_ok_and(|issuer| issuer.may_issue()));
    if all {
        Ok(())
    } else {
        Err(webpki::Error::EndEntityUsedAsCa)
    }
}

fn explain(error: webpki::Error, role: Role, trust_domain: TrustDomain) -> VerifyError {
    match error {
        webpki::Error::CertRevoked => VerifyError::Distrusted,
        webpki::Error::CertExpired { .. } => VerifyError::Expired,
        webpki::Error::CertNotValidYet { .. } => VerifyError::NotYetValid,
        webpki::Error::EndEntityUsedAsCa => VerifyError::IssuerIsNone,
        webpki::Error::NameConstraintViolation => VerifyError::NameConstraints,
        webpki::Error::RequiredEkuNotFoundContext(_) => VerifyError::KeyPurpose { role },
        // The authorities of a trust domain often share one name, so somebody else's chain shows as
        // a signature that does not fit.
        webpki::Error::InvalidSignatureForPublicKey | webpki::Error::UnknownIssuer => {
            VerifyError::UnknownAuthority(trust_domain)
        }
        other => VerifyError::Chain(other),
    }
}

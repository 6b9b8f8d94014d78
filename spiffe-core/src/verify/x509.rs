//! Chain, bundles and time in; a verified peer out (X509-SVID section 5).
//!
//! Path validation is webpki's. What it leaves out is done here: the rules for the leaf, the choice
//! of authorities by the leaf's own trust domain, the end of authorities, that whoever signs
//! certificates may do so, and which trust domains an authority may vouch for.

use std::ptr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath, anchor_from_trusted_cert};

use super::uri_constraints::UriConstraints;
use super::{Peer, Role, VerifyError};
use crate::bundle::{BundleSet, TrustBundle};
use crate::x509::{Certificate, X509Error};
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
    let facts = Certificate::from_der(leaf)?;
    let id = facts.leaf_id()?;
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
                authorities.permit(path, &id)
            }),
        )
        .map_err(|error| explain(error, role, id.trust_domain()))?;
    let not_after = authorities.end_of(&path).min(facts.not_after());
    Ok(Peer::proven(id, chain, not_after, role))
}

fn bundle_of<'a>(id: &SpiffeId, bundles: &'a BundleSet) -> Result<&'a TrustBundle, VerifyError> {
    let trust_domain = id.trust_domain();
    bundles
        .get(&trust_domain)
        .ok_or(VerifyError::UnknownTrustDomain(trust_domain))
}

/// The authorities of a bundle that may sign now, and what webpki makes of them.
struct Authorities<'a> {
    certificates: Vec<&'a Certificate>,
    anchors: Vec<TrustAnchor<'a>>,
    constraints: Vec<UriConstraints>,
}

impl<'a> Authorities<'a> {
    /// webpki neither asks when an anchor ends nor whether it is an authority at all.
    fn valid_at(now: SystemTime, bundle: &'a TrustBundle) -> Result<Self, VerifyError> {
        let (certificates, mut anchors): (Vec<_>, Vec<_>) = bundle
            .x509_authorities()
            .iter()
            .filter(|c| c.not_before() <= now && now <= c.not_after() && c.may_issue())
            .filter_map(|c| Some((c, anchor_from_trusted_cert(c.der()).ok()?)))
            .unzip();
        if anchors.is_empty() {
            return Err(VerifyError::NoAuthority(bundle.trust_domain().clone()));
        }
        let constraints = anchors.iter_mut().map(UriConstraints::take_from).collect();
        Ok(Self {
            certificates,
            anchors,
            constraints,
        })
    }

    /// Whether the authority of a path may vouch for all its names, that of the leaf among them.
    fn permit(&self, path: &VerifiedPath<'_>, leaf: &SpiffeId) -> Result<(), webpki::Error> {
        let constraints = self.at_top_of(path).map(|at| &self.constraints[at]);
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

    /// Which of the anchors a path leads to.
    fn at_top_of(&self, path: &VerifiedPath<'_>) -> Option<usize> {
        let is_it = |anchor: &TrustAnchor<'_>| ptr::eq(anchor, path.anchor());
        self.anchors.iter().position(is_it)
    }

    /// The earliest end of all that a path leans on above its leaf.
    fn end_of(&self, path: &VerifiedPath<'_>) -> SystemTime {
        let anchor = self.at_top_of(path);
        let above = path
            .intermediate_certificates()
            .map(|c| Certificate::from_der(&c.der()));
        let ends = above.flatten().map(|certificate| certificate.not_after());
        // Every path has an anchor of ours; were it not found, the proof would end at once.
        let anchor_end = anchor.map_or(UNIX_EPOCH, |at| self.certificates[at].not_after());
        ends.fold(anchor_end, SystemTime::min)
    }
}

/// An intermediate need not have a name; one that is no SPIFFE ID cannot be judged.
fn permits_issuer(constraints: &UriConstraints, issuer: &CertificateDer<'_>) -> bool {
    let name = Certificate::from_der(issuer).and_then(|certificate| certificate.spiffe_id());
    match name {
        Ok(id) => constraints.permit(&id),
        Err(why) => why == X509Error::UriNames { count: 0 },
    }
}

/// webpki asks an intermediate for cA and not for `keyCertSign` (RFC 5280 section 6.1.4 (n)).
fn issuers_may_issue(path: &VerifiedPath<'_>) -> Result<(), webpki::Error> {
    let all = path.intermediate_certificates().all(|issuer| {
        Certificate::from_der(&issuer.der()).is_ok_and(|certificate| certificate.may_issue())
    });
    if all {
        Ok(())
    } else {
        Err(webpki::Error::EndEntityUsedAsCa)
    }
}

fn explain(error: webpki::Error, role: Role, trust_domain: TrustDomain) -> VerifyError {
    match error {
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

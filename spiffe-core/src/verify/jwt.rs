//! Token, bundles, audience and time in; a verified token out (JWT-SVID section 4).

use std::fmt;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::jwt_error::{LeewayError, VerifyJwtError};
use crate::bundle::{BundleSet, TrustBundle};
use crate::jwt::{Algorithm, Compact, Headers, Jwk, JwtSvid, TokenType};
use crate::{SpiffeId, TrustDomain};

/// Verifies a JWT-SVID with the bundle of its own trust domain.
///
/// `audience` are the names that the caller goes by; the token must be meant for one of them. A
/// token without a key ID is tried with the keys that fit it, 16 at the most.
///
/// # Errors
///
/// The first rule that does not hold. No expected audience, or an empty name among them, is an
/// error too and never means "any".
pub fn jwt(
    token: &str,
    bundles: &BundleSet,
    audience: &[impl AsRef<str>],
    now: SystemTime,
    rules: &JwtRules,
) -> Result<VerifiedJwt, VerifyJwtError> {
    if audience.is_empty() || audience.iter().any(|name| name.as_ref().is_empty()) {
        return Err(VerifyJwtError::NoExpectedAudience);
    }
    let mut parts = Compact::read(token, TokenType::Jwt, rules.headers)?;
    let claims = std::mem::take(&mut parts.claims);
    let svid = JwtSvid::from_parts(token, claims)?;
    if rules.require_path && svid.id().path().is_empty() {
        return Err(VerifyJwtError::NoPath);
    }
    let bundle = bundle_of(svid.id(), bundles)?;
    check_signature(&parts, bundle.trust_domain(), bundle.jwt_authorities())?;
    rules.check_time(svid.not_before(), svid.expires_at(), now)?;
    let meant = |name: &String| audience.iter().any(|ours| ours.as_ref() == name);
    if !svid.audience().iter().any(meant) {
        return Err(VerifyJwtError::Audience);
    }
    Ok(VerifiedJwt(svid))
}

/// A JWT-SVID that an authority of its own trust domain signed, that was valid at the time and meant
/// for the caller.
///
/// There is no public constructor: to hold one is to have verified one. Cheap to clone.
#[derive(Clone)]
pub struct VerifiedJwt(JwtSvid);

impl VerifiedJwt {
    /// The identity of who presented the token.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        self.0.id()
    }

    /// Whom the token is for; the caller is among them.
    #[must_use]
    pub fn audience(&self) -> &[String] {
        self.0.audience()
    }

    /// When the token ends.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        self.0.expires_at()
    }

    /// When the token was made, where it says so.
    #[must_use]
    pub fn issued_at(&self) -> Option<SystemTime> {
        self.0.issued_at()
    }

    /// All claims of the token.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        self.0.claims()
    }

    /// The token and what it claims.
    #[must_use]
    pub fn svid(&self) -> &JwtSvid {
        &self.0
    }
}

impl fmt::Debug for VerifiedJwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VerifiedJwt").field(&self.0).finish()
    }
}

/// What is asked of tokens where the standard leaves a choice.
///
/// By default clocks may differ by 30 seconds, unknown header parameters mean nothing, and the ID of
/// a trust domain itself may be a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtRules {
    leeway: Duration,
    require_path: bool,
    headers: Headers,
}

impl JwtRules {
    /// How far clocks may differ where nothing else is said.
    pub const LEEWAY: Duration = Duration::from_secs(30);

    /// How far clocks may differ at the most: a token is good for so long after its end and before
    /// its beginning.
    pub const MAX_LEEWAY: Duration = Duration::from_secs(120);

    /// The same rules where clocks may differ so far.
    ///
    /// # Errors
    ///
    /// Where that is longer than [`MAX_LEEWAY`](Self::MAX_LEEWAY).
    pub fn with_leeway(self, leeway: Duration) -> Result<Self, LeewayError> {
        if leeway > Self::MAX_LEEWAY {
            let limit = Self::MAX_LEEWAY;
            return Err(LeewayError { leeway, limit });
        }
        Ok(Self { leeway, ..self })
    }

    /// The same rules, and a subject must have a path: be a workload and not a trust domain.
    #[must_use]
    pub fn with_required_path(self) -> Self {
        Self {
            require_path: true,
            ..self
        }
    }

    /// The same rules, and a header may have no parameters but those that JWT-SVID section 2 names.
    #[must_use]
    pub fn with_strict_headers(self) -> Self {
        Self {
            headers: Headers::Named,
            ..self
        }
    }

    /// How far clocks may differ.
    #[must_use]
    pub fn leeway(&self) -> Duration {
        self.leeway
    }

    pub(super) fn check_time(
        &self,
        begins: Option<SystemTime>,
        ends: SystemTime,
        now: SystemTime,
    ) -> Result<(), VerifyJwtError> {
        // At its end a token has ended (RFC 7519 section 4.1.4).
        if now >= ends + self.leeway {
            return Err(VerifyJwtError::Expired);
        }
        if begins.is_some_and(|begins| now + self.leeway < begins) {
            return Err(VerifyJwtError::NotYetValid);
        }
        Ok(())
    }
}

impl Default for JwtRules {
    fn default() -> Self {
        Self {
            leeway: Self::LEEWAY,
            require_path: false,
            headers: Headers::Any,
        }
    }
}

/// The bundle of the subject's own trust domain; no other may vouch for it.
pub(super) fn bundle_of<'a>(
    id: &SpiffeId,
    bundles: &'a BundleSet,
) -> Result<&'a TrustBundle, VerifyJwtError> {
    let trust_domain = id.trust_domain();
    bundles
        .get(&trust_domain)
        .ok_or(VerifyJwtError::UnknownTrustDomain(trust_domain))
}

/// Checks that one of these keys made the signature.
pub(super) fn check_signature(
    token: &Compact<'_>,
    trust_domain: &TrustDomain,
    keys: &[Jwk],
) -> Result<(), VerifyJwtError> {
    let keys: Vec<_> = match token.key_id.as_deref() {
        None => keys.iter().collect(),
        // More than one key may go by a name. There is no way round a name that no key goes by.
        named => keys.iter().filter(|key| key.key_id() == named).collect(),
    };
    if keys.is_empty() {
        return Err(VerifyJwtError::UnknownKey(trust_domain.clone()));
    }
    let algorithm: Algorithm = token.algorithm;
    let mut fitting = keys.iter().filter(|key| key.fits(algorithm)).peekable();
    if fitting.peek().is_none() {
        return Err(VerifyJwtError::KeyDoesNotFit { algorithm });
    }
    let signed = token.signed.as_bytes();
    let mut tried = fitting.by_ref().take(MAX_TRIED);
    if tried.any(|key| key.verifies(algorithm, signed, &token.signature)) {
        return Ok(());
    }
    match fitting.next() {
        Some(_) => Err(VerifyJwtError::TooManyKeys { limit: MAX_TRIED }),
        None => Err(VerifyJwtError::Signature),
    }
}

/// How many keys are tried: a stranger's token must not cost more.
const MAX_TRIED: usize = 16;

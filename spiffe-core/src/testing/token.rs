//! Tokens that an authority signs as a test asks for, flaws included.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::TestAuthority;
use crate::SpiffeId;
use crate::json::Object;
#[cfg(feature = "incubating-wit")]
use crate::jwt::WitSvid;
use crate::jwt::{Algorithm, JwtSvid, SigningKey};

impl TestAuthority {
    /// A JWT-SVID for these audiences, good for five minutes from now.
    ///
    /// # Panics
    ///
    /// Where `path` is no path of a SPIFFE ID, or there is no audience.
    #[must_use]
    pub fn jwt_svid(&self, path: &str, audience: &[&str]) -> JwtSvid {
        self.jwt_draft(path, audience).jwt_svid()
    }

    /// A JWT-SVID that is still to be given its flaws.
    ///
    /// # Panics
    ///
    /// Where `path` is no path of a SPIFFE ID.
    pub fn jwt_draft(&self, path: &str, audience: &[&str]) -> TokenDraft {
        self.token_draft(path, &self.jwt_key)
            .header("typ", "JWT")
            .claim("aud", audience.to_vec())
    }

    /// A WIT-SVID with a key of its own, good for an hour from now.
    ///
    /// # Panics
    ///
    /// Where `path` is no path of a SPIFFE ID.
    #[cfg(feature = "incubating-wit")]
    #[must_use]
    pub fn wit_svid(&self, path: &str) -> WitSvid {
        self.wit_draft(path).wit_svid()
    }

    /// A WIT-SVID that is still to be given its flaws.
    ///
    /// # Panics
    ///
    /// Where `path` is no path of a SPIFFE ID.
    #[cfg(feature = "incubating-wit")]
    pub fn wit_draft(&self, path: &str) -> TokenDraft {
        let holder = SigningKey::generate(Algorithm::Es256).unwrap();
        let mut key = holder.public_key().key().members();
        key.insert("alg".to_owned(), holder.algorithm().name().into());
        let mut confirmation = Object::new();
        confirmation.insert("jwk".to_owned(), key.into());
        let mut draft = self
            .token_draft(path, &self.wit_key)
            .header("typ", "wit+jwt")
            .claim("cnf", confirmation)
            .lifetime(Duration::from_secs(3600));
        draft.holder = Some(Arc::new(holder));
        draft
    }

    fn token_draft(&self, path: &str, key: &Arc<SigningKey>) -> TokenDraft {
        let id = SpiffeId::new(self.trust_domain(), path).unwrap();
        let draft = TokenDraft {
            now: self.now,
            header: Object::new(),
            claims: Object::new(),
            key: Some(key.clone()),
            #[cfg(feature = "incubating-wit")]
            holder: None,
        };
        draft
            .header("alg", key.algorithm().name())
            .header("kid", key.public_key().key_id())
            .claim("sub", id.as_str())
            .claim("iat", seconds(self.now))
            .lifetime(Duration::from_secs(300))
    }
}

/// A token that is not signed yet.
#[derive(Clone)]
#[must_use]
pub struct TokenDraft {
    now: SystemTime,
    header: Object,
    claims: Object,
    key: Option<Arc<SigningKey>>,
    #[cfg(feature = "incubating-wit")]
    holder: Option<Arc<SigningKey>>,
}

impl fmt::Debug for TokenDraft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenDraft")
            .field("header", &self.header)
            .field("claims", &self.claims)
            .finish_non_exhaustive()
    }
}

impl TokenDraft {
    /// It has this claim, in place of any other of that name.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// It has no such claim: `without_claim("exp")` never ends.
    pub fn without_claim(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// It has this header parameter, in place of any other of that name: `header("alg", "HS256")`
    /// claims another signature than it has, `header("typ", "at+jwt")` is of another type.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// It has no such header parameter: `without_header("kid")` does not say who signed it.
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.remove(name);
        self
    }

    /// Good from now, for so long, in whole seconds.
    pub fn lifetime(self, lifetime: Duration) -> Self {
        let end = self.now + lifetime;
        self.claim("exp", seconds(end))
    }

    /// It ended an hour ago.
    pub fn expired(self) -> Self {
        let end = self.now - HOUR;
        self.claim("exp", seconds(end))
    }

    /// It begins in an hour.
    pub fn not_yet_valid(self) -> Self {
        let (begin, end) = (self.now + HOUR, self.now + 2 * HOUR);
        self.claim("nbf", seconds(begin)).claim("exp", seconds(end))
    }

    /// It names a key that nobody has.
    pub fn signed_by_nobody_known(self) -> Self {
        self.signed_by_stranger().header("kid", "nobody")
    }

    /// It names the authority's key and is signed with another one of the same sort.
    pub fn signed_by_stranger(mut self) -> Self {
        let algorithm = self.key.as_ref().map(|key| key.algorithm());
        let stranger = SigningKey::generate(algorithm.unwrap_or(Algorithm::Es256)).unwrap();
        self.key = Some(Arc::new(stranger));
        self
    }

    /// It bears no signature, and says so: `alg` is `none`.
    pub fn unsigned(mut self) -> Self {
        self.key = None;
        self.header("alg", "none")
    }

    /// The token as it is, flaws included.
    ///
    /// # Panics
    ///
    /// Where the machine gives no randomness.
    #[must_use]
    pub fn token(&self) -> String {
        let (header, claims) = (self.header.clone(), self.claims.clone());
        match &self.key {
            Some(key) => key.token(header, claims).unwrap(),
            None => SigningKey::unsigned_token(header, claims),
        }
    }

    /// The token as its holder has it.
    ///
    /// # Panics
    ///
    /// Where it has a flaw that no JWT-SVID can have; see [`token`](Self::token).
    #[must_use]
    pub fn jwt_svid(&self) -> JwtSvid {
        JwtSvid::parse(&self.token()).unwrap()
    }

    /// The token with its private key, as its holder has them.
    ///
    /// # Panics
    ///
    /// Where it is no WIT-SVID, or has a flaw that none can have; see [`token`](Self::token).
    #[cfg(feature = "incubating-wit")]
    #[must_use]
    pub fn wit_svid(&self) -> WitSvid {
        WitSvid::new(&self.token(), self.private_jwk().as_bytes()).unwrap()
    }

    /// The private key of a WIT-SVID as a JSON Web Key, as the Workload API sends it.
    ///
    /// # Panics
    ///
    /// Where it is no WIT-SVID.
    #[cfg(feature = "incubating-wit")]
    #[must_use]
    pub fn private_jwk(&self) -> String {
        self.holder.as_ref().unwrap().private_jwk().unwrap()
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

const HOUR: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::BundleSet;
    use crate::jwt::JwtError;
    use crate::verify::{JwtRules, VerifiedJwt, VerifyJwtError, jwt};

    fn judge(authority: &TestAuthority, draft: &TokenDraft) -> Result<VerifiedJwt, VerifyJwtError> {
        let bundles = BundleSet::from(authority.bundle());
        let rules = JwtRules::default();
        jwt(&draft.token(), &bundles, &["db"], authority.now, &rules)
    }

    // conformance: JWT-2+ JWT-3+ JWT-21+
    #[test]
    fn every_algorithm_is_believed_with_a_key_id_and_without() {
        for algorithm in Algorithm::ALL {
            let authority = TestAuthority::new("a.test").with_jwt_algorithm(algorithm);
            let draft = authority.jwt_draft("/web", &["db"]);
            let verified = judge(&authority, &draft).unwrap();
            assert_eq!(verified.id().path(), "/web", "{algorithm}");
            let verified = judge(&authority, &draft.without_header("kid"));
            assert_eq!(verified.unwrap().audience(), ["db"], "{algorithm}");
        }
    }

    // conformance: JWT-4- JWT-5- JWT-7- JWT-8- JWT-10- JWT-12- JWT-13- JWT-21-
    #[test]
    fn flaws_are_the_ones_asked_for() {
        use VerifyJwtError as Why;
        let authority = TestAuthority::new("a.test");
        let td = || authority.trust_domain().clone();
        let missing = |claim| Why::Token(JwtError::ClaimMissing { claim });
        let draft = || authority.jwt_draft("/web", &["db"]);
        for (draft, why) in [
            (draft().expired(), Why::Expired),
            (draft().not_yet_valid(), Why::NotYetValid),
            (draft().without_claim("exp"), missing("exp")),
            (draft().without_claim("aud"), missing("aud")),
            (draft().without_claim("sub"), missing("sub")),
            (authority.jwt_draft("/web", &["other"]), Why::Audience),
            (draft().unsigned(), JwtError::Algorithm.into()),
            (draft().header("alg", "HS256"), JwtError::Algorithm.into()),
            (
                draft().header("alg", "ES384"),
                Why::KeyDoesNotFit {
                    algorithm: Algorithm::Es384,
                },
            ),
            (draft().header("typ", "at+jwt"), JwtError::Type.into()),
            (draft().header("kid", ""), JwtError::KeyId.into()),
            (draft().signed_by_nobody_known(), Why::UnknownKey(td())),
            (draft().header("kid", "nobody"), Why::UnknownKey(td())),
            (draft().signed_by_stranger(), Why::Signature),
            (
                draft().signed_by_stranger().without_header("kid"),
                Why::Signature,
            ),
        ] {
            assert_eq!(judge(&authority, &draft).unwrap_err(), why);
        }
        let other = TestAuthority::new("a.test");
        let why = judge(&other, &draft().without_header("kid")).unwrap_err();
        assert_eq!(why, Why::Signature, "another authority of the same name");
    }

    // conformance: JWT-12+ JWT-12-
    #[test]
    fn clocks_may_differ_by_the_leeway_and_no_more() {
        let authority = TestAuthority::new("a.test");
        let bundles = BundleSet::from(authority.bundle());
        let draft = authority.jwt_draft("/web", &["db"]);
        let at = seconds(authority.now);
        let judge = |draft: &TokenDraft, leeway| {
            let rules = JwtRules::default().with_leeway(Duration::from_secs(leeway));
            let now = UNIX_EPOCH + Duration::from_secs(at);
            jwt(&draft.token(), &bundles, &["db"], now, &rules.unwrap()).map(|_| ())
        };
        let ended = draft.claim("exp", at - 29);
        assert_eq!(judge(&ended, 30), Ok(()));
        assert_eq!(judge(&ended, 29), Err(VerifyJwtError::Expired));
        assert_eq!(judge(&ended, 0), Err(VerifyJwtError::Expired));
        let begins = ended.claim("exp", at + 1).claim("nbf", at + 30);
        assert_eq!(judge(&begins, 30), Ok(()));
        assert_eq!(judge(&begins, 29), Err(VerifyJwtError::NotYetValid));

        let too_long = JwtRules::default().with_leeway(Duration::from_secs(121));
        assert_eq!(
            too_long.unwrap_err().to_string(),
            "a leeway of 121s is longer than 120s"
        );
    }

    // conformance: JWT-21-
    #[test]
    fn a_token_without_key_id_costs_a_bounded_number_of_tries() {
        let authority = TestAuthority::new("a.test");
        let draft = authority.jwt_draft("/web", &["db"]).without_header("kid");
        let own = authority.bundle().jwt_authorities()[0].clone();
        let judge = |strangers: usize| {
            let stranger = SigningKey::generate(Algorithm::Es256).unwrap();
            let mut keys = vec![stranger.public_key().clone(); strangers];
            keys.push(own.clone());
            let bundles = BundleSet::from(authority.bundle().with_jwt_authorities(keys));
            let rules = JwtRules::default();
            jwt(&draft.token(), &bundles, &["db"], authority.now, &rules).map(|_| ())
        };
        assert_eq!(judge(15), Ok(()));
        let why = judge(16).unwrap_err();
        assert_eq!(why, VerifyJwtError::TooManyKeys { limit: 16 });
        assert_eq!(
            why.to_string(),
            "more than 16 keys would have to be tried; the token should name its key, by a `kid` \
             that no other has"
        );
    }

    // conformance: JWT-17+ JWT-18+
    #[test]
    fn two_keys_of_one_name_are_both_tried() {
        let authority = TestAuthority::new("a.test");
        let own = authority.bundle().jwt_authorities()[0].clone();
        let stranger = SigningKey::generate(Algorithm::Es256).unwrap();
        let stranger = stranger.public_key().clone();
        let namesake = stranger.with_key_id(own.key_id().unwrap());
        let bundle = authority.bundle().with_jwt_authorities(vec![namesake, own]);
        let token = authority.jwt_svid("/web", &["db"]);
        let judged = jwt(
            token.token(),
            &BundleSet::from(bundle),
            &["db"],
            authority.now,
            &JwtRules::default(),
        );
        assert!(judged.is_ok());
    }
}

//! JWT-SVIDs and WIT-SVIDs: for agents what their entries allow, and minted for administrators.

use std::time::Duration;

use serde_json::Value;
use spiffe_core::SpiffeId;
use spiffe_core::jwt::{Algorithm, Jwk};

use super::{SvidError, Svids, TokenPolicy};
use crate::domain::AuthorityKind;
use crate::server::ca::{SignedToken, Token};
use crate::server::ids::workload_id;
use crate::server::nodes::AgentCaller;

/// A token that was issued.
#[derive(Debug, Clone)]
pub struct IssuedToken {
    /// Whose it is.
    pub id: SpiffeId,
    /// The token, and when it was signed and ends.
    pub signed: SignedToken,
    /// What the workload may tell it apart by.
    pub hint: String,
}

/// What a WIT-SVID is asked for with: the key that it binds, and how that key will sign.
#[derive(Debug, Clone)]
pub struct BoundKey {
    /// The public key, as DER.
    pub public_key: Vec<u8>,
    /// The name of the algorithm.
    pub algorithm: String,
}

impl Svids {
    /// Signs a JWT-SVID of an entry that the agent may have.
    ///
    /// # Errors
    ///
    /// Where there are no JWT-SVIDs, the agent may not have the entry, there is no audience, or nothing
    /// can be signed at the moment.
    pub async fn issue_jwt(
        &self,
        agent: &AgentCaller,
        entry_id: &str,
        audience: Vec<String>,
    ) -> Result<IssuedToken, SvidError> {
        let policy = enabled(AuthorityKind::Jwt, self.policy.jwt.as_ref())?;
        let entry = self.allowed_one(agent, entry_id)?;
        let body = &entry.body;
        let token = Token::jwt(
            body.spiffe_id.clone(),
            &audiences(audience)?,
            policy.issuer.as_deref(),
            body.jwt_svid_include_jti,
            body.jwt_svid_ttl.unwrap_or(policy.ttl),
        );
        Ok(IssuedToken {
            id: body.spiffe_id.clone(),
            signed: self.authorities.sign_jwt(token, self.clock.now()).await?,
            hint: body.hint.as_str().to_owned(),
        })
    }

    /// Signs the JWT-SVID that an administrator asks for, without an entry.
    ///
    /// # Errors
    ///
    /// Where there are no JWT-SVIDs, the ID is not that of a workload of ours, there is no audience, or
    /// nothing can be signed at the moment.
    pub async fn mint_jwt(
        &self,
        id: SpiffeId,
        audience: Vec<String>,
        lifetime: Option<Duration>,
    ) -> Result<IssuedToken, SvidError> {
        let policy = enabled(AuthorityKind::Jwt, self.policy.jwt.as_ref())?;
        workload_id(&id, &self.trust_domain).map_err(SvidError::TokenId)?;
        let token = Token::jwt(
            id.clone(),
            &audiences(audience)?,
            policy.issuer.as_deref(),
            false,
            lifetime.unwrap_or(policy.ttl),
        );
        Ok(IssuedToken {
            id,
            signed: self.authorities.sign_jwt(token, self.clock.now()).await?,
            hint: String::new(),
        })
    }

    /// Signs a WIT-SVID of an entry that the agent may have. It lives as long as the certificates of the
    /// entry do.
    ///
    /// # Errors
    ///
    /// Where there are no WIT-SVIDs, the agent may not have the entry, the key is of no use, or nothing
    /// can be signed at the moment.
    pub async fn issue_wit(
        &self,
        agent: &AgentCaller,
        entry_id: &str,
        key: &BoundKey,
    ) -> Result<IssuedToken, SvidError> {
        let policy = enabled(AuthorityKind::Wit, self.policy.wit.as_ref())?;
        let entry = self.allowed_one(agent, entry_id)?;
        let body = &entry.body;
        let lifetime = body.x509_svid_ttl.unwrap_or(policy.ttl);
        let issuer = policy.issuer.as_deref();
        let token = Token::wit(body.spiffe_id.clone(), &bound(key)?, issuer, lifetime);
        Ok(IssuedToken {
            id: body.spiffe_id.clone(),
            signed: self.authorities.sign_wit(token, self.clock.now()).await?,
            hint: body.hint.as_str().to_owned(),
        })
    }

    /// Signs the WIT-SVID that an administrator asks for, without an entry.
    ///
    /// # Errors
    ///
    /// Where there are no WIT-SVIDs, the ID is not that of a workload of ours, the key is of no use, or
    /// nothing can be signed at the moment.
    pub async fn mint_wit(
        &self,
        id: SpiffeId,
        key: &BoundKey,
        lifetime: Option<Duration>,
    ) -> Result<IssuedToken, SvidError> {
        let policy = enabled(AuthorityKind::Wit, self.policy.wit.as_ref())?;
        workload_id(&id, &self.trust_domain).map_err(SvidError::TokenId)?;
        let (issuer, lifetime) = (policy.issuer.as_deref(), lifetime.unwrap_or(policy.ttl));
        let token = Token::wit(id.clone(), &bound(key)?, issuer, lifetime);
        Ok(IssuedToken {
            id,
            signed: self.authorities.sign_wit(token, self.clock.now()).await?,
            hint: String::new(),
        })
    }
}

fn enabled(kind: AuthorityKind, policy: Option<&TokenPolicy>) -> Result<&TokenPolicy, SvidError> {
    policy.ok_or(SvidError::Disabled(kind))
}

/// The audiences that say something.
fn audiences(mut asked: Vec<String>) -> Result<Vec<String>, SvidError> {
    asked.retain(|audience| !audience.is_empty());
    match asked.is_empty() {
        true => Err(SvidError::NoAudience),
        false => Ok(asked),
    }
}

/// The key as it stands in the token, with the algorithm that it will sign with.
fn bound(key: &BoundKey) -> Result<Value, SvidError> {
    let jwk = Jwk::from_spki_der(&key.public_key).map_err(SvidError::PublicKey)?;
    let algorithm = Algorithm::named(&key.algorithm).filter(|algorithm| jwk.fits(*algorithm));
    let algorithm = algorithm.ok_or_else(|| SvidError::Algorithm(key.algorithm.clone()))?;
    let mut members: Value = serde_json::from_str(&jwk.to_json()).unwrap_or_default();
    members["alg"] = Value::from(algorithm.name());
    Ok(members)
}

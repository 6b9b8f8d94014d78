//! The calls for tokens.

use prost_types::value::Kind;
use serde_json::{Map, Value};
use tracing::warn;
#[cfg(feature = "incubating-wit")]
use zeroize::Zeroize;

#[cfg(feature = "incubating-wit")]
use super::client::Api;
use super::client::{refused, request};
use super::decode::{self, Wanted};
use super::{Flaw, WorkloadApiClient, WorkloadApiError};
use crate::SpiffeId;
use crate::jwt::JwtSvid;
#[cfg(feature = "incubating-wit")]
use crate::jwt::WitSvid;
use crate::proto::workload::{JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest};
#[cfg(feature = "incubating-wit")]
use crate::proto::workload::{WitsvidRequest, WitsvidResponse};
use crate::with_causes;

impl WorkloadApiClient {
    /// A JWT-SVID for this audience: of this identity, or of the default one, which is the first
    /// (SPIFFE Workload API section 8).
    ///
    /// # Errors
    ///
    /// As for [`fetch_jwt_svids`](Self::fetch_jwt_svids).
    pub async fn fetch_jwt_svid(
        &self,
        audience: impl IntoIterator<Item = impl Into<String>>,
        id: Option<&SpiffeId>,
    ) -> Result<JwtSvid, WorkloadApiError> {
        let svids = self.fetch_jwt_svids(audience, id).await?;
        svids
            .into_iter()
            .next()
            .ok_or(WorkloadApiError::Unusable(Flaw::NoSvid))
    }

    /// JWT-SVIDs for this audience: of one identity, or of all that the workload has (SPIFFE
    /// Workload API section 6.2.1). There is at least one, and the first is the default one.
    ///
    /// Each call asks the API; [`JwtSource`](crate::source::JwtSource) keeps tokens while they are
    /// good.
    ///
    /// # Errors
    ///
    /// Where no audience is named, the API cannot be reached, does not answer in time, refuses, or
    /// sends no token that can be used.
    pub async fn fetch_jwt_svids(
        &self,
        audience: impl IntoIterator<Item = impl Into<String>>,
        id: Option<&SpiffeId>,
    ) -> Result<Vec<JwtSvid>, WorkloadApiError> {
        let audience = named(audience)?;
        let asked = request(JwtsvidRequest {
            audience: audience.clone(),
            spiffe_id: id.map(ToString::to_string).unwrap_or_default(),
        });
        let answer = async {
            self.service()
                .await?
                .fetch_jwtsvid(asked)
                .await
                .map_err(refused)
        };
        let message = self.prompt(answer).await?.into_inner();
        let audience = &audience;
        self.read_jwt(&message, Wanted { id, audience })
    }

    /// The tokens of a message that are what was asked for.
    pub(crate) fn read_jwt(
        &self,
        message: &JwtsvidResponse,
        wanted: Wanted<'_>,
    ) -> Result<Vec<JwtSvid>, WorkloadApiError> {
        let decoded = decode::jwt(message, wanted, self.clock().now(), self.limits())?;
        for flaw in &decoded.flaws {
            warn!(error = %with_causes(flaw), "part of a Workload API message ignored");
        }
        Ok(decoded.value)
    }

    /// Has the API judge a JWT-SVID (SPIFFE Workload API section 6.2.3).
    ///
    /// [`verify::jwt`](crate::verify::jwt()) needs no call for each token, goes on while the agent is
    /// away, and makes a proof; this is for those who must have the agent's own verdict.
    ///
    /// # Errors
    ///
    /// Where no audience is named, the API cannot be reached or does not answer in time, and where
    /// it does not believe the token, which is [`Refused`](WorkloadApiError::Refused) with
    /// `InvalidArgument`.
    pub async fn validate_jwt_svid(
        &self,
        audience: &str,
        token: &str,
    ) -> Result<AgentVerdict, WorkloadApiError> {
        if audience.is_empty() {
            return Err(WorkloadApiError::NoAudience);
        }
        let asked = request(ValidateJwtsvidRequest {
            audience: audience.to_owned(),
            svid: token.to_owned(),
        });
        let answer = async {
            self.service()
                .await?
                .validate_jwtsvid(asked)
                .await
                .map_err(refused)
        };
        let message = self.prompt(answer).await?.into_inner();
        let id: SpiffeId = message.spiffe_id.parse().map_err(Flaw::Id)?;
        let claims = message.claims.unwrap_or_default();
        Ok(AgentVerdict {
            id,
            claims: members(claims, 0),
        })
    }

    /// The WIT-SVIDs of this moment: of one identity, or of all that the workload has (SPIFFE
    /// Workload API section 7.2.1). There is at least one, and the first is the default one.
    ///
    /// # Errors
    ///
    /// Where the API cannot be reached, does not answer in time, refuses, or sends no token that can
    /// be used. An API without WIT-SVIDs answers `Unimplemented`, and will do so the next time
    /// (section 7).
    #[cfg(feature = "incubating-wit")]
    pub async fn fetch_wit_svids(
        &self,
        id: Option<&SpiffeId>,
    ) -> Result<Vec<WitSvid>, WorkloadApiError> {
        self.prompt(async { self.watch_wit_svids(id).await?.next().await })
            .await
    }

    /// A watch of the WIT-SVIDs. It ends when the connection does.
    ///
    /// # Errors
    ///
    /// Where the API cannot be reached, refuses, or does not answer for 30 seconds.
    #[cfg(feature = "incubating-wit")]
    pub async fn watch_wit_svids(
        &self,
        id: Option<&SpiffeId>,
    ) -> Result<WitWatch, WorkloadApiError> {
        let asked = request(WitsvidRequest {
            spiffe_id: id.map(ToString::to_string).unwrap_or_default(),
        });
        let ask = |mut api: Api| async move { api.fetch_witsvid(asked).await };
        Ok(WitWatch {
            messages: self.open(ask).await?,
            id: id.cloned(),
            client: self.clone(),
        })
    }
}

/// An audience of at least one name, none of them empty (SPIFFE Workload API section 6.2.1).
pub(crate) fn named(
    audience: impl IntoIterator<Item = impl Into<String>>,
) -> Result<Vec<String>, WorkloadApiError> {
    let audience: Vec<String> = audience.into_iter().map(Into::into).collect();
    if audience.is_empty() || audience.iter().any(String::is_empty) {
        return Err(WorkloadApiError::NoAudience);
    }
    Ok(audience)
}

/// The messages of one stream of WIT-SVIDs, each read.
#[cfg(feature = "incubating-wit")]
#[derive(Debug)]
pub struct WitWatch {
    messages: tonic::Streaming<WitsvidResponse>,
    id: Option<SpiffeId>,
    client: WorkloadApiClient,
}

#[cfg(feature = "incubating-wit")]
impl WitWatch {
    /// The next WIT-SVIDs; the first ones come at once. They replace the ones before them.
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`Unusable`](WorkloadApiError::Unusable) where a message brought no token that can be used,
    /// and then more may come. After any other error the stream is over.
    pub async fn next(&mut self) -> Result<Vec<WitSvid>, WorkloadApiError> {
        let message = self.messages.message().await.map_err(refused)?;
        let mut message = message.ok_or(WorkloadApiError::Ended)?;
        let now = self.client.clock().now();
        let decoded = decode::wit(&message, self.id.as_ref(), now, self.client.limits());
        for svid in &mut message.svids {
            svid.wit_svid_key.zeroize();
        }
        let decoded = decoded?;
        for flaw in &decoded.flaws {
            warn!(error = %with_causes(flaw), "part of a Workload API message ignored");
        }
        Ok(decoded.value)
    }
}

/// What the agent says of a token that it believes. It is the agent's word and no proof of ours.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentVerdict {
    id: SpiffeId,
    claims: Map<String, Value>,
}

impl AgentVerdict {
    /// Whom the token is about.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// What the token claims, as far as the agent tells. Numbers are floating ones on the wire.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
}

fn members(message: prost_types::Struct, depth: usize) -> Map<String, Value> {
    let fields = message.fields.into_iter();
    fields
        .map(|(name, value)| (name, json(value, depth)))
        .collect()
}

fn json(value: prost_types::Value, depth: usize) -> Value {
    if depth > MAX_DEPTH {
        return Value::Null;
    }
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => value.into(),
        Some(Kind::ListValue(list)) => {
            let values = list.values.into_iter();
            values.map(|value| json(value, depth + 1)).collect()
        }
        Some(Kind::NumberValue(value)) => value.into(),
        Some(Kind::StringValue(value)) => value.into(),
        Some(Kind::StructValue(value)) => members(value, depth + 1).into(),
    }
}

/// How deep claims may be nested; prost reads no deeper than 100 either.
const MAX_DEPTH: usize = 100;

//! The local authority service: decode, call, encode.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::refused;
use crate::domain::{AuthorityId, AuthorityKind};
use crate::proto::server::localauthority::local_authority_server::LocalAuthority;
use crate::proto::server::localauthority::{
    ActivateJwtAuthorityRequest, ActivateJwtAuthorityResponse, ActivateWitAuthorityRequest,
    ActivateWitAuthorityResponse, ActivateX509AuthorityRequest, ActivateX509AuthorityResponse,
    AuthorityState as Message, GetJwtAuthorityStateRequest, GetJwtAuthorityStateResponse,
    GetWitAuthorityStateRequest, GetWitAuthorityStateResponse, GetX509AuthorityStateRequest,
    GetX509AuthorityStateResponse, PrepareJwtAuthorityRequest, PrepareJwtAuthorityResponse,
    PrepareWitAuthorityRequest, PrepareWitAuthorityResponse, PrepareX509AuthorityRequest,
    PrepareX509AuthorityResponse, RevokeJwtAuthorityRequest, RevokeJwtAuthorityResponse,
    RevokeWitAuthorityRequest, RevokeWitAuthorityResponse, RevokeX509AuthorityRequest,
    RevokeX509AuthorityResponse, RevokeX509UpstreamAuthorityRequest,
    RevokeX509UpstreamAuthorityResponse, TaintJwtAuthorityRequest, TaintJwtAuthorityResponse,
    TaintWitAuthorityRequest, TaintWitAuthorityResponse, TaintX509AuthorityRequest,
    TaintX509AuthorityResponse, TaintX509UpstreamAuthorityRequest,
    TaintX509UpstreamAuthorityResponse,
};
use crate::server::ca::{AuthorityState, Order};
use crate::server::local_authority::LocalAuthority as Noun;
use crate::wire::seconds;

/// `spire.api.server.localauthority.v1.LocalAuthority`.
#[derive(Clone)]
pub(super) struct LocalAuthorityApi {
    pub(super) authority: Arc<Noun>,
}

impl LocalAuthorityApi {
    /// The active, the prepared and the old one.
    fn states(&self, kind: AuthorityKind) -> Result<[Option<Message>; 3], Status> {
        let standings = self.authority.standings(kind).map_err(refused)?;
        let states = [standings.active, standings.prepared, standings.old];
        Ok(states.map(|state| state.as_ref().map(message)))
    }

    async fn order(&self, order: Order) -> Result<Option<Message>, Status> {
        let state = self.authority.order(order).await.map_err(refused)?;
        Ok(Some(message(&state)))
    }
}

fn message(state: &AuthorityState) -> Message {
    let upstream = state.upstream.as_ref();
    Message {
        authority_id: state.id.to_string(),
        expires_at: seconds(state.expires_at),
        upstream_authority_subject_key_id: upstream.map_or_else(String::new, ToString::to_string),
    }
}

fn id(text: &str) -> AuthorityId {
    AuthorityId::from_text(text)
}

/// Other tools print key IDs in capitals; ours are small, and so is what is answered.
fn key_id(text: &str) -> String {
    text.to_lowercase()
}

/// The five calls about each kind of authority differ in nothing but their names.
macro_rules! kinds {
    ($([$kind:ident: $show:ident($shown:ident) -> $states:ident,
        $prepare:ident($prepared:ident) -> $preparation:ident,
        $activate:ident($activated:ident) -> $activation:ident,
        $taint:ident($tainted:ident) -> $tainting:ident,
        $revoke:ident($revoked:ident) -> $revocation:ident])*
     others { $($rest:tt)* }) => {
        #[tonic::async_trait]
        impl LocalAuthority for LocalAuthorityApi {
            $(
                async fn $show(&self, _: Request<$shown>) -> Result<Response<$states>, Status> {
                    let [active, prepared, old] = self.states(AuthorityKind::$kind)?;
                    Ok(Response::new($states { active, prepared, old }))
                }

                async fn $prepare(
                    &self,
                    _: Request<$prepared>,
                ) -> Result<Response<$preparation>, Status> {
                    let order = Order::Prepare(AuthorityKind::$kind);
                    let prepared_authority = self.order(order).await?;
                    Ok(Response::new($preparation { prepared_authority }))
                }

                async fn $activate(
                    &self,
                    request: Request<$activated>,
                ) -> Result<Response<$activation>, Status> {
                    let id = id(&request.get_ref().authority_id);
                    let order = Order::Activate(AuthorityKind::$kind, id);
                    let activated_authority = self.order(order).await?;
                    Ok(Response::new($activation { activated_authority }))
                }

                async fn $taint(
                    &self,
                    request: Request<$tainted>,
                ) -> Result<Response<$tainting>, Status> {
                    let id = id(&request.get_ref().authority_id);
                    let order = Order::Taint(AuthorityKind::$kind, id);
                    let tainted_authority = self.order(order).await?;
                    Ok(Response::new($tainting { tainted_authority }))
                }

                async fn $revoke(
                    &self,
                    request: Request<$revoked>,
                ) -> Result<Response<$revocation>, Status> {
                    let id = id(&request.get_ref().authority_id);
                    let order = Order::Revoke(AuthorityKind::$kind, id);
                    let revoked_authority = self.order(order).await?;
                    Ok(Response::new($revocation { revoked_authority }))
                }
            )*
            $($rest)*
        }
    };
}

kinds! {
    [Jwt: get_jwt_authority_state(GetJwtAuthorityStateRequest) -> GetJwtAuthorityStateResponse,
        prepare_jwt_authority(PrepareJwtAuthorityRequest) -> PrepareJwtAuthorityResponse,
        activate_jwt_authority(ActivateJwtAuthorityRequest) -> ActivateJwtAuthorityResponse,
        taint_jwt_authority(TaintJwtAuthorityRequest) -> TaintJwtAuthorityResponse,
        revoke_jwt_authority(RevokeJwtAuthorityRequest) -> RevokeJwtAuthorityResponse]
    [Wit: get_wit_authority_state(GetWitAuthorityStateRequest) -> GetWitAuthorityStateResponse,
        prepare_wit_authority(PrepareWitAuthorityRequest) -> PrepareWitAuthorityResponse,
        activate_wit_authority(ActivateWitAuthorityRequest) -> ActivateWitAuthorityResponse,
        taint_wit_authority(TaintWitAuthorityRequest) -> TaintWitAuthorityResponse,
        revoke_wit_authority(RevokeWitAuthorityRequest) -> RevokeWitAuthorityResponse]
    [X509: get_x509_authority_state(GetX509AuthorityStateRequest) -> GetX509AuthorityStateResponse,
        prepare_x509_authority(PrepareX509AuthorityRequest) -> PrepareX509AuthorityResponse,
        activate_x509_authority(ActivateX509AuthorityRequest) -> ActivateX509AuthorityResponse,
        taint_x509_authority(TaintX509AuthorityRequest) -> TaintX509AuthorityResponse,
        revoke_x509_authority(RevokeX509AuthorityRequest) -> RevokeX509AuthorityResponse]

    others {
    async fn taint_x509_upstream_authority(
        &self,
        request: Request<TaintX509UpstreamAuthorityRequest>,
    ) -> Result<Response<TaintX509UpstreamAuthorityResponse>, Status> {
        let root = key_id(&request.get_ref().subject_key_id);
        self.order(Order::TaintUpstream(id(&root))).await?;
        Ok(Response::new(TaintX509UpstreamAuthorityResponse {
            upstream_authority_subject_key_id: root,
        }))
    }

    async fn revoke_x509_upstream_authority(
        &self,
        request: Request<RevokeX509UpstreamAuthorityRequest>,
    ) -> Result<Response<RevokeX509UpstreamAuthorityResponse>, Status> {
        let root = key_id(&request.get_ref().subject_key_id);
        self.order(Order::RevokeUpstream(id(&root))).await?;
        Ok(Response::new(RevokeX509UpstreamAuthorityResponse {
            upstream_authority_subject_key_id: root,
        }))
    }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_ids_in_capitals_are_those_in_small_letters() {
        assert_eq!(
            key_id("00AAfF"),
            AuthorityId::from_key_id(&[0, 0xaa, 0xff]).as_str()
        );
        assert_eq!(key_id(""), "");
    }
}

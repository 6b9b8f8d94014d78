//! WIT-SVIDs in requests: presented by one layer, verified by the other.
#![cfg(feature = "incubating-wit")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::convert::Infallible;
use std::future::ready;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Empty;
use spiffe_core::authorizer::anyone;
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::jwt::WitSvid;
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::{TestAuthority, TestClock};
use spiffe_core::verify::{Role, VerifiedWit, x509_peer};
use spiffe_core::{BundleSet, IdentitySnapshot, SpiffeId, spiffe_id};
use spiffe_tower::{
    AccessTokenError, AuthorizeLayer, Connection, InjectError, JwtBearerLayer, Principal,
    WitInjectLayer, WitVerifyLayer,
};
use tower::{Layer, Service, ServiceExt};

type Nothing = Empty<&'static [u8]>;
const WEB: SpiffeId = spiffe_id!("spiffe://a.test/web");

// conformance: WIT-23+ WIT-24+ WIT-25+ WIT-26+ WIT-31+ WIT-32+
#[tokio::test]
async fn a_wit_svid_is_presented_with_a_proof_over_a_secure_channel_and_believed() {
    let world = World::new();
    for uri in [
        "https://ledger/a/b?c=d",
        "https://LEDGER:443/a/b",
        "/pkg.Ledger/Close",
    ] {
        let mut request = world.sends(get(uri)).await.unwrap();
        assert!(!request.headers().contains_key("authorization"));
        for header in ["workload-identity-token", "workload-proof-token"] {
            assert!(request.headers()[header].is_sensitive());
        }
        *request.uri_mut() = request.uri().path().parse().unwrap();
        let mut request = world.over_mtls(request);
        // As they come from the wire.
        for value in request.headers_mut().values_mut() {
            value.set_sensitive(false);
        }
        assert_eq!(world.hears(world.verify(), request).await, Ok(WEB), "{uri}");
    }
}

// conformance: WIT-32-
#[tokio::test]
async fn plain_text_is_refused_by_both_sides_unless_they_are_told() {
    let world = World::new();
    let elsewhere = || WitInjectLayer::new(world.svid());
    let refused = send(&elsewhere(), get("http://ledger/")).await;
    assert!(matches!(refused, Err(InjectError::PlainText { .. })));
    assert!(send(&elsewhere(), get("https://ledger/")).await.is_ok());
    assert!(send(&elsewhere(), get("http://127.0.0.1/")).await.is_ok());
    let told = elsewhere().over_plain_text();
    assert!(send(&told, get("http://ledger/")).await.is_ok());

    let request = || world.sends(get("https://ledger/"));
    let heard = world.hears(world.verify(), request().await.unwrap()).await;
    assert_eq!(heard, Err(StatusCode::FORBIDDEN));
    let told = world.verify().behind_a_proxy();
    let heard = world.hears(told, request().await.unwrap()).await;
    assert_eq!(heard, Ok(WEB));
}

// conformance: WIT-22- WIT-23- WIT-24- WIT-25- WIT-26-
#[tokio::test]
async fn without_both_headers_and_a_fitting_proof_nobody_is_known() {
    let world = World::new();
    let good = world.sends(get("https://ledger/a")).await.unwrap();
    let another = world.sends(get("https://ledger/a")).await.unwrap();
    let value = |name: &str| good.headers()[name].to_str().unwrap().to_owned();
    let token = value("workload-identity-token");
    let mut cases = vec![("nothing is there", get("/a"))];
    for (what, change) in [
        ("the proof is missing", "workload-proof-token"),
        ("the token is missing", "workload-identity-token"),
    ] {
        let mut request = good.clone();
        request.headers_mut().remove(change);
        cases.push((what, request));
    }
    for header in ["workload-proof-token", "workload-identity-token"] {
        let mut request = good.clone();
        let again = another.headers()[header].clone();
        request.headers_mut().append(header, again);
        cases.push(("a header is there twice", request));
    }
    let mut elsewhere = good.clone();
    *elsewhere.uri_mut() = "/b".parse().unwrap();
    cases.push(("the proof is for another path", elsewhere));
    let mut bearer = get("/a");
    let headers = bearer.headers_mut();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    cases.push(("the token is in the wrong place", bearer));
    let mut unbound = good.clone();
    let headers = unbound.headers_mut();
    headers.insert("authorization", "Bearer access".parse().unwrap());
    cases.push(("the proof does not bind the access token", unbound));
    for (what, request) in cases {
        let heard = world.hears(world.verify(), world.over_mtls(request)).await;
        assert_eq!(heard, Err(StatusCode::FORBIDDEN), "{what}");
    }
    let heard = world.hears(world.verify(), world.over_mtls(good)).await;
    assert_eq!(heard, Ok(WEB));
}

#[tokio::test]
async fn an_access_token_beside_it_is_bound() {
    let world = World::new();
    for (scheme, another) in [("Bearer", "DPoP"), ("DPoP", "Bearer")] {
        let with = |value: String| {
            let mut request = get("https://ledger/");
            let headers = request.headers_mut();
            headers.insert("authorization", value.parse().unwrap());
            request
        };
        let sent = world.sends(with(format!("{scheme} access"))).await.unwrap();
        let mut request = world.over_mtls(sent);
        for (value, heard) in [
            (format!("{scheme} access"), Ok(WEB)),
            (format!("{another} access"), Ok(WEB)),
            (format!("{scheme} other"), Err(StatusCode::FORBIDDEN)),
            (format!("{another} other"), Err(StatusCode::FORBIDDEN)),
        ] {
            let headers = request.headers_mut();
            headers.insert("authorization", value.parse().unwrap());
            let got = world.hears(world.verify(), request.clone()).await;
            assert_eq!(got, heard, "{scheme} bound, {value} shown");
        }
    }
}

#[tokio::test]
async fn an_access_token_that_the_proof_does_not_bind_gets_nobody_through() {
    let world = World::new();
    let good = || world.sends(get("https://ledger/"));
    for (value, passes) in [
        (&b"Basic dTpw"[..], true),
        (b"Negotiate YII=", true),
        (b"Basic dTpw, Bearer a", false),
        (b"Negotiate YII=, DPoP a", false),
        (b"Digest a=b, Bearer c", false),
        (b"Bearer access", false),
        (b"DPoP access", false),
        (b"Bearer\taccess", false),
        (b"Bearer", false),
        (b"", false),
        (b"GNAP access", false),
        (b"PoP access", false),
        (b"Bearer access\xff", false),
        (b"\xff", false),
    ] {
        let value = HeaderValue::from_bytes(value).unwrap();
        let mut request = world.over_mtls(good().await.unwrap());
        let headers = request.headers_mut();
        headers.insert("authorization", value.clone());
        let heard = world.hears(world.verify(), request).await;
        let expected = passes.then_some(WEB).ok_or(StatusCode::FORBIDDEN);
        assert_eq!(heard, expected, "{value:?}");
    }
}

#[tokio::test]
async fn a_client_makes_no_proof_beside_an_access_token_that_it_cannot_read() {
    let world = World::new();
    for (value, why) in [
        (&b""[..], AccessTokenError::Unreadable),
        (b"Bearer\taccess", AccessTokenError::Unreadable),
        (b"GNAP access", AccessTokenError::Scheme),
        (b"Bearer a\xff", AccessTokenError::Unreadable),
        (b"Basic dTpw, Bearer a", AccessTokenError::Unreadable),
        (b"Negotiate YII=, DPoP a", AccessTokenError::Unreadable),
        (b"Digest a=b, Bearer c", AccessTokenError::Scheme),
    ] {
        let value = HeaderValue::from_bytes(value).unwrap();
        let mut request = get("https://ledger/");
        request.headers_mut().insert("authorization", value.clone());
        let failed = world.sends(request).await;
        let is_told = matches!(failed, Err(InjectError::AccessToken(told)) if told == why);
        assert!(is_told, "{value:?}");
    }
}

// conformance: WIT-30+ WIT-30-
#[tokio::test]
async fn a_proof_is_for_now() {
    let world = World::new();
    let request = world.over_mtls(world.sends(get("https://ledger/")).await.unwrap());
    for (seconds, heard) in [(50, Ok(WEB)), (70, Err(StatusCode::FORBIDDEN))] {
        let later = SystemClock.now() + Duration::from_secs(seconds);
        let layer = world.verify().clock(Arc::new(TestClock::at(later)));
        assert_eq!(world.hears(layer, request.clone()).await, heard);
    }
}

#[tokio::test]
async fn a_policy_that_a_wit_svid_would_escape_is_no_way_through() {
    let world = World::new();
    let jwt = format!("Bearer {}", world.ca.jwt_draft("/web", &["api"]).token());
    let mut request = get("https://ledger/");
    let headers = request.headers_mut();
    headers.insert("authorization", jwt.parse().unwrap());
    let request = world.over_mtls(world.sends(request).await.unwrap());
    let knows_jwt = JwtBearerLayer::new(world.source(), ["api"]);
    let judges = AuthorizeLayer::new(anyone());
    let handler = tower::service_fn(|_: Request<Nothing>| {
        ready(Ok::<_, Infallible>(Response::new(Nothing::new())))
    });
    let inner = world.verify().layer(handler);
    let by_peer = judges.layer(inner.clone());
    let by_jwt = knows_jwt.layer(judges.layer(inner.clone()));
    let about_peers = judges.clone().about_peers().layer(inner);
    let further_in = world.verify().layer(judges.layer(knows_jwt.layer(handler)));
    assert_eq!(answer(by_peer, &request).await, StatusCode::FORBIDDEN);
    assert_eq!(answer(by_jwt, &request).await, StatusCode::FORBIDDEN);
    assert_eq!(answer(about_peers, &request).await, StatusCode::OK);
    assert_eq!(answer(further_in, &request).await, StatusCode::OK);
}

#[tokio::test]
async fn a_call_fails_rather_than_go_without_a_wit_svid() {
    let world = World::new();
    let nothing = WitInjectLayer::new(|| None);
    let failed = send(&nothing, get("https://ledger/")).await;
    assert!(matches!(failed, Err(InjectError::NoWit)));

    let late = SystemClock.now() + Duration::from_secs(2 * 3600);
    let late = WitInjectLayer::new(world.svid()).clock(Arc::new(TestClock::at(late)));
    let failed = send(&late, get("https://ledger/")).await;
    assert!(matches!(failed, Err(InjectError::NoWit)), "it has ended");

    let mut twice = get("https://ledger/");
    let headers = twice.headers_mut();
    headers.insert("workload-proof-token", "mine".parse().unwrap());
    let failed = world.sends(twice).await;
    assert!(matches!(failed, Err(InjectError::Occupied { .. })));
    let failed = world.sends(get("https://other/")).await;
    assert!(matches!(failed, Err(InjectError::Elsewhere { .. })));
}

/// A service at `https://ledger`, and a workload that calls it.
struct World {
    ca: TestAuthority,
    svid: WitSvid,
}

impl World {
    fn new() -> Self {
        let ca = TestAuthority::new("a.test");
        let svid = ca.wit_svid("/web");
        Self { ca, svid }
    }

    fn svid(&self) -> impl Fn() -> Option<WitSvid> + Send + Sync + use<> {
        let svid = self.svid.clone();
        move || Some(svid.clone())
    }

    fn source(&self) -> SnapshotCell {
        let bundles = BundleSet::from(self.ca.bundle());
        SnapshotCell::new(IdentitySnapshot::new(Vec::new(), bundles))
    }

    fn verify(&self) -> WitVerifyLayer {
        WitVerifyLayer::new(self.source(), ["https://ledger.test", "https://ledger/"])
    }

    async fn sends(&self, request: Request<Nothing>) -> Result<Request<Nothing>, InjectError> {
        let layer = WitInjectLayer::new(self.svid()).to("https://ledger".parse().unwrap());
        send(&layer, request).await
    }

    fn over_mtls(&self, mut request: Request<Nothing>) -> Request<Nothing> {
        let leaf = [self.ca.svid("/proxy").leaf().der().clone()];
        let bundles = BundleSet::from(self.ca.bundle());
        let peer = x509_peer(&leaf, &bundles, Role::Client, SystemClock.now()).unwrap();
        let connection = Connection::new(peer, None, None);
        request.extensions_mut().insert(connection);
        request
    }

    async fn hears(
        &self,
        layer: WitVerifyLayer,
        request: Request<Nothing>,
    ) -> Result<SpiffeId, StatusCode> {
        let service = layer.layer(tower::service_fn(|request: Request<Nothing>| {
            let secret = |(_, value): (&HeaderName, &HeaderValue)| value.is_sensitive();
            assert!(request.headers().iter().all(secret), "nobody prints them");
            let extensions = request.extensions();
            let id = Principal::of(extensions).unwrap().id().clone();
            assert_eq!(extensions.get::<VerifiedWit>().unwrap().id(), &id);
            assert_eq!(spiffe_tower::spiffe_id(extensions), Some(&id));
            let mut response = Response::new(Nothing::new());
            response.extensions_mut().insert(id);
            ready(Ok::<_, Infallible>(response))
        }));
        let answer = service.oneshot(request).await.unwrap();
        let reached = answer.extensions().get::<SpiffeId>();
        reached.cloned().ok_or(answer.status())
    }
}

async fn answer<S, R>(service: S, request: &Request<Nothing>) -> StatusCode
where
    S: Service<Request<Nothing>, Response = Response<R>, Error = Infallible>,
{
    let answer = service.oneshot(request.clone()).await;
    answer.unwrap().status()
}

/// What goes over the wire.
async fn send(
    layer: &WitInjectLayer,
    request: Request<Nothing>,
) -> Result<Request<Nothing>, InjectError> {
    let sent = Arc::new(Mutex::new(None));
    let wire = tower::service_fn(|request: Request<Nothing>| {
        *sent.lock().unwrap() = Some(request);
        ready(Ok::<_, Infallible>(()))
    });
    layer.layer(wire).oneshot(request).await?;
    let sent = sent.lock().unwrap().take();
    Ok(sent.unwrap())
}

fn get(uri: &str) -> Request<Nothing> {
    Request::get(uri).body(Nothing::new()).unwrap()
}

//! The control port: plain HTTP, over which a suite says what to do with a token or an address.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::{get, post};
use serde_json::{Value, json};
use spiffe_core::tls::{Connector, HandshakeError};
use spiffe_core::workload_api::WorkloadApiClient;
use spiffe_core::{JwtSource, SpiffeId, with_causes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::answer::{Answer, Failure};

/// What is tried out.
pub(crate) struct Subject {
    pub(crate) api: WorkloadApiClient,
    pub(crate) connector: Connector,
    pub(crate) jwt: JwtSource,
}

/// Answers until the process ends.
pub(crate) async fn serve(listener: TcpListener, subject: Subject) -> io::Result<()> {
    let app = Router::new()
        .route("/v1/info", get(info))
        .route("/v1/jwt/fetch", post(fetch))
        .route("/v1/jwt/validate", post(validate))
        .route("/v1/x509/dial", post(dial))
        .fallback(async || Answer::Unsupported)
        .with_state(Arc::new(subject));
    axum::serve(listener, app).await
}

/// Judges a token with the bundles that are watched; the Workload API is not asked about it.
async fn validate(State(subject): State<Arc<Subject>>, body: Bytes) -> Result<Answer, Failure> {
    let asked = Asked::read(&body)?;
    let (token, audience) = (asked.text("token")?, asked.text("audience")?);
    // The watch may be younger than the token.
    if subject.jwt.health().updated_at.is_none() {
        subject.jwt.ready().await?;
    }
    Ok(match subject.jwt.verify(token, &[audience]) {
        Ok(verified) => Answer::Ok(json!({
            "spiffe_id": verified.id().as_str(),
            "claims": verified.claims(),
        })),
        Err(why) => Answer::Rejected(with_causes(&why)),
    })
}

async fn fetch(State(subject): State<Arc<Subject>>, body: Bytes) -> Result<Answer, Failure> {
    let asked = Asked::read(&body)?;
    let audience = asked.texts("audience")?;
    let id = match asked.text("spiffe_id") {
        Ok("") | Err(_) => None,
        Ok(id) => Some(id.parse::<SpiffeId>()?),
    };
    let svids = subject.api.fetch_jwt_svids(audience, id.as_ref()).await?;
    let svids = svids.iter().map(|svid| {
        json!({
            "spiffe_id": svid.id().as_str(),
            "token": svid.token(),
            "hint": svid.hint(),
        })
    });
    Ok(Answer::Ok(json!({ "svids": svids.collect::<Vec<_>>() })))
}

async fn dial(State(subject): State<Arc<Subject>>, body: Bytes) -> Result<Answer, Failure> {
    let asked = Asked::read(&body)?;
    let tcp = TcpStream::connect(asked.text("address")?).await?;
    let mut stream = match subject.connector.connect(tcp).await {
        Ok(stream) => stream,
        Err(why @ (HandshakeError::Denied(_) | HandshakeError::Unverified(_))) => {
            return Ok(Answer::Rejected(with_causes(&why)));
        }
        Err(other) => return Err(other.into()),
    };
    let server = stream.peer().id().clone();
    // The handshake of TLS 1.3 is done here before the server has judged us. Where it turns us away
    // we read an alert; most who do not will close, and some will say nothing.
    stream.shutdown().await?;
    let mut heard = Vec::new();
    match timeout(FAREWELL, stream.read_to_end(&mut heard)).await {
        Ok(Err(alert)) if alert.kind() == io::ErrorKind::InvalidData => Err(alert.into()),
        _ => Ok(Answer::Ok(json!({ "spiffe_id": server.as_str() }))),
    }
}

async fn info() -> Answer {
    Answer::Ok(json!({
        "name": "spiffe-core",
        "version": env!("CARGO_PKG_VERSION"),
        "language": "rust",
    }))
}

/// The JSON object of a request.
struct Asked(Value);

impl Asked {
    fn read(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body).map(Self)
    }

    fn text(&self, name: &str) -> Result<&str, String> {
        let missing = || format!("the request has no text {name:?}");
        self.0[name].as_str().ok_or_else(missing)
    }

    fn texts(&self, name: &str) -> Result<Vec<&str>, String> {
        let texts = self.0[name].as_array();
        let texts = texts.and_then(|all| all.iter().map(Value::as_str).collect());
        texts.ok_or_else(|| format!("the request has no list of texts {name:?}"))
    }
}

/// How long a server has for an alert.
const FAREWELL: Duration = Duration::from_secs(1);

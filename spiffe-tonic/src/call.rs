//! What a channel does to each call, and why one fails.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use std::{io, iter};

use http::header::{HeaderName, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use spiffe_core::with_causes;
use spiffe_hyper::ConnectError;
use tokio::time::timeout;
use tonic::TimeoutExpired;
use tonic::body::Body;

/// A call as this server is to see it.
pub(crate) fn addressed(
    mut request: Request<Body>,
    origin: &Uri,
) -> Result<Request<Body>, CallError> {
    let mut parts = origin.clone().into_parts();
    parts.path_and_query = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from_parts(parts)?;
    let agent = request.headers_mut().entry(USER_AGENT);
    agent.or_insert(const { HeaderValue::from_static(AGENT) });
    Ok(request)
}

/// Makes a call, in the time that it says it has.
pub(crate) async fn in_time(
    request: Request<Body>,
    call: impl AsyncFnOnce(Request<Body>) -> Result<Response<Body>, CallError>,
) -> Result<Response<Body>, CallError> {
    match time_of(request.headers()) {
        Some(time) => timeout(time, call(request))
            .await
            .unwrap_or(Err(CallError::TimedOut(TimeoutExpired(())))),
        None => call(request).await,
    }
}

/// How long a call may take, as gRPC says it: at most eight digits and a unit. What is no such thing
/// says nothing.
fn time_of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// Why a call came to nothing. tonic makes a status of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// There is no connection: `UNAVAILABLE`.
    #[error("there is no connection")]
    Connect(#[source] tonic::ConnectError),
    /// The connection failed while the call was on its way.
    #[error("the connection failed")]
    Http(#[source] hyper::Error),
    /// It names no method of a server.
    #[error("this is not what a call is named like")]
    Name(#[from] http::uri::InvalidUriParts),
    /// TLS ended the connection while the call was on its way, mostly as the server did not let us in:
    /// `UNAVAILABLE`, with the alert.
    #[error("the secure connection failed")]
    Secure(#[source] tonic::ConnectError),
    /// It took longer than it may.
    #[error("the call took too long")]
    TimedOut(#[source] TimeoutExpired),
}

impl CallError {
    pub(crate) fn connect(why: Arc<ConnectError>) -> Self {
        Self::Connect(tonic::ConnectError(Box::new(InWords(why))))
    }

    /// A connection that failed under a call. With TLS 1.3 it may only now be told that the server
    /// refused the handshake.
    pub(crate) fn broken(why: hyper::Error) -> Self {
        let mut causes = iter::successors(why.source(), |cause| (*cause).source());
        let told = causes.find_map(|cause| cause.downcast_ref::<io::Error>());
        match told {
            // What TLS says of itself, alerts above all.
            Some(tls) if tls.kind() == io::ErrorKind::InvalidData => {
                let words = format!("the secure connection failed: {tls}");
                Self::Secure(tonic::ConnectError(words.into()))
            }
            _ => Self::Http(why),
        }
    }
}

/// tonic tells the other side of a call what this says, and none of its causes.
#[derive(Debug, thiserror::Error)]
#[error("{}", with_causes(&**.0))]
struct InWords(#[source] Arc<ConnectError>);

const AGENT: &str = concat!("spiffe-tonic/", env!("CARGO_PKG_VERSION"));
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_says_how_long_it_may_take() {
        for (text, time) in [
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("42S", Some(Duration::from_secs(42))),
            ("99999999m", Some(Duration::from_millis(99_999_999))),
            ("7u", Some(Duration::from_micros(7))),
            ("0n", Some(Duration::ZERO)),
            ("999999999m", None),
            ("S", None),
            ("-1S", None),
            ("+1S", None),
            ("1x", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT, text.parse().unwrap());
            assert_eq!(time_of(&headers), time, "{text:?}");
        }
        assert_eq!(time_of(&HeaderMap::new()), None);
    }

    #[test]
    fn a_call_is_addressed_to_the_server_and_keeps_its_name() {
        let origin = Uri::from_static("https://ledger:8443");
        let asked = Request::post("/bank.v1.Ledger/Close").body(Body::empty());
        let asked = addressed(asked.unwrap(), &origin).unwrap();
        assert_eq!(asked.uri(), "https://ledger:8443/bank.v1.Ledger/Close");
        assert_eq!(asked.headers()[USER_AGENT], AGENT);
    }
}

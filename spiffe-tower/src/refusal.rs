//! How a call is refused, in the language it was made in.

use http::header::{CONTENT_TYPE, HeaderName};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use spiffe_core::authorizer::Denied;
use spiffe_core::verify::PeerError;

/// Why a call is refused.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The caller may not make it.
    Denied(Denied),
    /// Its connection outlived its good standing.
    Ended(PeerError),
    /// There is no token, or none that proves anything.
    #[cfg(feature = "jwt")]
    Token {
        /// What plain HTTP asks for (RFC 6750 section 3).
        challenge: HeaderValue,
    },
    /// Nobody proved who is calling, and no header could tell how to.
    Unauthenticated,
}

/// What was asked for, for as long as a refusal may come.
#[derive(Debug)]
pub(crate) struct Asked {
    // Of the URI what is told: a clone of the rest costs as much again, with each request.
    target: Option<PathAndQuery>,
    pub(crate) grpc: bool,
}

impl Asked {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        Self {
            target: request.uri().path_and_query().cloned(),
            grpc: is_grpc(request.headers()),
        }
    }

    pub(crate) fn path(&self) -> &str {
        self.target.as_ref().map_or("", PathAndQuery::path)
    }
}

impl Refusal {
    /// A token would have been taken.
    #[cfg(feature = "jwt")]
    pub(crate) fn no_token() -> Self {
        Self::Token {
            challenge: HeaderValue::from_static("Bearer"),
        }
    }

    /// What the peer is told: its own name and what it asked for, not what we expected.
    pub(crate) fn answer<R>(&self, asked: &Asked, empty: R) -> Response<R> {
        let mut response = Response::new(empty);
        if !asked.grpc {
            // 401 has to name a scheme that would help (RFC 9110 section 15.5.2), and there is none
            // for certificates.
            *response.status_mut() = StatusCode::FORBIDDEN;
            #[cfg(feature = "jwt")]
            if let Self::Token { challenge } = self {
                *response.status_mut() = StatusCode::UNAUTHORIZED;
                let headers = response.headers_mut();
                headers.insert(http::header::WWW_AUTHENTICATE, challenge.clone());
            }
            return response;
        }
        // No body follows, so these headers are the trailers too.
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.extend(self.trailers(asked));
        response
    }

    /// Counts it (feature `metrics`).
    pub(crate) fn count(&self) {
        #[cfg(feature = "metrics")]
        {
            let reason = match self {
                Self::Denied(_) => "denied",
                Self::Ended(_) => "ended",
                _ => "unproven",
            };
            let name = spiffe_core::metrics::CALLS_REFUSED;
            metrics::counter!(name, "reason" => reason).increment(1);
        }
    }

    /// What ends a gRPC call, whatever was answered before.
    pub(crate) fn trailers(&self, asked: &Asked) -> HeaderMap {
        let status = match self {
            Self::Denied(_) | Self::Ended(PeerError::Denied(_)) => PERMISSION_DENIED,
            _ => UNAUTHENTICATED,
        };
        let mut trailers = HeaderMap::with_capacity(2);
        trailers.insert(GRPC_STATUS, status);
        if let Ok(message) = HeaderValue::try_from(self.message(asked.path())) {
            trailers.insert(GRPC_MESSAGE, message);
        }
        trailers
    }

    fn message(&self, path: &str) -> String {
        match self {
            Self::Denied(denied) => percent_encoded(&format!(
                "{} is not authorized to call {path}",
                denied.peer()
            )),
            Self::Ended(PeerError::Denied(denied)) => {
                percent_encoded(&format!("{} is not authorized any more", denied.peer()))
            }
            Self::Ended(_) => "the proof of who is calling does not hold any more".to_owned(),
            #[cfg(feature = "jwt")]
            Self::Token { .. } => UNPROVEN.to_owned(),
            Self::Unauthenticated => UNPROVEN.to_owned(),
        }
    }
}

/// `application/grpc`, with or without a codec named after it; the web flavour likewise.
fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type.is_some_and(|value| value.starts_with(b"application/grpc"))
}

/// As gRPC wants its messages: printable ASCII, `%` as `%25`.
fn percent_encoded(text: &str) -> String {
    text.bytes()
        .fold(String::new(), |encoded, byte| match byte {
            b' '..=b'~' if byte != b'%' => encoded + char::from(byte).encode_utf8(&mut [0; 4]),
            _ => encoded + &format!("%{byte:02X}"),
        })
}

const UNPROVEN: &str = "the caller has not proven who it is";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const PERMISSION_DENIED: HeaderValue = HeaderValue::from_static("7");
const UNAUTHENTICATED: HeaderValue = HeaderValue::from_static("16");

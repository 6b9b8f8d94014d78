//! What the control port answers: a status code and the same in JSON, which must go together.

use std::error::Error;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use spiffe_core::with_causes;

/// What came of a request.
pub(crate) enum Answer {
    /// It was done, and these are the members of what came of it.
    Ok(Value),
    /// A credential was judged and turned away.
    Rejected(String),
    /// There is no such request.
    Unsupported,
}

/// The library could not do it, or was asked in vain.
pub(crate) struct Failure(String);

impl<E: Into<Box<dyn Error>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(with_causes(&*error.into()))
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match self {
            Self::Ok(members) => envelope(StatusCode::OK, "ok", members),
            Self::Rejected(why) => {
                let members = json!({ "message": why });
                envelope(StatusCode::UNPROCESSABLE_ENTITY, "rejected", members)
            }
            Self::Unsupported => envelope(StatusCode::NOT_IMPLEMENTED, "unsupported", json!({})),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let members = json!({ "message": self.0 });
        envelope(StatusCode::INTERNAL_SERVER_ERROR, "error", members)
    }
}

fn envelope(code: StatusCode, status: &str, mut members: Value) -> Response {
    members["status"] = status.into();
    let json = [(header::CONTENT_TYPE, "application/json")];
    (code, json, members.to_string()).into_response()
}

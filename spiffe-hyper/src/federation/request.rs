//! One question over one connection, and what is read of the answer.

use std::pin::pin;

use bytes::Bytes;
use http::header::{ACCEPT, ETAG, HOST, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;

use super::held::Validators;
use super::secure::Io;
use super::{EndpointUrl, FetchError};

/// What an endpoint says.
pub(super) enum Answer {
    /// Here is the bundle.
    Document {
        text: Vec<u8>,
        validators: Validators,
    },
    /// It is elsewhere.
    Moved(EndpointUrl),
    /// It is the one that was had before.
    NotModified,
}

/// Asks for the bundle at `url` over a connection with its server. Where there are validators, only
/// for a newer one.
pub(super) async fn get(
    io: Box<dyn Io>,
    url: &EndpointUrl,
    validators: Option<&Validators>,
    limit: usize,
) -> Result<Answer, FetchError> {
    let (sender, connection) = handshake(TokioIo::new(io)).await?;
    let mut asking = pin!(ask(sender, url, validators, limit));
    // The connection is driven beside the question, and ends with it.
    tokio::select! {
        answer = &mut asking => answer,
        _ = connection => asking.await,
    }
}

async fn ask(
    mut sender: SendRequest<Empty<Bytes>>,
    url: &EndpointUrl,
    validators: Option<&Validators>,
    limit: usize,
) -> Result<Answer, FetchError> {
    let answer = sender.send_request(question(url, validators)).await?;
    match answer.status() {
        StatusCode::OK => {
            let validators = Validators {
                url: url.clone(),
                entity_tag: answer.headers().get(ETAG).cloned(),
                last_modified: answer.headers().get(LAST_MODIFIED).cloned(),
            };
            let text = read(answer.into_body(), limit).await?;
            Ok(Answer::Document { text, validators })
        }
        StatusCode::NOT_MODIFIED if validators.is_some() => Ok(Answer::NotModified),
        status if REDIRECTS.contains(&status) => target(url, &answer).map(Answer::Moved),
        status => Err(FetchError::Status(status)),
    }
}

fn question(url: &EndpointUrl, validators: Option<&Validators>) -> Request<Empty<Bytes>> {
    let mut question = Request::new(Empty::new());
    *question.uri_mut() = url.target();
    let headers = question.headers_mut();
    if let Ok(host) = HeaderValue::from_str(url.authority()) {
        headers.insert(HOST, host);
    }
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let tag = validators.and_then(|told| told.entity_tag.clone());
    let date = validators.and_then(|told| told.last_modified.clone());
    if let Some(tag) = tag {
        headers.insert(IF_NONE_MATCH, tag);
    }
    if let Some(date) = date {
        headers.insert(IF_MODIFIED_SINCE, date);
    }
    question
}

/// Where a redirect leads: to an endpoint's URL, or nowhere (SPIFFE Federation section 5.2.1.4).
fn target(url: &EndpointUrl, answer: &Response<Incoming>) -> Result<EndpointUrl, FetchError> {
    let location = answer.headers().get(LOCATION);
    let location = location.ok_or(FetchError::RedirectToNowhere)?;
    let location = location.to_str().map_err(|_| super::UrlError::Malformed);
    location
        .and_then(|location| url.resolve(location))
        .map_err(FetchError::Redirect)
}

/// Reads a body, and no more of it than `limit`.
async fn read(mut body: Incoming, limit: usize) -> Result<Vec<u8>, FetchError> {
    let too_large = FetchError::TooLarge { limit };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large);
    }
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if text.len() + data.len() > limit {
            return Err(too_large);
        }
        text.extend_from_slice(&data);
    }
    Ok(text)
}

const REDIRECTS: [StatusCode; 5] = [
    StatusCode::MOVED_PERMANENTLY,
    StatusCode::FOUND,
    StatusCode::SEE_OTHER,
    StatusCode::TEMPORARY_REDIRECT,
    StatusCode::PERMANENT_REDIRECT,
];

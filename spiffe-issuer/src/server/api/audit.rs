//! One line per call that changes something, or per call where that was asked for.

use http::HeaderMap;
use http_body_util::BodyExt;
use tonic::body::Body;
use tonic::{Code, Status};
use tracing::{Span, info};

use super::caller::{Caller, Process, Role, Transport};
use super::rules::Rule;

/// Which calls are written down.
#[derive(Debug, Clone, Copy)]
pub(super) struct Audit {
    pub(super) every_call: bool,
}

impl Audit {
    /// The line about a call, to be written once its outcome is known. `None` where there is to be
    /// none.
    pub(super) fn begin(self, rule: &Rule, caller: &Caller) -> Option<Line> {
        (rule.changes || self.every_call).then(|| Line {
            method: rule.method,
            role: None,
            caller: caller.clone(),
            span: Span::current(),
            outcome: None,
        })
    }
}

/// A line that is written when it is dropped: a call that was broken off is told as well.
#[derive(Debug)]
pub(super) struct Line {
    method: &'static str,
    role: Option<&'static str>,
    caller: Caller,
    span: Span,
    outcome: Option<Code>,
}

impl Line {
    /// Notes what the caller was let in as.
    pub(super) fn admitted(&mut self, role: &Role) {
        self.role = Some(role.name());
    }

    /// Watches for the outcome: in the headers where there is no body, else behind it.
    pub(super) fn follow(mut self, response: http::Response<Body>) -> http::Response<Body> {
        self.note(response.headers());
        if self.outcome.is_some() {
            return response;
        }
        response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                if let Some(trailers) = frame.trailers_ref() {
                    self.note(trailers);
                }
                frame
            }))
        })
    }

    fn note(&mut self, headers: &HeaderMap) {
        self.outcome = Status::from_header_map(headers).map(|status| status.code());
    }

    /// Notes that the call did not get to its handler.
    pub(super) fn refused(mut self, status: &Status) {
        self.outcome = Some(status.code());
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _entered = self.span.enter();
        let status = match self.outcome {
            Some(Code::Ok) => "success",
            Some(_) => "error",
            None => "broken off",
        };
        let code = self.outcome.map(|code| format!("{code:?}"));
        let caller_id = self.caller.svid().map(|svid| svid.id().as_str());
        let (caller_addr, process) = match self.caller.transport() {
            Transport::Tcp(address) => (Some(address.to_string()), Process::default()),
            Transport::Local(process) => (None, process),
        };
        info!(
            "type" = "audit",
            method = self.method,
            authorized_as = self.role,
            caller_id,
            caller_addr,
            caller_uid = process.uid,
            caller_gid = process.gid,
            caller_pid = process.pid,
            status,
            status_code = code,
            "API accessed"
        );
    }
}

//! `api fetch` and `api watch`: what a workload gets from its agent.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use spiffe_core::proto::workload::{X509svidRequest, X509svidResponse};
use spiffe_core::with_causes;
use tokio::time::{Instant, timeout};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status, Streaming};

use super::connect::{Ask, Socket, Whom};
use super::flags::Flags;
use super::output::{self, Format};
use super::rpc::RpcError;
use super::svids::Identities;
use super::text;
use super::tree::{Io, Outcome};

/// `api fetch`
#[derive(Debug)]
pub(super) struct Fetch {
    output: Format,
    silent: bool,
    timeout: Duration,
    write: String,
}

impl Default for Fetch {
    fn default() -> Self {
        Self {
            output: Format::default(),
            silent: false,
            timeout: Duration::from_secs(5),
            write: String::new(),
        }
    }
}

impl Ask for Fetch {
    const NAME: &'static str = "api fetch";
    const WHOM: Whom = Whom::AGENT;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        let write = "The `directory` to write SVIDs, keys and bundles to; not with -output json";
        flags
            .flag(output::FLAG, output::USAGE, &mut self.output)
            .flag("silent", "Do not print the SVIDs", &mut self.silent)
            .flag(
                "timeout",
                "How long to wait for an answer",
                &mut self.timeout,
            )
            .flag("write", write, &mut self.write)
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        let asked = Instant::now();
        let answer = within(self.timeout, first(socket)).await?;
        let after = asked.elapsed();
        if self.output == Format::Json {
            return text::print(io, self.output, &answer, String::new);
        }
        let identities = Identities::read(answer, SystemClock.now())?;
        if !self.silent {
            io.out.write_all(identities.told(after).as_bytes())?;
        }
        if !self.write.is_empty() {
            identities.write(Path::new(&self.write), io)?;
        }
        Ok(())
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The outcome, if it comes in time; no time is all the time.
async fn within<T>(
    time: Duration,
    outcome: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    if time.is_zero() {
        return outcome.await;
    }
    let late = |_| RpcError::from(Status::deadline_exceeded("context deadline exceeded"));
    timeout(time, outcome).await.map_err(late)?
}

/// The first answer of the stream.
async fn first(socket: &Socket) -> Result<X509svidResponse, Failure> {
    let mut stream = stream(socket).await?;
    match stream.message().await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err("the agent ended the stream without an answer".into()),
        Err(status) => Err(RpcError::from(status).into()),
    }
}

async fn stream(socket: &Socket) -> Result<Streaming<X509svidResponse>, Failure> {
    let mut client = SpiffeWorkloadApiClient::new(socket.connect().await?);
    let mut request = Request::new(X509svidRequest {});
    // Whoever sends it is not somebody who was tricked into fetching a URL (SPIFFE Workload API
    // section 3).
    let header = MetadataValue::from_static("true");
    request.metadata_mut().insert("workload.spiffe.io", header);
    let answer = client.fetch_x509svid(request).await;
    Ok(answer.map_err(RpcError::from)?.into_inner())
}

/// `api watch`
#[derive(Debug, Default)]
pub(super) struct Watch;

impl Ask for Watch {
    const NAME: &'static str = "api watch";
    const WHOM: Whom = Whom::AGENT;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        flags
    }

    /// Ends only where the agent says that the request is wrong: everything else may pass.
    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        let mut told_at = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let ended = match stream(socket).await {
                Ok(mut updates) => loop {
                    match updates.message().await {
                        Ok(Some(answer)) => {
                            let identities = Identities::read(answer, SystemClock.now())?;
                            io.out
                                .write_all(identities.told(told_at.elapsed()).as_bytes())?;
                            io.out.flush()?;
                            told_at = Instant::now();
                            pause = FIRST_PAUSE;
                        }
                        Ok(None) => break "the agent ended the stream".into(),
                        Err(status) => break Failure::from(RpcError::from(status)),
                    }
                },
                Err(error) => error,
            };
            let wrong = ended.downcast_ref::<RpcError>();
            if wrong.is_some_and(|error| error.code() == Code::InvalidArgument) {
                return Err(ended);
            }
            writeln!(io.err, "{}", with_causes(&*ended))?;
            tokio::time::sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_come_in_time_is_a_failed_call() {
        let never = std::future::pending::<Result<(), Failure>>();
        let late = within(Duration::from_secs(5), never).await.unwrap_err();
        let told = "rpc error: code = DeadlineExceeded desc = context deadline exceeded";
        assert_eq!(late.to_string(), told);
        let patient = within(Duration::ZERO, async { Ok(()) });
        assert!(patient.await.is_ok());
    }

    #[test]
    fn an_answer_is_waited_for_for_five_seconds_unless_told() {
        let mut fetch = Fetch::default();
        let args = ["-silent", "-write", "/d", "--timeout", "10s"];
        assert_eq!(fetch.timeout, Duration::from_secs(5));
        fetch.flags(Flags::of("")).parse(args).unwrap();
        let read = (fetch.timeout, fetch.silent, &*fetch.write);
        assert_eq!(read, (Duration::from_secs(10), true, "/d"));
    }
}

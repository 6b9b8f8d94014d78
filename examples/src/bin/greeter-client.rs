//! Calls the greeter as whoever the Workload API says it is:
//! `greeter-client ADDRESS hello NICKNAME`, `... reset`, or `... flow SECONDS`.
//!
//! It talks to `spiffe://example.org/greeter/server` and nobody else, wherever that answers.
#![expect(clippy::print_stdout, reason = "an example tells what happens")]

use std::{error::Error, time::Duration};

use spiffe_core::{
    IdentitySource, SourceExt, SpiffeId, X509Source, authorizer::exactly, spiffe_id, tls::ClientTls,
};
use spiffe_examples::{
    lines::Line,
    proto::greeter::{ResetRequest, SayHelloRequest, greeter_client::GreeterClient},
    tell_identities,
};
use spiffe_tonic::ChannelError;
use tokio::{
    sync::watch,
    time::{self, Instant, MissedTickBehavior},
};
use tonic::{Status, transport::Channel};

const SERVER: SpiffeId = spiffe_id!("spiffe://example.org/greeter/server");
const USAGE: &str = "usage: greeter-client ADDRESS (hello NICKNAME | reset | flow SECONDS)";

/// How long after the last one each RPC of a flow is sent.
const PACE: Duration = Duration::from_millis(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [address, what @ ..] = arguments.as_slice() else {
        return Err(USAGE.into());
    };

    let source = X509Source::connect().await?;
    let server = Server {
        uri: format!("https://{address}"),
        tls: source.client(exactly(SERVER)),
    };
    let telling = tell_identities(&source);
    let calling = async {
        match what {
            ["hello", nickname] => hello(&server, nickname).await,
            ["reset"] => reset(&server).await,
            ["flow", seconds] => {
                let duration = Duration::from_secs(seconds.parse()?);
                flow(&server, source.subscribe(), duration).await
            }
            _ => Err(USAGE.into()),
        }
    };
    tokio::select! {
        biased;
        () = telling => Err("the Workload API is gone".into()),
        called = calling => called,
    }
}

/// Where the greeter is, and who it must be. What we are ourselves is asked at each handshake.
struct Server {
    uri: String,
    tls: ClientTls,
}

impl Server {
    async fn connect(&self) -> Result<GreeterClient<Channel>, ChannelError> {
        let channel = spiffe_tonic::channel(&self.uri, self.tls.clone()).await?;
        Ok(GreeterClient::new(channel))
    }
}

async fn hello(server: &Server, nickname: &str) -> Result<(), Box<dyn Error>> {
    let mut greeter = server.connect().await?;
    let request = SayHelloRequest {
        nickname: nickname.to_owned(),
    };
    match greeter.say_hello(request).await {
        Ok(answer) => {
            let answer = answer.into_inner();
            let caller = answer.caller.parse()?;
            let greeting = answer.greeting;
            println!("{}", Line::Answer { greeting, caller });
        }
        Err(status) => println!("{}", refused(&status)),
    }
    Ok(())
}

async fn reset(server: &Server) -> Result<(), Box<dyn Error>> {
    let mut greeter = server.connect().await?;
    match greeter.reset(ResetRequest {}).await {
        Ok(answer) => println!("{} greetings forgotten", answer.get_ref().forgotten),
        Err(status) => println!("{}", refused(&status)),
    }
    Ok(())
}

/// Calls and calls, and counts.
///
/// A connection keeps the certificates that it began with. So whenever ours is renewed, the calls
/// move to a new connection; the old one ends between two calls and disturbs none.
async fn flow(
    server: &Server,
    mut changes: watch::Receiver<u64>,
    duration: Duration,
) -> Result<(), Box<dyn Error>> {
    let mut greeter = server.connect().await?;
    let (mut sent, mut failed) = (0, 0);
    let end = Instant::now() + duration;
    let mut ticks = time::interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while ticks.tick().await < end {
        if changes.has_changed()? {
            changes.mark_unchanged();
            greeter = server.connect().await?;
        }
        let nickname = format!("number {sent}");
        sent += 1;
        if let Err(status) = greeter.say_hello(SayHelloRequest { nickname }).await {
            failed += 1;
            println!("{}", refused(&status));
        }
    }
    println!("{}", Line::Flow { sent, failed });
    Ok(())
}

fn refused(status: &Status) -> Line {
    Line::Refused(format!("{:?}: {}", status.code(), status.message()))
}

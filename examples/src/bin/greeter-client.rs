//! Calls the greeter as whoever the Workload API says it is:
//! `greeter-client ADDRESS hello NICKNAME`, `... reset`, or `... flow SECONDS`.
//!
//! It talks to `spiffe://example.org/greeter/server` and nobody else, wherever that answers.
#![expect(clippy::print_stdout, reason = "an example tells what happens")]

use std::time::Duration;

use spiffe_core::{SourceExt, SpiffeId, X509Source, authorizer::exactly, spiffe_id};
use spiffe_examples::{
    Failed,
    lines::Line,
    proto::greeter::{ResetRequest, SayHelloRequest, greeter_client::GreeterClient},
    tell_identities,
};
use spiffe_tonic::Channel;
use tokio::time::{self, Instant, MissedTickBehavior};
use tonic::Status;

type Greeter = GreeterClient<Channel>;

const SERVER: SpiffeId = spiffe_id!("spiffe://example.org/greeter/server");
const USAGE: &str = "usage: greeter-client ADDRESS (hello NICKNAME | reset | flow SECONDS)";

/// How long after the last one each RPC of a flow is sent.
const PACE: Duration = Duration::from_millis(10);

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [address, what @ ..] = arguments.as_slice() else {
        return Err(USAGE.into());
    };

    let source = X509Source::connect().await?;
    let (uri, server) = (format!("https://{address}"), source.client(exactly(SERVER)));
    let telling = tell_identities(&source);
    let calling = async {
        let greeter = GreeterClient::new(spiffe_tonic::channel(&uri, server).await?);
        match what {
            ["hello", nickname] => hello(greeter, nickname).await,
            ["reset"] => reset(greeter).await,
            ["flow", seconds] => flow(greeter, Duration::from_secs(seconds.parse()?)).await,
            _ => Err(USAGE.into()),
        }
    };
    tokio::select! {
        biased;
        () = telling => Err("the Workload API is gone".into()),
        called = calling => called,
    }
}

async fn hello(mut greeter: Greeter, nickname: &str) -> Result<(), Failed> {
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

async fn reset(mut greeter: Greeter) -> Result<(), Failed> {
    match greeter.reset(ResetRequest {}).await {
        Ok(answer) => println!("{} greetings forgotten", answer.get_ref().forgotten),
        Err(status) => println!("{}", refused(&status)),
    }
    Ok(())
}

/// Calls and calls, and counts. That identities are renewed meanwhile is the channel's matter.
async fn flow(mut greeter: Greeter, duration: Duration) -> Result<(), Failed> {
    let (mut sent, mut failed) = (0, 0);
    let end = Instant::now() + duration;
    let mut ticks = time::interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while ticks.tick().await < end {
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

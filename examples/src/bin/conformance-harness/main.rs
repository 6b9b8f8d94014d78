//! The program that black-box conformance suites start and talk to (contract version 1).
//!
//! It shows to the outside what the libraries do and adds nothing: no second try, no judgement of an
//! identity. `SPIFFE_ENDPOINT_SOCKET` tells where the Workload API is. Standard output tells two ports of
//! the loopback interface, and `READY` once there is an identity; [`greet`] is what answers on the
//! first port and [`control`] on the second. Where no identity can come it ends with an error, and
//! at SIGTERM it ends at once.
#![expect(clippy::print_stdout, reason = "the contract is told there")]

mod answer;
mod control;
mod greet;

use std::io::{self, Write};
use std::time::Duration;

use spiffe_core::authorizer::anyone;
use spiffe_core::workload_api::WorkloadApiClient;
use spiffe_core::{JwtSource, SourceExt, X509Source};
use spiffe_examples::Failed;
use spiffe_hyper::Listener;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let mut stop = signal(SignalKind::terminate())?;
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    tokio::select! {
        _ = stop.recv() => Ok(()),
        ended = run() => ended,
    }
}

async fn run() -> Result<(), Failed> {
    let greetings = TcpListener::bind("127.0.0.1:0").await?;
    let orders = TcpListener::bind("127.0.0.1:0").await?;
    println!("SPIFFE_HARNESS_VERSION=1");
    println!("SPIFFE_X509_PORT={}", greetings.local_addr()?.port());
    println!("SPIFFE_CONTROL_PORT={}", orders.local_addr()?.port());
    io::stdout().flush()?;

    let api = WorkloadApiClient::from_env()?;
    let jwt = JwtSource::builder()
        .initial_timeout(FIRST_BUNDLES)
        .connect_lazy()?;
    // How long an agent may take is for the suite to say, which ends us when it is tired of waiting.
    let x509 = X509Source::builder().initial_timeout(Duration::MAX);
    let x509 = x509.connect().await?;
    println!("READY");
    io::stdout().flush()?;

    let server = x509.server(anyone()).tls12(true);
    let greetings = Listener::from_tcp(greetings, server)?;
    let connector = x509.client(anyone()).tls12(true).connector();
    let subject = control::Subject {
        api,
        connector,
        jwt,
    };
    tokio::try_join!(greet::serve(greetings), control::serve(orders, subject))?;
    Ok(())
}

/// How long a token waits for the first bundles, so that it is answered within the 10 seconds that
/// a suite waits.
const FIRST_BUNDLES: Duration = Duration::from_secs(8);

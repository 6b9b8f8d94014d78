//! What a service tells of its identity, for Prometheus: who I am, for how long, and how that goes.
//!
//! `SPIFFE_ENDPOINT_SOCKET=unix:///run/spire/agent.sock cargo run --example metrics_exporter`, and then
//! `curl http://127.0.0.1:9464/metrics`; `-- ADDRESS` serves them elsewhere. docs/observability.md explains what is seen there.
#![expect(clippy::print_stdout, reason = "an example tells what happens")]

use axum::Router;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusBuilder;
use spiffe_core::{IdentitySource, X509Source};
use spiffe_examples::Failed;
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    // Before the first source, which tells the recorder what its numbers mean.
    let recorder = PrometheusBuilder::new().install_recorder()?;

    let source = X509Source::connect().await?;
    if let Some(svid) = source.snapshot().svid() {
        println!("I am {}", svid.id());
    }

    let metrics = Router::new().route("/metrics", get(async move || recorder.render()));
    let address = std::env::args().nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:9464")).await?;
    println!("see http://{}/metrics", listener.local_addr()?);
    axum::serve(listener, metrics).await?;
    Ok(())
}

//! Follows the identity of this process: prints it, and each one that takes its place.
//!
//! `SPIFFE_ENDPOINT_SOCKET=unix:///run/spire/agent.sock cargo run --example x509_watch`

use spiffe_core::X509Source;
use spiffe_examples::{Failed, tell_identities};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let source = X509Source::connect().await?;
    tell_identities(&source).await;
    Ok(())
}

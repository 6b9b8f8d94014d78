//! An identity from files that somebody else keeps fresh, as spiffe-helper does: no Workload API in
//! this process. It prints who it is, and each identity that takes the place of the last one.
//!
//! `cargo run --example files -- /run/spiffe`
//!
//! The directory holds `svid.pem`, `svid_key.pem` and `svid_bundle.pem`. The source is one like any
//! other: `source.server(..)` and `source.client(..)` do mutual TLS with it.

use std::time::Duration;

use spiffe_core::source::FileSource;
use spiffe_examples::{Failed, tell_identities};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let directory = std::env::args_os().nth(1);
    let directory = directory.ok_or("usage: files DIRECTORY, as in /run/spiffe")?;
    let source = FileSource::builder(directory)
        .every(Duration::from_secs(1))
        .connect()
        .await?;
    tell_identities(&source).await;
    Ok(())
}

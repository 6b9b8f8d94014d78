//! Bugs that other libraries have had, and what rustls and webpki leave to whoever uses them. Each is
//! a test here, or one that SECURITY.md names.
#![expect(clippy::unwrap_used, reason = "a test")]

mod chains;
mod handshakes;

use rustls_pki_types::CertificateDer;
use spiffe_core::tls::{HandshakeError, PeerStream};
use tokio::io::DuplexStream;

type Outcome = Result<PeerStream<DuplexStream>, HandshakeError>;
type Chain = Vec<CertificateDer<'static>>;

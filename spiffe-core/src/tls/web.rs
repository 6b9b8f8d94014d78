//! Clients of servers that the web knows, with an identity of SPIFFE (feature `rustls-0_23`).

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;

use super::config::{ClockTime, Side, with_tls13};
use crate::authorizer::anyone;
use crate::source::IdentitySource;

/// A bare rustls client that presents the newest X.509-SVID of `source`, and knows its server by what
/// `servers` says: by the name and the authorities of the web, as `WebPkiServerVerifier` does it, or
/// `rustls-platform-verifier`. No SPIFFE ID of the server is asked for, so there is no authorizer.
///
/// The other side is [`ServerTls::presenting`](super::ServerTls::presenting).
///
/// ```
/// use std::sync::Arc;
///
/// use rustls::client::WebPkiServerVerifier;
/// use rustls::crypto::aws_lc_rs;
/// # use spiffe_core::IdentitySource;
/// # fn example(source: impl IdentitySource, roots: rustls::RootCertStore)
/// # -> Result<rustls::ClientConfig, rustls::client::VerifierBuilderError> {
///
/// let provider = Arc::new(aws_lc_rs::default_provider());
/// let servers = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
/// let config = spiffe_core::tls::web_client(source, servers);
/// # Ok(config)
/// # }
/// ```
pub fn web_client(
    source: impl IdentitySource,
    servers: Arc<dyn ServerCertVerifier>,
) -> ClientConfig {
    // Of the side only what we present is taken; nobody is asked whether the server may proceed.
    let side = Side::new(Arc::new(source), anyone());
    let builder = ClientConfig::builder_with_details(
        side.provider.clone(),
        Arc::new(ClockTime(side.clock.clone())),
    );
    let mut config = with_tls13(builder.with_safe_default_protocol_versions())
        .dangerous()
        .with_custom_certificate_verifier(servers)
        .with_client_cert_resolver(side.presenter());
    // A session would go on with an SVID that may be withdrawn by then.
    config.resumption = Resumption::disabled();
    config
}

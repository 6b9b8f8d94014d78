//! X.509-SVIDs and what they are made of.

mod certificate;
mod crl;
mod error;
mod facts;
mod key;
mod key_id;
mod parsed;
mod svid;
mod time;

pub use certificate::Certificate;
pub use crl::Crl;
pub use error::X509Error;
pub use key::{KeyKind, PrivateKey, PublicKey};
pub use key_id::{KeyId, KeyIdError};
pub(crate) use parsed::Parsed;
pub use svid::X509Svid;

/// One PEM block with this label (RFC 7468).
fn to_pem(label: &str, der: &[u8]) -> String {
    // It fails only for lengths that overflow, which no certificate or key in memory has.
    pem_rfc7468::encode_string(label, pem_rfc7468::LineEnding::LF, der).unwrap_or_default()
}

/// Where the standard has DER, PEM is refused, and told apart from what is merely broken (SPIFFE
/// Workload API section 5.1).
fn refuse_pem(der: &[u8]) -> Result<(), X509Error> {
    if der.trim_ascii_start().starts_with(b"-----BEGIN") {
        return Err(X509Error::PemForDer);
    }
    Ok(())
}

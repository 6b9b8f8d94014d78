//! The one place that tokens are for.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;

/// Scheme, host and port: what browsers call an origin (RFC 6454 section 4).
///
/// ```
/// use spiffe_tower::{Origin, OriginError};
///
/// let ledger: Origin = "https://Ledger.prod.example:443/".parse()?;
/// assert_eq!(ledger.to_string(), "https://ledger.prod.example");
/// assert_eq!("ledger:443".parse::<Origin>(), Err(OriginError::Scheme));
/// # Ok::<(), OriginError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: String,
    host: String,
    /// None where it is the usual one of the scheme.
    port: Option<u16>,
}

impl Origin {
    /// Where a request to this URI goes, if it says so.
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let usual = match &*scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        Some(Self {
            host: uri.host()?.to_ascii_lowercase(),
            port: uri.port_u16().filter(|port| Some(*port) != usual),
            scheme,
        })
    }

    pub(crate) fn is_https(&self) -> bool {
        self.scheme == "https"
    }

    /// Whether it is this very machine, where nobody else listens in.
    pub(crate) fn is_here(&self) -> bool {
        let address = self.host.trim_start_matches('[').trim_end_matches(']');
        let address: Option<IpAddr> = address.parse().ok();
        self.host == "localhost" || address.is_some_and(|address| address.is_loopback())
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let (scheme, rest) = text.split_once("://").ok_or(OriginError::Scheme)?;
        if !["http", "https"].contains(&&*scheme.to_ascii_lowercase()) {
            return Err(OriginError::Scheme);
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(OriginError::UserInfo);
        }
        if !matches!(path, "" | "/") {
            return Err(OriginError::Path);
        }
        let uri: Uri = text.parse().map_err(|_| OriginError::Malformed)?;
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or(OriginError::Malformed)?;
        // What `http` makes of a port that is none is no port at all.
        let port = authority.get(host.len()..).unwrap_or_default();
        let port: Option<u16> = port.strip_prefix(':').unwrap_or("1").parse().ok();
        port.filter(|port| *port != 0).ok_or(OriginError::Port)?;
        Self::of(&uri).ok_or(OriginError::Malformed)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// Why a text names no origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// It names no host.
    #[error("this names no host; it should look like https://host:port")]
    Malformed,
    /// There is a path or a query in it, by which places are not told apart.
    #[error("there is more than scheme, host and port; it should look like https://host:port")]
    Path,
    /// The port is no number from 1 to 65535.
    #[error("the port is no number from 1 to 65535")]
    Port,
    /// It is no URL of HTTP.
    #[error("this does not begin with https:// or http://; it should look like https://host:port")]
    Scheme,
    /// There is a user or a password in it.
    #[error("there is user information before an `@`, which no origin has")]
    UserInfo,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port_and_nothing_else() {
        for (text, read) in [
            ("https://ledger", Ok("https://ledger")),
            ("HTTPS://Ledger:443/", Ok("https://ledger")),
            ("https://ledger:8443", Ok("https://ledger:8443")),
            ("http://127.0.0.1:80", Ok("http://127.0.0.1")),
            ("http://[::1]:50051/", Ok("http://[::1]:50051")),
            ("ledger:443", Err(OriginError::Scheme)),
            ("ledger", Err(OriginError::Scheme)),
            ("/", Err(OriginError::Scheme)),
            ("", Err(OriginError::Scheme)),
            ("ws://ledger", Err(OriginError::Scheme)),
            ("https://", Err(OriginError::Malformed)),
            ("https://:443", Err(OriginError::Malformed)),
            ("https://le dger", Err(OriginError::Malformed)),
            ("https://[::1", Err(OriginError::Malformed)),
            ("https://ledger:", Err(OriginError::Port)),
            ("https://ledger:0", Err(OriginError::Port)),
            ("https://ledger:65536", Err(OriginError::Port)),
            ("https://ledger/v1", Err(OriginError::Path)),
            ("https://ledger?a", Err(OriginError::Path)),
            ("https://ledger/#a", Err(OriginError::Path)),
            ("https://me:secret@ledger", Err(OriginError::UserInfo)),
        ] {
            let origin = text.parse::<Origin>().map(|origin| origin.to_string());
            assert_eq!(origin, read.map(str::to_owned), "{text}");
        }
    }
}

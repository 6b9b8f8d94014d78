//! Where a request goes, and whether something secret may go with it.

use std::net::IpAddr;

use http::Uri;

use crate::inject::InjectError;

/// Where a client lets its tokens go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Target {
    /// The one place, where there is only one.
    pub(crate) origin: Option<Uri>,
    pub(crate) plain_text: bool,
}

impl Target {
    /// Where a request to this URI goes, scheme and authority, if a token may go with it.
    pub(crate) fn admit(&self, uri: &Uri) -> Result<String, InjectError> {
        let asked = Place::of(uri);
        let place = match &self.origin {
            None => asked.ok_or(InjectError::Unnamed)?,
            Some(origin) => {
                let home = Place::of(origin).ok_or(InjectError::Unnamed)?;
                match asked {
                    Some(asked) if asked != home => {
                        return Err(InjectError::Elsewhere {
                            target: asked.to_string(),
                            origin: home.to_string(),
                        });
                    }
                    // A request that names no place goes where the service below it leads.
                    _ => home,
                }
            }
        };
        match place.scheme == "https" || self.plain_text || place.is_here() {
            true => Ok(place.to_string()),
            false => Err(InjectError::PlainText {
                target: place.to_string(),
            }),
        }
    }
}

/// Scheme, host and port: what browsers call an origin (RFC 6454 section 4).
#[derive(PartialEq, Eq)]
struct Place {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Place {
    fn of(uri: &Uri) -> Option<Self> {
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

    /// Whether it is this very machine, where nobody else listens in.
    fn is_here(&self) -> bool {
        let address = self.host.trim_start_matches('[').trim_end_matches(']');
        let address: Option<IpAddr> = address.parse().ok();
        self.host == "localhost" || address.is_some_and(|address| address.is_loopback())
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_over_tls_or_stays_here_and_goes_nowhere_else() {
        let home = Some("https://ledger:443");
        for (origin, uri, admitted) in [
            (
                None,
                "https://Ledger.example:443/a?b",
                "https://ledger.example",
            ),
            (None, "https://10.0.0.7:8443/", "https://10.0.0.7:8443"),
            (None, "http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
            (None, "http://127.8.0.1/", "http://127.8.0.1"),
            (None, "http://[::1]:80/", "http://[::1]"),
            (None, "http://localhost/", "http://localhost"),
            (None, "http://ledger/", "refused"),
            (None, "http://localhost.evil.example/", "refused"),
            (None, "http://127.0.0.1.evil.example/", "refused"),
            (None, "http://localhost@evil.example/", "refused"),
            (None, "http://[::ffff:10.0.0.7]/", "refused"),
            (None, "ws://ledger/", "refused"),
            (None, "/pkg.Svc/Call", "refused"),
            (None, "ledger:443", "refused"),
            (home, "/pkg.Svc/Call", "https://ledger"),
            (home, "https://LEDGER/pkg.Svc/Call", "https://ledger"),
            (home, "https://ledger:8443/", "refused"),
            (home, "http://ledger/", "refused"),
            (home, "https://other/", "refused"),
            (home, "http://127.0.0.1/", "refused"),
            (Some("http://ledger"), "/", "refused"),
            (Some("http://127.0.0.1:1"), "/", "http://127.0.0.1:1"),
            (Some("/"), "/", "refused"),
            (Some("ledger:443"), "https://ledger/", "refused"),
        ] {
            let target = Target {
                origin: origin.map(|origin| origin.parse().unwrap()),
                plain_text: false,
            };
            let judged = target.admit(&uri.parse().unwrap());
            let judged = judged.unwrap_or_else(|_| "refused".to_owned());
            assert_eq!(judged, admitted, "{uri} with {origin:?}");
        }
    }

    #[test]
    fn plain_text_is_for_who_says_so() {
        let mut target = Target::default();
        let uri = Uri::from_static("http://ledger/");
        let why = target.admit(&uri).unwrap_err().to_string();
        assert_eq!(why, "a token would go to http://ledger in plain text");
        target.plain_text = true;
        assert_eq!(target.admit(&uri).unwrap(), "http://ledger");
    }
}

//! Where a request goes, and whether something secret may go with it.

use http::Uri;

use crate::inject::InjectError;
use crate::origin::Origin;

/// Where a client lets its tokens go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Target {
    /// The one place, where there is only one.
    pub(crate) origin: Option<Origin>,
    pub(crate) plain_text: bool,
}

impl Target {
    /// Where a request to this URI goes, scheme and authority, if a token may go with it.
    pub(crate) fn admit(&self, uri: &Uri) -> Result<String, InjectError> {
        let asked = Origin::of(uri);
        let place = match (asked, self.origin.clone()) {
            (None, None) => return Err(InjectError::Unnamed),
            (Some(asked), Some(home)) if asked != home => {
                return Err(InjectError::Elsewhere {
                    target: asked.to_string(),
                    origin: home.to_string(),
                });
            }
            // A request that names no place goes where the service below it leads.
            (_, Some(place)) | (Some(place), None) => place,
        };
        match place.is_https() || self.plain_text || place.is_here() {
            true => Ok(place.to_string()),
            false => Err(InjectError::PlainText {
                target: place.to_string(),
            }),
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

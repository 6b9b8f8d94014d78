//! Where a bundle endpoint is.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use rustls_pki_types::ServerName;

/// The URL of a bundle endpoint: `https`, with a host, and without user information (SPIFFE
/// Federation sections 5.2.1.1 and 5.2.2.1).
///
/// ```
/// use spiffe_hyper::federation::{EndpointUrl, UrlError};
///
/// let url: EndpointUrl = "https://bundles.prod.example:8443/bundle.json".parse()?;
/// assert_eq!((url.host(), url.port(), url.path()), ("bundles.prod.example", 8443, "/bundle.json"));
/// assert_eq!("http://prod.example/".parse::<EndpointUrl>(), Err(UrlError::Scheme));
/// # Ok::<(), UrlError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EndpointUrl {
    uri: Uri,
    name: ServerName<'static>,
    port: u16,
}

impl EndpointUrl {
    /// The host: a DNS name, or an IP address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        bare(self.uri.host().unwrap_or_default())
    }

    /// The port: 443 where the URL names none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path, without a query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// The name that the certificate of the server bears in the profile `https_web`.
    pub(super) fn server_name(&self) -> &ServerName<'static> {
        &self.name
    }

    /// Host and port as the header `Host` has them.
    pub(super) fn authority(&self) -> &str {
        self.uri
            .authority()
            .map_or("", |authority| authority.as_str())
    }

    /// Path and query as the line of a request has them.
    pub(super) fn target(&self) -> Uri {
        let target = self.uri.path_and_query().cloned();
        target.map_or(Uri::from_static("/"), Uri::from)
    }

    /// The URL that a reference found here stands for (RFC 3986 section 5.2), where that is the URL of
    /// an endpoint.
    ///
    /// # Errors
    ///
    /// Where it is not.
    pub fn resolve(&self, reference: &str) -> Result<Self, UrlError> {
        let (authority, path) = (self.authority(), self.path());
        if has_scheme(reference) {
            return reference.parse();
        }
        let whole = match reference.as_bytes() {
            [b'/', b'/', ..] => format!("https:{reference}"),
            [b'/', ..] => format!("https://{authority}{}", without_dots(reference)),
            [] | [b'#', ..] => return Ok(self.clone()),
            [b'?', ..] => format!("https://{authority}{path}{reference}"),
            _ => {
                let folder = path.rfind('/').map_or("/", |end| &path[..=end]);
                let merged = format!("{folder}{reference}");
                format!("https://{authority}{}", without_dots(&merged))
            }
        };
        whole.parse()
    }
}

impl FromStr for EndpointUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        if !scheme.eq_ignore_ascii_case("https") {
            return Err(UrlError::Scheme);
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        // Before anything is told of it: it may hold a password.
        if authority.contains('@') {
            return Err(UrlError::UserInfo);
        }
        // Whatever else it is: of a URL there is no other spelling (RFC 3986 section 2).
        if !text.is_ascii() {
            return Err(UrlError::Malformed);
        }
        let uri: Uri = match authority {
            "" => return Err(UrlError::NoHost),
            port if port.starts_with(':') => return Err(UrlError::NoHost),
            _ => text.parse().map_err(|_| UrlError::Malformed)?,
        };
        let host = uri.host().ok_or(UrlError::NoHost)?;
        let name = ServerName::try_from(bare(host)).map_err(|_| UrlError::Host)?;
        let name = name.to_owned();
        // What `http` makes of a port that is none is no port at all.
        let port = match authority.get(host.len()..) {
            Some("") => 443,
            Some(port) => port
                .strip_prefix(':')
                .and_then(|port| port.parse().ok())
                .filter(|port| *port != 0)
                .ok_or(UrlError::Port)?,
            None => return Err(UrlError::Malformed),
        };
        Ok(Self { uri, name, port })
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

/// Why a text is not the URL of a bundle endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// The host is neither a DNS name nor an IP address.
    #[error("the host of the URL is neither a DNS name nor an IP address")]
    Host,
    /// It is no URL.
    #[error("this is no URL; it should look like https://host/path")]
    Malformed,
    /// There is no host.
    #[error("the URL names no host; it should look like https://host/path")]
    NoHost,
    /// The port is no number from 1 to 65535.
    #[error("the port of the URL is no number from 1 to 65535")]
    Port,
    /// It is not an https URL.
    #[error("the URL does not begin with https://")]
    Scheme,
    /// There is a user or a password in it.
    #[error("the URL holds user information before an `@`, which none of a bundle endpoint may")]
    UserInfo,
}

/// An IP address of version 6 stands in brackets.
fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

fn has_scheme(reference: &str) -> bool {
    let scheme = reference
        .split([':', '/', '?', '#'])
        .next()
        .unwrap_or_default();
    reference[scheme.len()..].starts_with(':')
        && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
}

/// The reference with the segments `.` and `..` of its path carried out (RFC 3986 section 5.2.4).
fn without_dots(reference: &str) -> String {
    let end = reference.find(['?', '#']).unwrap_or(reference.len());
    let (path, rest) = reference.split_at(end);
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => _ = kept.pop(),
            segment => {
                kept.push(segment);
                continue;
            }
        }
        if is_last {
            // What ends with dots names a folder.
            kept.push("");
        }
    }
    format!("/{}{rest}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // conformance: FD-15+ FD-15- FD-16+ FD-16- FD-33+ FD-33- FD-34+ FD-34-
    #[test]
    fn urls_are_https_and_name_a_host_and_nobody() {
        for (text, host, port, path) in [
            ("https://h.test/p", "h.test", 443, "/p"),
            ("HTTPS://h.test", "h.test", 443, "/"),
            ("https://10.0.0.7:8443/a/b?c=d", "10.0.0.7", 8443, "/a/b"),
            ("https://[::1]:8443/p", "::1", 8443, "/p"),
            ("https://h.test/p@q", "h.test", 443, "/p@q"),
        ] {
            let url: EndpointUrl = text.parse().unwrap();
            assert_eq!((url.host(), url.port(), url.path()), (host, port, path));
        }
        for (text, why) in [
            ("http://h.test/p", UrlError::Scheme),
            ("ftp://h.test/p", UrlError::Scheme),
            ("h.test/p", UrlError::Scheme),
            ("https:h.test/p", UrlError::Scheme),
            ("/p", UrlError::Scheme),
            ("", UrlError::Scheme),
            ("https://u:p@h.test/p", UrlError::UserInfo),
            ("https://u@h.test/", UrlError::UserInfo),
            ("https://@h.test/", UrlError::UserInfo),
            ("https://", UrlError::NoHost),
            ("https:///p", UrlError::NoHost),
            ("https://:8443/p", UrlError::NoHost),
            ("https://h.test:0/p", UrlError::Port),
            ("https://h.test:/p", UrlError::Port),
            ("https://h..test/p", UrlError::Host),
            ("https://h.test/a b", UrlError::Malformed),
            ("https://h.test/\u{e4}", UrlError::Malformed),
            ("https://h.test:x/p", UrlError::Port),
            ("https://h.test:65536/p", UrlError::Port),
        ] {
            assert_eq!(text.parse::<EndpointUrl>(), Err(why), "{text}");
        }
    }

    #[test]
    fn references_are_resolved_as_the_standard_says() {
        let base: EndpointUrl = "https://h.test:8443/a/b/c?d".parse().unwrap();
        for (reference, whole) in [
            ("https://g.test/", "https://g.test/"),
            ("//g.test/x", "https://g.test/x"),
            ("/x/../y", "https://h.test:8443/y"),
            ("x", "https://h.test:8443/a/b/x"),
            ("./x?q", "https://h.test:8443/a/b/x?q"),
            ("../x", "https://h.test:8443/a/x"),
            ("../../../x", "https://h.test:8443/x"),
            ("..", "https://h.test:8443/a/"),
            ("?q", "https://h.test:8443/a/b/c?q"),
            ("", "https://h.test:8443/a/b/c?d"),
            (
                "x:y/z".trim_start_matches("x:"),
                "https://h.test:8443/a/b/y/z",
            ),
        ] {
            let resolved = base.resolve(reference).unwrap().to_string();
            assert_eq!(resolved, whole, "{reference}");
        }
        for (reference, why) in [
            ("http://h.test/x", UrlError::Scheme),
            ("HTTP://h.test/x", UrlError::Scheme),
            ("mailto:x", UrlError::Scheme),
            ("https:x", UrlError::Scheme),
            ("//u@g.test/x", UrlError::UserInfo),
            ("//", UrlError::NoHost),
            ("/a b", UrlError::Malformed),
        ] {
            assert_eq!(base.resolve(reference), Err(why), "{reference}");
        }
    }
}

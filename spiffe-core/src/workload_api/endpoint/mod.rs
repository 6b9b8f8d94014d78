//! Where the Workload API is (SPIFFE Workload Endpoint section 4).

mod connect;

#[cfg(feature = "incubating-broker")]
pub(crate) use connect::Io;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
#[cfg(unix)]
use std::os::unix::ffi::{OsStrExt, OsStringExt};
#[cfg(unix)]
use std::path::{Path, PathBuf};
use std::str::FromStr;

#[cfg(unix)]
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};
use tokio::io::{AsyncRead, AsyncWrite};

use self::connect::Connector;

/// The environment variable that tells where the Workload API is.
pub const ENDPOINT_SOCKET: &str = "SPIFFE_ENDPOINT_SOCKET";

/// The address of a Workload API: `unix:///path` or `tcp://ip:port`, and on Windows
/// `npipe:name` as well, which is the named pipe `\\.\pipe\name` (there is no `unix` there).
///
/// A `unix` path is percent-decoded; the scheme may be in upper case, and `unix:/path` is
/// understood. Named pipes are not tested by us.
#[derive(Debug, Clone)]
pub struct Endpoint(Address);

#[derive(Debug, Clone)]
enum Address {
    Custom(Connector),
    #[cfg(windows)]
    Pipe(String),
    Tcp(SocketAddr),
    #[cfg(unix)]
    Unix(PathBuf),
}

/// Why a text is no address of a Workload API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// A `unix` address with a host.
    #[error("a unix address has no host: write unix:///path with three slashes")]
    Authority,
    /// Something behind `#`.
    #[error("an endpoint has no fragment: leave out `#` and what follows")]
    Fragment,
    /// A `tcp` address with a name for a host.
    #[error("the host of a tcp address must be an IP address, as in tcp://127.0.0.1:8081")]
    HostName,
    /// A `unix` address without an absolute path.
    #[error("a unix address needs an absolute path, as in unix:///run/spire/agent.sock")]
    NoPath,
    /// A `tcp` address without a port from 1 to 65535.
    #[error("a tcp address needs a port from 1 to 65535, as in tcp://127.0.0.1:8081")]
    NoPort,
    /// The environment variable is missing.
    #[error(
        "{ENDPOINT_SOCKET} is not set: set it to where the agent listens, as in unix:///run/spire/agent.sock"
    )]
    NotSet,
    /// Something else than text.
    #[error("an endpoint is UTF-8: percent-encode other bytes of a path")]
    NotUtf8,
    /// A percent sign that encodes no byte, or encodes NUL.
    #[error(
        "a percent sign must begin the two hex digits of a byte other than 00: write %25 for itself"
    )]
    Percent,
    /// A named pipe without a name, or with a host.
    #[cfg(windows)]
    #[error("a named pipe is written npipe:name, without slashes before its name")]
    PipeName,
    /// Something behind `?`.
    #[error("an endpoint has no query: leave out `?` and what follows")]
    Query,
    /// Neither `unix:` nor `tcp:`, nor on Windows `npipe:`.
    #[error("an endpoint starts with unix:// or tcp://, as in unix:///run/spire/agent.sock")]
    Scheme,
    /// A `tcp` address with a path.
    #[error("a tcp address has no path, not even a single slash at its end")]
    TcpPath,
    /// A `tcp` address with a user.
    #[error("a tcp address has no user: leave out `@` and what stands before it")]
    UserInfo,
    /// The environment variable holds no endpoint.
    // Whoever set it reads one line, so the reason stands in that and is no `source`.
    #[error("{ENDPOINT_SOCKET} is set to {value:?}, and {why}")]
    Variable {
        /// What it holds.
        value: OsString,
        /// Why that is none.
        why: Box<Self>,
    },
}

impl Endpoint {
    /// The endpoint that the environment names in [`ENDPOINT_SOCKET`].
    ///
    /// # Errors
    ///
    /// Where it names none, or the text is no endpoint.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the environment"
    )]
    pub fn from_env() -> Result<Self, EndpointError> {
        Self::from_variable(std::env::var_os(ENDPOINT_SOCKET))
    }

    fn from_variable(value: Option<OsString>) -> Result<Self, EndpointError> {
        let value = value.ok_or(EndpointError::NotSet)?;
        let text = value.to_str().ok_or(EndpointError::NotUtf8);
        text.and_then(str::parse)
            .map_err(|why| EndpointError::Variable {
                value,
                why: Box::new(why),
            })
    }

    /// An API that is reached in a way of one's own: `connect` makes a connection each time that it
    /// is called, and `name` stands for it in messages.
    pub fn custom<F, IO>(name: &str, connect: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<IO>> + Send + 'static,
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self(Address::Custom(Connector::new(name, connect)))
    }

    /// The Unix socket at this path.
    ///
    /// # Errors
    ///
    /// Where the path is not absolute.
    #[cfg(unix)]
    pub fn unix(path: impl Into<PathBuf>) -> Result<Self, EndpointError> {
        let path = path.into();
        if !path.is_absolute() || path.parent().is_none() {
            return Err(EndpointError::NoPath);
        }
        Ok(Self(Address::Unix(path)))
    }

    /// The IP address, where it is one. Nobody knows where a way of one's own leads, and whoever makes it
    /// does.
    #[cfg(feature = "incubating-broker")]
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        match &self.0 {
            Address::Tcp(address) => Some(address.ip()),
            _ => None,
        }
    }

    /// The path of the Unix socket, where it is one.
    #[cfg(unix)]
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Address::Unix(path) => Some(path),
            _ => None,
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let (scheme, rest) = text.split_once(':').ok_or(EndpointError::Scheme)?;
        let read: fn(&str) -> Result<Address, EndpointError> = match &*scheme.to_ascii_lowercase() {
            "tcp" => read_tcp,
            #[cfg(unix)]
            "unix" => read_unix,
            #[cfg(windows)]
            "npipe" => read_pipe,
            _ => return Err(EndpointError::Scheme),
        };
        if rest.contains('#') {
            return Err(EndpointError::Fragment);
        }
        if rest.contains('?') {
            return Err(EndpointError::Query);
        }
        read(rest).map(Self)
    }
}

/// A named pipe: its name below `\\.\pipe\`, which it may not leave.
#[cfg(windows)]
fn read_pipe(rest: &str) -> Result<Address, EndpointError> {
    if rest.is_empty() || rest.starts_with("//") || rest.contains('\0') {
        return Err(EndpointError::PipeName);
    }
    Ok(Address::Pipe(format!(r"\\.\pipe\{rest}")))
}

#[cfg(unix)]
fn read_unix(rest: &str) -> Result<Address, EndpointError> {
    let path = match rest.strip_prefix("//") {
        Some(path) if path.is_empty() || path.starts_with('/') => path,
        Some(_) => return Err(EndpointError::Authority),
        None => rest,
    };
    if !path.starts_with('/') || path == "/" {
        return Err(EndpointError::NoPath);
    }
    let whole =
        |after: &str| after.len() >= 2 && after.bytes().take(2).all(|b| b.is_ascii_hexdigit());
    if !path.split('%').skip(1).all(whole) {
        return Err(EndpointError::Percent);
    }
    let decoded: Vec<u8> = percent_decode_str(path).collect();
    if decoded.contains(&0) {
        return Err(EndpointError::Percent);
    }
    Ok(Address::Unix(OsString::from_vec(decoded).into()))
}

fn read_tcp(rest: &str) -> Result<Address, EndpointError> {
    let authority = rest.strip_prefix("//").ok_or(EndpointError::HostName)?;
    if authority.contains('/') {
        return Err(EndpointError::TcpPath);
    }
    if authority.contains('@') {
        return Err(EndpointError::UserInfo);
    }
    match authority.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 => Ok(Address::Tcp(address)),
        Ok(_) => Err(EndpointError::NoPort),
        Err(_) => Err(why_no_socket(authority)),
    }
}

fn why_no_socket(authority: &str) -> EndpointError {
    let host = match authority.rsplit_once(':') {
        Some((host, _)) if !authority.ends_with(']') => host,
        _ => authority,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(_) => EndpointError::NoPort,
        Err(_) => EndpointError::HostName,
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Address::Custom(connector) => f.write_str(connector.name()),
            #[cfg(windows)]
            Address::Pipe(name) => write!(f, "npipe:{}", name.trim_start_matches(r"\\.\pipe\")),
            Address::Tcp(address) => write!(f, "tcp://{address}"),
            #[cfg(unix)]
            Address::Unix(path) => {
                let path = percent_encode(path.as_os_str().as_bytes(), UNSAFE);
                write!(f, "unix://{path}")
            }
        }
    }
}

/// What would not read back as the same path.
#[cfg(unix)]
const UNSAFE: &AsciiSet = &CONTROLS.add(b' ').add(b'#').add(b'%').add(b'?');

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    // conformance: WE-10+ WE-10- WE-11+ WE-11- WE-12+ WE-12- WE-13+ WE-13- WE-14+ WE-14-
    #[test]
    fn the_standards_addresses_are_read_or_refused() {
        let cases: serde_json::Value = serde_json::from_str(include_str!(
            "../../../tests/vectors/endpoint_addresses.json"
        ))
        .unwrap();
        for case in cases.as_array().unwrap() {
            let input = case["input"].as_str().unwrap();
            let read = input.parse::<Endpoint>();
            assert_eq!(read.is_ok(), case["ok"] == true, "{input}: {read:?}");
        }
    }

    // conformance: WE-10- WE-11- WE-12- WE-13- WE-14-
    #[test]
    fn each_refusal_says_what_would_be_right() {
        for (text, why) in [
            ("", EndpointError::Scheme),
            ("/run/agent.sock", EndpointError::Scheme),
            ("http://127.0.0.1:80", EndpointError::Scheme),
            ("unix:run/a", EndpointError::NoPath),
            ("unix:", EndpointError::NoPath),
            ("unix://", EndpointError::NoPath),
            ("unix:///", EndpointError::NoPath),
            ("unix://localhost/a", EndpointError::Authority),
            ("unix:///a?b", EndpointError::Query),
            ("unix:///a#b", EndpointError::Fragment),
            ("unix:///a%2", EndpointError::Percent),
            ("unix:///a%zz", EndpointError::Percent),
            ("unix:///a%00b", EndpointError::Percent),
            ("unix:///a\0b", EndpointError::Percent),
            ("tcp:127.0.0.1:80", EndpointError::HostName),
            ("tcp://", EndpointError::HostName),
            ("tcp://localhost:80", EndpointError::HostName),
            ("tcp://[::1", EndpointError::HostName),
            ("tcp://127.0.0.1", EndpointError::NoPort),
            ("tcp://127.0.0.1:", EndpointError::NoPort),
            ("tcp://127.0.0.1:0", EndpointError::NoPort),
            ("tcp://127.0.0.1:65536", EndpointError::NoPort),
            ("tcp://[::1]", EndpointError::NoPort),
            ("tcp://[::1]:0", EndpointError::NoPort),
            ("tcp://127.0.0.1:80/", EndpointError::TcpPath),
            ("tcp://me@127.0.0.1:80", EndpointError::UserInfo),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap_err(), why, "{text:?}");
        }
    }

    #[test]
    fn an_endpoint_reads_back_as_it_is_shown() {
        for (text, shown) in [
            ("unix:///run/a.sock", "unix:///run/a.sock"),
            ("UNIX:/run/a.sock", "unix:///run/a.sock"),
            ("unix:///run/a%20b%25%23%ff", "unix:///run/a%20b%25%23%FF"),
            ("TCP://[::1]:80", "tcp://[::1]:80"),
        ] {
            let read: Endpoint = text.parse().unwrap();
            assert_eq!(read.to_string(), shown);
            assert_eq!(shown.parse::<Endpoint>().unwrap().to_string(), shown);
        }
    }

    // conformance: WE-9+ WE-9-
    #[test]
    fn the_environment_must_name_an_endpoint() {
        let read = |value: Option<&[u8]>| {
            Endpoint::from_variable(value.map(|bytes| OsString::from_vec(bytes.to_vec())))
        };
        assert_eq!(read(None).unwrap_err(), EndpointError::NotSet);
        for (value, told) in [
            (
                b"unix:///\xff".as_slice(),
                r#"SPIFFE_ENDPOINT_SOCKET is set to "unix:///\xFF", and an endpoint is UTF-8: percent-encode other bytes of a path"#,
            ),
            (
                b"",
                r#"SPIFFE_ENDPOINT_SOCKET is set to "", and an endpoint starts with unix:// or tcp://, as in unix:///run/spire/agent.sock"#,
            ),
            (
                b"unix://run/a.sock",
                r#"SPIFFE_ENDPOINT_SOCKET is set to "unix://run/a.sock", and a unix address has no host: write unix:///path with three slashes"#,
            ),
        ] {
            assert_eq!(read(Some(value)).unwrap_err().to_string(), told);
        }
        let endpoint = read(Some(b"unix:///run/a.sock")).unwrap();
        assert_eq!(endpoint.path(), Some(Path::new("/run/a.sock")));
    }
}

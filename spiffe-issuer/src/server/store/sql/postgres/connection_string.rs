//! `connection_string`, as Go's driver reads it: `key=value` pairs, or a URL.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::{Chars, FromStr};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::server::store::Location;

/// Where a PostgreSQL database is, who we are there, and how its connections are protected.
///
/// What is not said is taken from `PGHOST`, `PGUSER`, `PGPASSWORD` and so on, and the password also
/// from `~/.pgpass`.
#[derive(Clone)]
pub struct PostgresString {
    options: PgConnectOptions,
    protection: Protection,
    connect_timeout: Duration,
}

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protection {
    /// Not at all.
    None,
    /// Against those who only listen.
    Unverified,
    /// By a certificate with the name of the host.
    Verified,
}

impl PostgresString {
    /// How errors call it: host, port and database, and never the password.
    #[must_use]
    pub fn location(&self) -> Location {
        let (host, port) = (self.options.get_host(), self.options.get_port());
        let user = self.options.get_username();
        let database = self.options.get_database().unwrap_or(user);
        Location::named(&format!("{host}:{port}/{database}"))
    }

    /// Whether whoever is in the way could pretend to be the database.
    #[must_use]
    pub fn is_unverified(&self) -> bool {
        self.protection != Protection::Verified && !self.options.get_host().starts_with('/')
    }

    pub(super) fn options(
        &self,
        root_ca: Option<&Path>,
        client: Option<&(PathBuf, PathBuf)>,
    ) -> PgConnectOptions {
        let mut options = self.options.clone();
        let mut protection = self.protection;
        if let Some(root_ca) = root_ca {
            options = options.ssl_root_cert(root_ca);
            if protection == Protection::Unverified {
                protection = Protection::Verified;
            }
        }
        if let Some((certificate, key)) = client {
            options = options.ssl_client_cert(certificate).ssl_client_key(key);
        }
        options.ssl_mode(match protection {
            _ if self.options.get_host().starts_with('/') => PgSslMode::Disable,
            Protection::None => PgSslMode::Disable,
            Protection::Unverified => PgSslMode::Require,
            Protection::Verified => PgSslMode::VerifyFull,
        })
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    fn read(text: &str, environment: &Environment<'_>) -> Result<Self, PostgresStringError> {
        let url = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme));
        let pairs = match url {
            Some(url) => url_pairs(url)?,
            None => pairs(text)?,
        };
        Self::from_pairs(&pairs, environment)
    }

    fn from_pairs(
        pairs: &Pairs,
        environment: &Environment<'_>,
    ) -> Result<Self, PostgresStringError> {
        let mut options = PgConnectOptions::new().application_name("spiffe-server");
        let mut protection = None;
        let mut has_root = false;
        let mut connect_timeout = CONNECT_TIMEOUT;
        for (key, value) in pairs {
            let bad = || PostgresStringError::Value(key.clone());
            options = match &**key {
                "host" | "hostaddr" if value.contains(',') => {
                    return Err(PostgresStringError::ManyHosts);
                }
                "host" => options.host(value),
                "hostaddr" => options.host(value),
                "port" => options.port(value.parse().map_err(|_| bad())?),
                "user" => options.username(value),
                "password" => options.password(value),
                "dbname" => options.database(value),
                "application_name" | "fallback_application_name" => options.application_name(value),
                "sslmode" => {
                    protection = Some(protection_by(value).ok_or_else(bad)?);
                    options
                }
                "sslrootcert" if value == "system" => {
                    has_root = true;
                    options
                }
                "sslrootcert" => {
                    has_root = true;
                    options.ssl_root_cert(value)
                }
                "sslcert" => options.ssl_client_cert(value),
                "sslkey" => options.ssl_client_key(value),
                "connect_timeout" => {
                    let seconds: u64 = value.parse().map_err(|_| bad())?;
                    if seconds > 0 {
                        connect_timeout = Duration::from_secs(seconds);
                    }
                    options
                }
                "search_path" => options.options([("search_path", value)]),
                // Ours are fixed.
                "binary_parameters" | "client_encoding" | "disable_prepared_binary_result" => {
                    options
                }
                key if KEYWORDS.contains(&key) => {
                    return Err(PostgresStringError::Key(key.to_owned()));
                }
                _ => return Err(PostgresStringError::Unknown),
            };
        }
        let set = |name| environment(name).filter(|value| !value.is_empty());
        if let (None, Some(sslmode)) = (protection, set("PGSSLMODE")) {
            let told = protection_by(&sslmode);
            protection =
                Some(told.ok_or_else(|| PostgresStringError::Value("PGSSLMODE".to_owned()))?);
        }
        if !pairs.contains_key("sslrootcert")
            && let Some(root) = set("PGSSLROOTCERT")
        {
            // The driver takes it for the name of a file.
            if root == "system" {
                return Err(PostgresStringError::Value("PGSSLROOTCERT".to_owned()));
            }
            has_root = true;
        }
        let protection = match protection.unwrap_or(Protection::Unverified) {
            // As Go's driver has it: certificates that are given are made use of.
            Protection::Unverified if has_root => Protection::Verified,
            protection => protection,
        };
        Ok(Self {
            options,
            protection,
            connect_timeout,
        })
    }
}

/// `verify-ca` would believe whoever has any certificate of the web, so it asks for the name as well.
fn protection_by(sslmode: &str) -> Option<Protection> {
    match sslmode {
        "disable" => Some(Protection::None),
        // What would fall back to no protection at all.
        "allow" | "prefer" | "require" => Some(Protection::Unverified),
        "verify-ca" | "verify-full" => Some(Protection::Verified),
        _ => None,
    }
}

impl FromStr for PostgresString {
    type Err = PostgresStringError;

    #[expect(
        clippy::disallowed_methods,
        reason = "the driver reads its own variables at this very moment"
    )]
    fn from_str(text: &str) -> Result<Self, PostgresStringError> {
        Self::read(text, &|name| std::env::var(name).ok())
    }
}

impl fmt::Debug for PostgresString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresString")
            .field(&self.location())
            .finish()
    }
}

/// Why a text does not say where the database is. It shows no value: one may be the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostgresStringError {
    /// A setting of PostgreSQL that we do not have.
    #[error("`{0}` is not a setting of a PostgreSQL connection that we know")]
    Key(String),
    /// More than one host.
    #[error("it names more than one host; give one that always leads to the primary")]
    ManyHosts,
    /// A URL with an escape that makes no text.
    #[error("an escape in the URL makes no UTF-8")]
    NotText,
    /// Neither pairs nor a URL.
    #[error(
        "it is neither `key=value` pairs, such as `host=db dbname=spiffe`, nor a `postgres://` URL"
    )]
    Shape,
    /// A setting that PostgreSQL does not have either. It is not shown: it may be the rest of a
    /// password with a space in it.
    #[error("it has a setting that we do not know; values with spaces stand in single quotes")]
    Unknown,
    /// A quote without its end.
    #[error("a quoted value has no end")]
    Unquoted,
    /// A value that does not fit its setting.
    #[error("`{0}` has a value that does not fit it")]
    Value(String),
}

type Pairs = BTreeMap<String, String>;

/// Finds the value of an environment variable.
type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// `user:password@host:port/database?key=value&...`, each part percent-encoded.
fn url_pairs(url: &str) -> Result<Pairs, PostgresStringError> {
    let (place, settings) = url.split_once('?').unwrap_or((url, ""));
    let (authority, database) = place.split_once('/').unwrap_or((place, ""));
    let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (host, port) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((address, port)) => (address, port.strip_prefix(':').unwrap_or(port)),
        None => host.rsplit_once(':').unwrap_or((host, "")),
    };
    let mut pairs = Pairs::new();
    let parts = [
        ("user", user),
        ("password", password),
        ("host", host),
        ("port", port),
        ("dbname", database),
    ];
    let settings = settings.split('&').filter(|setting| !setting.is_empty());
    let settings =
        settings.map(|setting| setting.split_once('=').ok_or(PostgresStringError::Shape));
    for part in parts.into_iter().map(Ok).chain(settings) {
        let (key, value) = part?;
        if !value.is_empty() {
            let value = percent_decode_str(value).decode_utf8();
            let value = value.map_err(|_| PostgresStringError::NotText)?;
            pairs.insert(key.to_owned(), value.into_owned());
        }
    }
    Ok(pairs)
}

/// `key=value` pairs with spaces between them. A value may stand in single quotes; a backslash takes
/// the next character as it is.
fn pairs(text: &str) -> Result<Pairs, PostgresStringError> {
    let mut pairs = Pairs::new();
    let mut rest = text.chars();
    loop {
        let key = rest.as_str().trim_start();
        if key.is_empty() {
            break;
        }
        let (key, after) = key.split_once('=').ok_or(PostgresStringError::Shape)?;
        rest = after.trim_start().chars();
        let value = value(&mut rest)?;
        pairs.insert(key.trim_end().to_owned(), value);
    }
    match pairs.is_empty() {
        true => Err(PostgresStringError::Shape),
        false => Ok(pairs),
    }
}

fn value(rest: &mut Chars<'_>) -> Result<String, PostgresStringError> {
    let quoted = rest.as_str().starts_with('\'');
    if quoted {
        rest.next();
    }
    let mut value = String::new();
    while let Some(c) = rest.next() {
        match c {
            '\\' => value.extend(rest.next()),
            '\'' if quoted => return Ok(value),
            c if c.is_whitespace() && !quoted => return Ok(value),
            c => value.push(c),
        }
    }
    match quoted {
        true => Err(PostgresStringError::Unquoted),
        false => Ok(value),
    }
}

/// How long to wait for a connection where nothing is said.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The settings of libpq that we do not have, which are safe to name.
const KEYWORDS: [&str; 36] = [
    "channel_binding",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "options",
    "passfile",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "scram_client_key",
    "scram_server_key",
    "service",
    "servicefile",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkeylogfile",
    "sslnegotiation",
    "sslpassword",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
    "timezone",
    "tty",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> PostgresString {
        text.parse().unwrap()
    }

    #[test]
    fn reads_what_spire_reads() {
        for (text, at, user) in [
            (
                "dbname=spire user=u password=p host=db.test sslmode=disable",
                "db.test:5432/spire",
                "u",
            ),
            (
                r"host = '/run/my db' port=5433 dbname='it\'s' user=u\ v password=''",
                "/run/my db:5433/it's",
                "u v",
            ),
            (
                "postgres://u:p%40ss@db.test:6000/spire?sslmode=verify-full&connect_timeout=3",
                "db.test:6000/spire",
                "u",
            ),
            ("postgresql://u@[::1]:6000/d", "::1:6000/d", "u"),
            ("postgres://u@/d?host=%2Frun%2Fpg", "/run/pg:5432/d", "u"),
        ] {
            let read = read(text);
            assert_eq!(read.location().to_string(), at, "{text}");
            assert_eq!(read.options.get_username(), user, "{text}");
        }
        assert_eq!(
            read("postgres://u@h/d?connect_timeout=3")
                .connect_timeout
                .as_secs(),
            3
        );
    }

    #[test]
    fn connections_are_protected_as_told_and_never_less() {
        let mode = |text: &str, root: Option<&str>| {
            let options = read(text).options(root.map(Path::new), None);
            format!("{:?}", options.get_ssl_mode())
        };
        for (text, root, expected) in [
            ("host=h sslmode=disable", None, "Disable"),
            ("host=h", None, "Require"),
            ("host=h sslmode=prefer", None, "Require"),
            ("host=h sslmode=require sslrootcert=/r", None, "VerifyFull"),
            ("host=h sslmode=require", Some("/r"), "VerifyFull"),
            ("host=h sslmode=verify-ca", None, "VerifyFull"),
            ("host=h sslmode=verify-full", None, "VerifyFull"),
            ("host=h sslrootcert=system", None, "VerifyFull"),
            (
                "host=h sslmode=require sslrootcert=system",
                None,
                "VerifyFull",
            ),
            // A socket has no name and needs no protection.
            ("host=/run/pg sslmode=require", None, "Disable"),
        ] {
            assert_eq!(mode(text, root), expected, "{text}");
        }
        assert!(read("host=h").is_unverified());
        assert!(!read("host=h sslmode=verify-full").is_unverified());
        assert!(!read("host=/run/pg").is_unverified());
    }

    #[test]
    fn what_the_environment_asks_for_is_not_weakened() {
        let read = |text: &str, set: &[(&str, &str)]| {
            let find = |name: &str| set.iter().find(|(set, _)| *set == name);
            let environment = |name: &str| find(name).map(|(_, value)| (*value).to_owned());
            PostgresString::read(text, &environment)
        };
        let full = ("PGSSLMODE", "verify-full");
        for (text, set, expected) in [
            ("host=h", [full].as_slice(), Protection::Verified),
            (
                "host=h",
                &[("PGSSLMODE", "verify-ca")],
                Protection::Verified,
            ),
            ("host=h", &[("PGSSLMODE", "prefer")], Protection::Unverified),
            ("host=h", &[("PGSSLMODE", "disable")], Protection::None),
            ("host=h", &[("PGSSLMODE", "")], Protection::Unverified),
            ("host=h", &[("PGSSLROOTCERT", "/r")], Protection::Verified),
            ("host=h", &[("PGSSLROOTCERT", "")], Protection::Unverified),
            ("host=h sslrootcert=/r", &[full], Protection::Verified),
            // What the string says counts.
            ("host=h sslmode=disable", &[full], Protection::None),
            ("host=h sslmode=require", &[full], Protection::Unverified),
        ] {
            let read = read(text, set).unwrap();
            assert_eq!(read.protection, expected, "{text} {set:?}");
        }
        for (name, value) in [("PGSSLMODE", "on"), ("PGSSLROOTCERT", "system")] {
            let refused = read("host=h", &[(name, value)]).unwrap_err();
            assert_eq!(refused, PostgresStringError::Value(name.to_owned()));
        }
    }

    #[test]
    fn refuses_what_it_does_not_understand_and_shows_no_password() {
        for (text, why) in [
            ("", PostgresStringError::Shape),
            ("spire", PostgresStringError::Shape),
            ("host=a,b", PostgresStringError::ManyHosts),
            ("host=a password='secret", PostgresStringError::Unquoted),
            (
                "host=a port=secret",
                PostgresStringError::Value("port".to_owned()),
            ),
            (
                "host=a sslmode=on",
                PostgresStringError::Value("sslmode".to_owned()),
            ),
            (
                "host=a sslcrl=secret",
                PostgresStringError::Key("sslcrl".to_owned()),
            ),
            ("host=a passwd=secret", PostgresStringError::Unknown),
            // What looks like a setting may be the rest of a password.
            ("host=a password=my secret=x", PostgresStringError::Unknown),
            (
                "host=a password=my secret host=b",
                PostgresStringError::Unknown,
            ),
            ("postgres://u@h/d?secret=x", PostgresStringError::Unknown),
            ("postgres://u:%ff@h/d", PostgresStringError::NotText),
        ] {
            let refused = text.parse::<PostgresString>().unwrap_err();
            assert_eq!(refused, why, "{text}");
            assert!(!refused.to_string().contains("secret"), "{refused}");
        }
        let told = format!("{:?}", read("host=a user=u password=secret"));
        assert!(!told.contains("secret"), "{told}");
    }
}

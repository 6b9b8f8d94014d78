//! Which paths a rule is about: one, or all beneath one. Whatever else it might have meant is refused
//! where it is written, for a rule that fits no request leaves it to the default.

use std::str::FromStr;

use http::uri::PathAndQuery;

/// What a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rule {
    /// All paths that begin like this, which ends in a slash.
    Beneath(String),
    /// This path.
    Exact(String),
}

/// Why a text is no path, and nothing that stands for all beneath one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RpcPathError {
    /// There is nothing in it.
    #[error("a rule names a path, as in \"/pkg.Service/Method\"; this one is empty")]
    Empty,
    /// A query, a fragment, or a byte that no path has.
    #[error("no request has the path {path:?}: write it as it is sent, without a query")]
    NotAPath {
        /// The path.
        path: String,
    },
    /// A wildcard that is not the whole last segment.
    #[error(
        "{path:?}: \"*\" stands for all beneath a path, at the end and after a slash only, as in \
         \"/pkg.Service/*\""
    )]
    Star {
        /// The path.
        path: String,
    },
    /// A path that ends in a slash.
    #[error("{path:?} ends in a slash: leave it out, or write \"*\" behind it for all beneath")]
    TrailingSlash {
        /// The path.
        path: String,
    },
}

impl FromStr for Rule {
    type Err = RpcPathError;

    fn from_str(text: &str) -> Result<Self, RpcPathError> {
        let told = || text.to_owned();
        if text.is_empty() {
            return Err(RpcPathError::Empty);
        }
        let wild = text.strip_suffix("**").or_else(|| text.strip_suffix('*'));
        let path = wild.unwrap_or(text);
        if path.contains('*') || wild.is_some_and(|path| !path.ends_with('/')) {
            return Err(RpcPathError::Star { path: told() });
        }
        let path = match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("/{path}"),
        };
        if !is_sent(&path) {
            return Err(RpcPathError::NotAPath { path: told() });
        }
        match wild {
            Some(_) => Ok(Self::Beneath(path)),
            // The root alone is a path.
            None if path.len() > 1 && path.ends_with('/') => {
                Err(RpcPathError::TrailingSlash { path: told() })
            }
            None => Ok(Self::Exact(path)),
        }
    }
}

/// Whether a request can have this path, byte by byte.
fn is_sent(path: &str) -> bool {
    PathAndQuery::try_from(path).is_ok_and(|read| read.as_str() == path && read.path() == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Refused = fn(String) -> RpcPathError;

    #[test]
    fn a_rule_is_about_one_path_or_all_beneath_one() {
        let exact = |path: &str| Rule::Exact(path.to_owned());
        let beneath = |path: &str| Rule::Beneath(path.to_owned());
        for (text, rule) in [
            ("/", exact("/")),
            ("/close", exact("/close")),
            ("/pkg.Svc/Call", exact("/pkg.Svc/Call")),
            ("pkg.Svc/Call", exact("/pkg.Svc/Call")),
            ("/a%20b", exact("/a%20b")),
            ("/*", beneath("/")),
            ("/**", beneath("/")),
            ("/admin/*", beneath("/admin/")),
            ("/admin/**", beneath("/admin/")),
            ("/a/b/*", beneath("/a/b/")),
            ("pkg.Svc/*", beneath("/pkg.Svc/")),
        ] {
            assert_eq!(text.parse::<Rule>().unwrap(), rule, "{text}");
        }
    }

    #[test]
    fn a_rule_that_would_fit_nothing_is_refused() {
        let star = |path: String| RpcPathError::Star { path };
        let slash = |path: String| RpcPathError::TrailingSlash { path };
        let not = |path: String| RpcPathError::NotAPath { path };
        let cases: [(&str, Refused); 17] = [
            ("", |_| RpcPathError::Empty),
            ("*", star),
            ("**", star),
            ("/admin*", star),
            ("/admin**", star),
            ("/admin/***", star),
            ("/pkg.Svc/Read*", star),
            ("/a/*/b", star),
            ("/a/**/b", star),
            ("/a/*/*", star),
            ("/admin/*/", star),
            ("/admin/", slash),
            ("/admin/x/", slash),
            ("/admin?all", not),
            ("/admin#top", not),
            ("/ad min", not),
            ("/ad\nmin/*", not),
        ];
        for (text, why) in cases {
            assert_eq!(text.parse::<Rule>(), Err(why(text.to_owned())), "{text:?}");
        }
    }
}

//! What the greeter's programs tell on standard output: lines for people, which the quickstart can
//! read as well.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

use spiffe_core::{
    SpiffeId,
    x509::{Certificate, X509Svid},
};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Line {
    /// An RPC was answered.
    Answer {
        /// What the server said.
        greeting: String,
        /// Who called, in the eyes of the handler.
        caller: SpiffeId,
    },
    /// How a flow of RPCs went.
    Flow {
        /// How many were sent.
        sent: u64,
        /// How many of them failed.
        failed: u64,
    },
    /// The server greeted a caller with a certificate that it had not seen before.
    Greeted {
        /// Who called.
        caller: SpiffeId,
        /// The serial number of the certificate, in hexadecimal.
        serial: String,
    },
    /// The program has this identity now.
    Identity(Identity),
    /// The Workload API gave no identity, and said this.
    NoIdentity(String),
    /// An RPC was refused, with this status.
    Refused(String),
}

/// An identity as a program tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who it is.
    pub id: SpiffeId,
    /// The serial number of the certificate, in hexadecimal.
    pub serial: String,
    /// How long the certificate is still good.
    pub remaining: Duration,
}

impl Identity {
    /// What there is to tell of an SVID.
    #[must_use]
    pub fn of(svid: &X509Svid, now: SystemTime) -> Self {
        Self {
            id: svid.id().clone(),
            serial: serial_of(svid.leaf()),
            remaining: svid.not_after().duration_since(now).unwrap_or_default(),
        }
    }

    /// Whether this is another certificate for the same name.
    #[must_use]
    pub fn renews(&self, old: &Self) -> bool {
        self.id == old.id && self.serial != old.serial
    }
}

/// The serial number of a certificate, in hexadecimal.
#[must_use]
pub fn serial_of(certificate: &Certificate) -> String {
    let bytes = certificate.serial().iter();
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer { greeting, caller } => {
                write!(f, "the handler saw {caller} and said: {greeting}")
            }
            Self::Flow { sent, failed } => write!(f, "{sent} sent, {failed} failed"),
            Self::Greeted { caller, serial } => write!(f, "greeted {caller}, serial {serial}"),
            Self::Identity(Identity {
                id,
                serial,
                remaining,
            }) => write!(
                f,
                "I am {id}, serial {serial}, for {} s",
                remaining.as_secs()
            ),
            Self::NoIdentity(why) => write!(f, "no identity: {why}"),
            Self::Refused(status) => write!(f, "refused: {status}"),
        }
    }
}

/// The text is not a line of ours: the log speaks on the same channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a line of the greeter's programs")]
pub struct Foreign;

impl FromStr for Line {
    type Err = Foreign;

    fn from_str(text: &str) -> Result<Self, Foreign> {
        read(text).ok_or(Foreign)
    }
}

fn read(text: &str) -> Option<Line> {
    if let Some(rest) = text.strip_prefix("the handler saw ") {
        let (caller, greeting) = rest.split_once(" and said: ")?;
        let caller = caller.parse().ok()?;
        let greeting = greeting.to_owned();
        return Some(Line::Answer { greeting, caller });
    }
    if let Some(rest) = text.strip_prefix("I am ") {
        let (id, rest) = rest.split_once(", serial ")?;
        let (serial, rest) = rest.split_once(", for ")?;
        return Some(Line::Identity(Identity {
            id: id.parse().ok()?,
            serial: serial.to_owned(),
            remaining: Duration::from_secs(rest.strip_suffix(" s")?.parse().ok()?),
        }));
    }
    if let Some(rest) = text.strip_prefix("greeted ") {
        let (caller, serial) = rest.split_once(", serial ")?;
        let caller = caller.parse().ok()?;
        let serial = serial.to_owned();
        return Some(Line::Greeted { caller, serial });
    }
    if let Some(why) = text.strip_prefix("no identity: ") {
        return Some(Line::NoIdentity(why.to_owned()));
    }
    if let Some(status) = text.strip_prefix("refused: ") {
        return Some(Line::Refused(status.to_owned()));
    }
    let (sent, failed) = text.strip_suffix(" failed")?.split_once(" sent, ")?;
    Some(Line::Flow {
        sent: sent.parse().ok()?,
        failed: failed.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use spiffe_core::spiffe_id;

    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let id = spiffe_id!("spiffe://example.org/greeter/client");
        for line in [
            Line::Answer {
                greeting: "hello, and said: hi".to_owned(),
                caller: id.clone(),
            },
            Line::Flow {
                sent: 12,
                failed: 0,
            },
            Line::Greeted {
                caller: id.clone(),
                serial: "00ff".to_owned(),
            },
            Line::Identity(Identity {
                id,
                serial: "00ff".to_owned(),
                remaining: Duration::from_secs(19),
            }),
            Line::NoIdentity("nobody: knows you".to_owned()),
            Line::Refused("PermissionDenied: no".to_owned()),
        ] {
            assert_eq!(line.to_string().parse(), Ok(line.clone()), "{line}");
        }
    }

    #[test]
    fn the_log_is_not_mistaken_for_a_line() {
        for text in ["", "I am tired", "greeted nobody", "WARN peer turned away"] {
            assert_eq!(text.parse::<Line>(), Err(Foreign), "{text:?}");
        }
    }
}

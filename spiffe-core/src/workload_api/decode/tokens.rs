//! Messages of tokens: each judged by what can be seen of it without a key.

use std::time::SystemTime;

use super::{Decoded, kept, short, told_apart};
use crate::SpiffeId;
#[cfg(feature = "incubating-wit")]
use crate::jwt::WitSvid;
use crate::jwt::{JwtError, JwtSvid};
use crate::proto::workload;
use crate::workload_api::{Flaw, Limits};

/// What tokens were asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) id: Option<&'a SpiffeId>,
    pub(crate) audience: &'a [String],
}

/// Reads JWT-SVIDs. There is at least one.
///
/// # Errors
///
/// Where there are too many, or none that can be used: it must not have ended, be for whom the
/// message says it is, and be what was asked for.
pub(crate) fn jwt(
    message: &workload::JwtsvidResponse,
    wanted: Wanted<'_>,
    now: SystemTime,
    limits: &Limits,
) -> Result<Decoded<Vec<JwtSvid>>, Flaw> {
    let read = |token: &workload::Jwtsvid| {
        let svid = identified(&token.spiffe_id, wanted.id, || JwtSvid::parse(&token.svid))?;
        if svid.expires_at() <= now {
            return Err(Flaw::Expired(svid.id().clone()));
        }
        let missing = |name: &&String| !svid.audience().contains(name);
        if let Some(audience) = wanted.audience.iter().find(missing) {
            return Err(Flaw::OtherAudience {
                id: svid.id().clone(),
                audience: audience.as_str().into(),
            });
        }
        Ok(svid.with_hint(short(&token.hint)))
    };
    let tokens = told_apart(&message.svids, |token| &token.hint);
    some(tokens.map(read), message.svids.len(), limits)
}

/// Reads WIT-SVIDs, each with its key. There is at least one.
///
/// # Errors
///
/// As for [`jwt`].
#[cfg(feature = "incubating-wit")]
pub(crate) fn wit(
    message: &workload::WitsvidResponse,
    wanted: Option<&SpiffeId>,
    now: SystemTime,
    limits: &Limits,
) -> Result<Decoded<Vec<WitSvid>>, Flaw> {
    let read = |token: &workload::Witsvid| {
        let svid = identified(&token.spiffe_id, wanted, || {
            WitSvid::new(&token.wit_svid, token.wit_svid_key.as_bytes())
        })?;
        if svid.expires_at() <= now {
            return Err(Flaw::Expired(svid.id().clone()));
        }
        Ok(svid.with_hint(short(&token.hint)))
    };
    let tokens = told_apart(&message.svids, |token| &token.hint);
    some(tokens.map(read), message.svids.len(), limits)
}

/// A token that is of whom the message says, and of whom it was asked for.
fn identified<T: Identified>(
    said: &str,
    wanted: Option<&SpiffeId>,
    read: impl FnOnce() -> Result<T, JwtError>,
) -> Result<T, Flaw> {
    let said: SpiffeId = said.parse().map_err(Flaw::Id)?;
    let token = read().map_err(|source| Flaw::Token {
        id: said.clone(),
        source,
    })?;
    match [Some(&said), wanted]
        .into_iter()
        .flatten()
        .find(|id| *id != token.identity())
    {
        Some(other) => Err(Flaw::ForeignSvid {
            said: other.clone(),
            found: token.identity().clone(),
        }),
        None => Ok(token),
    }
}

trait Identified {
    fn identity(&self) -> &SpiffeId;
}

impl Identified for JwtSvid {
    fn identity(&self) -> &SpiffeId {
        self.id()
    }
}

#[cfg(feature = "incubating-wit")]
impl Identified for WitSvid {
    fn identity(&self) -> &SpiffeId {
        self.id()
    }
}

fn some<T>(
    read: impl Iterator<Item = Result<T, Flaw>>,
    count: usize,
    limits: &Limits,
) -> Result<Decoded<Vec<T>>, Flaw> {
    let limit = limits.svids();
    if count > limit {
        return Err(Flaw::TooManySvids { limit });
    }
    let mut flaws = Vec::new();
    let good: Vec<T> = read.filter_map(|read| kept(read, &mut flaws)).collect();
    if good.is_empty() {
        return Err(flaws.into_iter().next().unwrap_or(Flaw::NoSvid));
    }
    Ok(Decoded { value: good, flaws })
}

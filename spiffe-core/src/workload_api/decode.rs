//! From messages to a snapshot: what holds is taken, what does not leaves the old in place.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use crate::bundle::{BundleSet, TrustBundle};
use crate::proto::workload;
use crate::snapshot::IdentitySnapshot;
use crate::verify::{Role, VerifyError, x509_peer};
use crate::x509::{X509Error, X509Svid};
use crate::{IdError, SpiffeId, TrustDomain};

/// What is wrong with a message of the Workload API, or with a part of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// The bundle that came with an SVID is malformed.
    #[error("the bundle of our own trust domain {trust_domain} is malformed: {source}")]
    Bundle {
        /// Whose bundle it is.
        trust_domain: TrustDomain,
        /// What is wrong with it.
        source: X509Error,
    },
    /// A federated bundle is malformed.
    #[error("the federated bundle of {trust_domain} is malformed: {source}")]
    FederatedBundle {
        /// Whose bundle it is.
        trust_domain: TrustDomain,
        /// What is wrong with it.
        source: X509Error,
    },
    /// A federated bundle names no trust domain.
    #[error("a federated bundle names no trust domain: {0}")]
    FederatedName(#[source] IdError),
    /// The SVID and what is said about it differ.
    #[error("the SVID is said to be {said} and is {found}")]
    ForeignSvid {
        /// The identity in the message.
        said: SpiffeId,
        /// The identity in the certificate.
        found: SpiffeId,
    },
    /// The identity of an SVID is malformed.
    #[error("the identity of an SVID is malformed: {0}")]
    Id(#[source] IdError),
    /// There is no SVID in the message.
    #[error("the message holds no SVID")]
    NoSvid,
    /// An SVID is malformed.
    #[error("the SVID {id} is malformed: {source}")]
    Svid {
        /// The identity in the message.
        id: SpiffeId,
        /// What is wrong with it.
        source: X509Error,
    },
    /// There are more bundles in the message than anyone needs.
    #[error("the message holds more than {limit} bundles")]
    TooManyBundles {
        /// How many are read.
        limit: usize,
    },
    /// There are more SVIDs in the message than anyone needs.
    #[error("the message holds more than {limit} SVIDs")]
    TooManySvids {
        /// How many are read.
        limit: usize,
    },
    /// Peers would not believe the SVID.
    #[error("the SVID {id} would not be believed: {source}")]
    Unbelievable {
        /// The identity in the message.
        id: SpiffeId,
        /// What a peer would say.
        source: VerifyError,
    },
}

/// A message, read.
#[derive(Debug)]
pub(super) struct Decoded {
    /// What is known from now on.
    pub(super) snapshot: IdentitySnapshot,
    /// What was left out of it, and why.
    pub(super) flaws: Vec<Flaw>,
}

/// Reads a message that replaces what `old` holds.
///
/// An SVID or own bundle with a flaw leaves the old one in place, so that a failed renewal takes
/// nothing away; a federated bundle with a flaw leaves none, so that its trust domain is not
/// believed by mistake.
///
/// # Errors
///
/// Where the message is discarded as a whole.
pub(super) fn x509(
    message: &workload::X509svidResponse,
    old: &IdentitySnapshot,
    now: SystemTime,
) -> Result<Decoded, Flaw> {
    check_size(message)?;
    let mut flaws = Vec::new();
    let federated = federated(&message.federated_bundles, &mut flaws);
    let bundles = own(&message.svids, old, federated, &mut flaws);
    let svids = svids(&message.svids, old, &bundles, now, &mut flaws);
    let bundles = at_home(&svids, old, bundles);
    Ok(Decoded {
        snapshot: IdentitySnapshot::new(svids, bundles),
        flaws,
    })
}

fn check_size(message: &workload::X509svidResponse) -> Result<(), Flaw> {
    if message.svids.is_empty() {
        return Err(Flaw::NoSvid);
    }
    if message.svids.len() > MAX_SVIDS {
        return Err(Flaw::TooManySvids { limit: MAX_SVIDS });
    }
    if message.federated_bundles.len() > MAX_BUNDLES {
        return Err(Flaw::TooManyBundles { limit: MAX_BUNDLES });
    }
    Ok(())
}

fn federated(bundles: &HashMap<String, Vec<u8>>, flaws: &mut Vec<Flaw>) -> BundleSet {
    let read = |(name, der): (&String, &Vec<u8>)| {
        let trust_domain = TrustDomain::from_id_or_name(name).map_err(Flaw::FederatedName)?;
        TrustBundle::from_der(trust_domain.clone(), der).map_err(|source| Flaw::FederatedBundle {
            trust_domain,
            source,
        })
    };
    bundles
        .iter()
        .map(read)
        .filter_map(|r| kept(r, flaws))
        .collect()
}

/// Adds the bundles of our own trust domains, which stand above federated ones of the same name.
fn own(
    svids: &[workload::X509svid],
    old: &IdentitySnapshot,
    federated: BundleSet,
    flaws: &mut Vec<Flaw>,
) -> BundleSet {
    let mut bundles = federated;
    let mut done = HashSet::new();
    for svid in svids {
        // A malformed ID is told when the SVID is read.
        let Ok(id) = svid.spiffe_id.parse::<SpiffeId>() else {
            continue;
        };
        let trust_domain = id.trust_domain();
        if !done.insert(trust_domain.clone()) {
            continue;
        }
        let read = TrustBundle::from_der(trust_domain.clone(), &svid.bundle);
        let flaw = |source| Flaw::Bundle {
            trust_domain: trust_domain.clone(),
            source,
        };
        bundles = match kept(read.map_err(flaw), flaws)
            .or_else(|| old.bundles().get(&trust_domain).cloned())
        {
            Some(bundle) => bundles.with(bundle),
            None => bundles.without(&trust_domain),
        };
    }
    bundles
}

fn svids(
    messages: &[workload::X509svid],
    old: &IdentitySnapshot,
    bundles: &BundleSet,
    now: SystemTime,
    flaws: &mut Vec<Flaw>,
) -> Vec<X509Svid> {
    let mut hints = HashSet::new();
    // Of those with the same hint the first one counts (SPIFFE Workload API section 5.2.1).
    let told_apart = messages
        .iter()
        .filter(|m| hint(m).is_empty() || hints.insert(hint(m)));
    told_apart
        .filter_map(|message| {
            kept(svid(message, bundles, now), flaws).or_else(|| predecessor(message, old, now))
        })
        .collect()
}

/// Reads one SVID and judges it as a peer would.
fn svid(
    message: &workload::X509svid,
    bundles: &BundleSet,
    now: SystemTime,
) -> Result<X509Svid, Flaw> {
    let said: SpiffeId = message.spiffe_id.parse().map_err(Flaw::Id)?;
    let svid =
        X509Svid::from_der(&message.x509_svid, &message.x509_svid_key).map_err(|source| {
            Flaw::Svid {
                id: said.clone(),
                source,
            }
        })?;
    if *svid.id() != said {
        let found = svid.id().clone();
        return Err(Flaw::ForeignSvid { said, found });
    }
    believable(&svid, bundles, now).map_err(|source| Flaw::Unbelievable { id: said, source })?;
    Ok(svid.with_hint(hint(message)))
}

fn hint(message: &workload::X509svid) -> &str {
    match &*message.hint {
        hint if hint.len() <= MAX_HINT => hint,
        _ => "",
    }
}

fn believable(svid: &X509Svid, bundles: &BundleSet, now: SystemTime) -> Result<(), VerifyError> {
    let chain: Vec<_> = svid.chain().iter().map(|c| c.der().clone()).collect();
    // The clock of who signed may be ahead of ours.
    let begins = svid.chain().iter().map(|c| c.not_before()).max();
    let now = begins
        .filter(|begins| *begins <= now + CLOCK_SKEW)
        .map_or(now, |begins| begins.max(now));
    // It may be meant for one of the roles only.
    x509_peer(&chain, bundles, Role::Server, now)
        .or_else(|_| x509_peer(&chain, bundles, Role::Client, now))
        .map(|_| ())
}

/// The SVID that a flawed one would have replaced, while it is valid.
fn predecessor(
    message: &workload::X509svid,
    old: &IdentitySnapshot,
    now: SystemTime,
) -> Option<X509Svid> {
    let same =
        |svid: &&X509Svid| svid.id().as_str() == message.spiffe_id && svid.hint() == hint(message);
    let valid = old.svids().iter().filter(|svid| now <= svid.not_after());
    valid.clone().find(same).cloned().or_else(|| {
        // Even the name is garbled. With one identity there is no doubt which one is meant.
        let mut valid = valid.filter(|_| message.spiffe_id.parse::<SpiffeId>().is_err());
        valid.next().filter(|_| old.svids().len() == 1).cloned()
    })
}

/// An SVID that was kept although its name in the message is garbled keeps its own bundle as well.
fn at_home(svids: &[X509Svid], old: &IdentitySnapshot, bundles: BundleSet) -> BundleSet {
    svids
        .iter()
        .map(|svid| svid.id().trust_domain())
        .fold(bundles, |bundles, home| match old.bundles().get(&home) {
            Some(bundle) if bundles.get(&home).is_none() => bundles.with(bundle.clone()),
            _ => bundles,
        })
}

fn kept<T>(read: Result<T, Flaw>, flaws: &mut Vec<Flaw>) -> Option<T> {
    read.map_err(|flaw| flaws.push(flaw)).ok()
}

/// How many SVIDs one message may hold.
const MAX_SVIDS: usize = 100;
/// How many federated bundles one message may hold.
const MAX_BUNDLES: usize = 200;
/// How long a hint may be; longer ones are ignored.
const MAX_HINT: usize = 1024;
/// How far the clock of who signed may be ahead.
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

//! X.509-SVIDs with their bundles: from a message to a snapshot.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::SystemTime;

use super::{Decoded, kept, short, told_apart};
use crate::bundle::{BundleSet, TrustBundle};
use crate::proto::workload;
use crate::snapshot::IdentitySnapshot;
use crate::telemetry;
use crate::verify::own_svid;
use crate::workload_api::{Flaw, Limits};
use crate::x509::{Crl, X509Svid};
use crate::{SpiffeId, TrustDomain};

/// Reads a message that replaces what `old` holds.
///
/// An SVID or own bundle with a flaw leaves the old one in place, so that a failed renewal takes
/// nothing away; a federated bundle with a flaw leaves none, so that its trust domain is not
/// believed by mistake.
///
/// # Errors
///
/// Where the message is discarded as a whole.
pub(in crate::workload_api) fn x509(
    message: &workload::X509svidResponse,
    old: &IdentitySnapshot,
    now: SystemTime,
    limits: &Limits,
) -> Result<Decoded<IdentitySnapshot>, Flaw> {
    check_size(message, limits)?;
    let mut flaws = Vec::new();
    let federated = federated(&message.federated_bundles, &mut flaws);
    let bundles = own(&message.svids, old, federated, &mut flaws);
    let mut svids = svids(&message.svids, old, &bundles, now, &mut flaws);
    if svids.is_empty() {
        // A message of flaws alone is a renewal that failed, whatever its SVIDs are said to be.
        svids = still_valid(old, now).cloned().collect();
    }
    let bundles = at_home(&svids, old, bundles);
    let crls = crls(&message.crl, &mut flaws);
    Ok(Decoded {
        value: IdentitySnapshot::new(svids, bundles).with_crls(crls),
        flaws,
    })
}

fn check_size(message: &workload::X509svidResponse, limits: &Limits) -> Result<(), Flaw> {
    if message.svids.is_empty() {
        return Err(Flaw::NoSvid);
    }
    if message.svids.len() > limits.svids() {
        let limit = limits.svids();
        return Err(Flaw::TooManySvids { limit });
    }
    let limit = limits.bundles();
    if message.federated_bundles.len() > limit {
        return Err(Flaw::TooManyBundles { limit });
    }
    if message.crl.len() > limit {
        return Err(Flaw::TooManyCrls { limit });
    }
    Ok(())
}

/// Reads the revocation lists. One with a flaw is left out: nobody is believed for it.
fn crls(lists: &[Vec<u8>], flaws: &mut Vec<Flaw>) -> Vec<Crl> {
    let read = |(index, der): (usize, &Vec<u8>)| {
        Crl::from_der(der).map_err(|source| Flaw::Crl { index, source })
    };
    let lists = lists.iter().enumerate();
    lists.map(read).filter_map(|r| kept(r, flaws)).collect()
}

fn federated(bundles: &HashMap<String, Vec<u8>>, flaws: &mut Vec<Flaw>) -> BundleSet {
    let read = |(name, der): (&String, &Vec<u8>)| {
        let trust_domain = TrustDomain::from_id_or_name(name).map_err(Flaw::FederatedName)?;
        TrustBundle::from_der(trust_domain.clone(), der).map_err(|source| Flaw::FederatedBundle {
            trust_domain,
            source,
        })
    };
    // In order, so that the same message always means the same.
    let bundles: BTreeMap<_, _> = bundles.iter().collect();
    let bundles = bundles.into_iter().map(read);
    bundles.filter_map(|r| kept(r, flaws)).collect()
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
    told_apart(messages, |message| &message.hint)
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
    if message.bundle.is_empty() {
        return Err(Flaw::SvidWithoutBundle(said));
    }
    let svid =
        X509Svid::from_der(&message.x509_svid, &message.x509_svid_key).map_err(|source| {
            Flaw::Svid {
                id: said.clone(),
                source,
            }
        })?;
    telemetry::own_clock_skew(svid.leaf(), now);
    if *svid.id() != said {
        let found = svid.id().clone();
        return Err(Flaw::ForeignSvid { said, found });
    }
    own_svid(&svid, bundles, now).map_err(|source| Flaw::Unbelievable { id: said, source })?;
    Ok(svid.with_hint(hint(message)))
}

fn hint(message: &workload::X509svid) -> &str {
    short(&message.hint)
}

/// The SVID that a flawed one would have replaced, while it is valid.
fn predecessor(
    message: &workload::X509svid,
    old: &IdentitySnapshot,
    now: SystemTime,
) -> Option<X509Svid> {
    let same =
        |svid: &&X509Svid| svid.id().as_str() == message.spiffe_id && svid.hint() == hint(message);
    still_valid(old, now).find(same).cloned().or_else(|| {
        // Even the name is garbled. With one identity there is no doubt which one is meant.
        let garbled = message.spiffe_id.parse::<SpiffeId>().is_err();
        let mut valid = still_valid(old, now).filter(|_| garbled && old.svids().len() == 1);
        valid.next().cloned()
    })
}

fn still_valid(old: &IdentitySnapshot, now: SystemTime) -> impl Iterator<Item = &X509Svid> {
    let svids = old.svids().iter();
    svids.filter(move |svid| now <= svid.not_after())
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

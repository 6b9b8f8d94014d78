//! The `federation` block: the endpoint that serves our bundle, and those we federate with.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use spiffe_core::{SpiffeId, TrustDomain};
use spiffe_hyper::federation::EndpointUrl;

use crate::config::{
    Entry, Fields, GoDuration, Issues, Node, Place, Value, duration, parsed, path, port, suggest,
    text,
};
use crate::domain::{EndpointProfile, Relationship};

/// With whom bundles are exchanged, and how.
#[derive(Debug, Clone, Default)]
pub struct FederationConfig {
    /// Where our own bundle is served, if it is.
    pub endpoint: Option<EndpointConfig>,
    /// Those we federate with.
    pub relationships: Vec<Relationship>,
}

/// A server of our own bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How often others are told to ask.
    pub refresh_hint: Duration,
    /// How it proves who it is.
    pub proof: EndpointProof,
}

/// How our endpoint proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointProof {
    /// By the server's own X.509-SVID.
    Svid,
    /// By a certificate of the web, from files.
    Web {
        /// The certificates, leaf first.
        certificate: PathBuf,
        /// The key of the leaf.
        key: PathBuf,
        /// How often the files are looked at, if it is said.
        look_every: Option<Duration>,
    },
}

/// Reads the block. Unknown keys are warned of only: SPIRE passes them over.
pub(super) fn federation(fields: &mut Fields<'_>) -> Option<FederationConfig> {
    fields.lenient();
    let endpoint = fields.optional("bundle_endpoint", |node, issues| {
        node.fields(issues, bundle_endpoint)
    });
    let relationships = fields.labelled("federates_with", |entry, issues| {
        let relationship = relationship(entry, issues)?;
        Some((relationship, entry.place.clone()))
    });
    Some(FederationConfig {
        endpoint,
        relationships: each_once(fields, relationships),
    })
}

impl FederationConfig {
    /// Notes as a fault what cannot be in this trust domain.
    pub(super) fn check(&self, fields: &mut Fields<'_>, own: &TrustDomain) {
        let mut domains = self.relationships.iter().map(|known| &known.trust_domain);
        if domains.any(|domain| domain == own) {
            let what = format!("federates_with names `{own}`, which is our own trust domain");
            fields.fault("federation", what);
        }
    }
}

/// A trust domain can be written as a name and as an ID, so two labels may mean the same one.
fn each_once(
    fields: &mut Fields<'_>,
    relationships: Vec<(Relationship, Place)>,
) -> Vec<Relationship> {
    let mut once: Vec<Relationship> = Vec::new();
    for (relationship, place) in relationships {
        let domain = &relationship.trust_domain;
        if once.iter().any(|known| known.trust_domain == *domain) {
            let what = format!("there is another block for `{domain}`; keep one of them");
            fields.fault_at(&place, what);
        } else {
            once.push(relationship);
        }
    }
    once
}

fn bundle_endpoint(fields: &mut Fields<'_>) -> Option<EndpointConfig> {
    fields.lenient();
    let address = fields.or("address", parsed, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let port = fields.required("port", port);
    let refresh_hint = fields.or("refresh_hint", duration, REFRESH_HINT);
    warn_of_hint(fields, refresh_hint);
    if fields.has("acme") {
        fields.fault("acme", NO_ACME);
    }
    let proof = if fields.has("profile") {
        fields.required("profile", |node, issues| {
            one_profile(node, issues).and_then(|profile| proof(profile, issues))
        })
    } else {
        fields.warn(
            "profile",
            "is not set, so it is `profile \"https_spiffe\" {}`",
        );
        Some(EndpointProof::Svid)
    };
    Some(EndpointConfig {
        listen: SocketAddr::new(address, port?),
        refresh_hint,
        proof: proof?,
    })
}

fn warn_of_hint(fields: &mut Fields<'_>, hint: Duration) {
    let told = GoDuration(hint);
    if hint >= LONG_HINT {
        let what = format!(
            "{told} is long: that late others learn of an authority that came or went unplanned. \
             5m is usual"
        );
        fields.warn("refresh_hint", what);
    } else if hint < SHORT_HINT {
        let what = format!("{told} is short: nobody asks more often than once a minute");
        fields.warn("refresh_hint", what);
    }
}

fn proof(profile: &Entry, issues: &mut Issues) -> Option<EndpointProof> {
    match &*profile.key {
        HTTPS_SPIFFE => Some(EndpointProof::Svid),
        _ => profile.node.fields(issues, |fields| {
            fields.lenient();
            if fields.has("acme") {
                fields.fault("acme", NO_ACME);
                // What else is there is known, and counts for nothing.
                fields.has("serving_cert_file");
                return None;
            }
            fields.required("serving_cert_file", |node, issues| {
                node.fields(issues, serving_files)
            })
        }),
    }
}

fn serving_files(fields: &mut Fields<'_>) -> Option<EndpointProof> {
    fields.lenient();
    let certificate = fields.required("cert_file_path", path);
    let key = fields.required("key_file_path", path);
    let look_every = fields.optional("file_sync_interval", duration);
    Some(EndpointProof::Web {
        certificate: certificate?,
        key: key?,
        // Zero is how SPIRE is told to take its default.
        look_every: look_every.filter(|interval| !interval.is_zero()),
    })
}

fn relationship(entry: &Entry, issues: &mut Issues) -> Option<Relationship> {
    let trust_domain = match TrustDomain::from_id_or_name(&entry.key) {
        Ok(trust_domain) => Some(trust_domain),
        Err(error) => {
            let what = format!("`{}` is no trust domain: {error}", entry.key);
            issues.fault(&entry.place, what);
            None
        }
    };
    entry.node.fields(issues, |fields| {
        fields.lenient();
        let url = fields.required("bundle_endpoint_url", |node, issues| {
            let _: EndpointUrl = parsed(node, issues)?;
            text(node, issues)
        });
        let profile = fields.required("bundle_endpoint_profile", |node, issues| {
            one_profile(node, issues).and_then(|profile| endpoint_profile(profile, issues))
        });
        Some(Relationship {
            trust_domain: trust_domain?,
            bundle_endpoint_url: url?,
            profile: profile?,
        })
    })
}

fn endpoint_profile(profile: &Entry, issues: &mut Issues) -> Option<EndpointProfile> {
    profile.node.fields(issues, |fields| {
        fields.lenient();
        if profile.key != HTTPS_SPIFFE {
            return Some(EndpointProfile::HttpsWeb);
        }
        let id: Option<SpiffeId> = fields.required("endpoint_spiffe_id", parsed);
        id.map(EndpointProfile::HttpsSpiffe)
    })
}

/// The one profile that a block names, `profile "https_web" {}`.
fn one_profile<'n>(node: &'n Node, issues: &mut Issues) -> Option<&'n Entry> {
    let Value::Table(table) = &node.value else {
        return node.unfit(issues, "a block labelled \"https_spiffe\" or \"https_web\"");
    };
    let [profile] = &table.entries[..] else {
        issues.fault(&node.place, "is to name exactly one profile");
        return None;
    };
    if PROFILES.contains(&&*profile.key) {
        return Some(profile);
    }
    let mut what = "is not a profile; those are `https_spiffe` and `https_web`".to_owned();
    if let Some(meant) = suggest(&profile.key, PROFILES) {
        what.push_str(&format!("; did you mean `{meant}`?"));
    }
    issues.fault(&profile.place, what);
    None
}

const HTTPS_SPIFFE: &str = "https_spiffe";
const PROFILES: [&str; 2] = [HTTPS_SPIFFE, "https_web"];
const NO_ACME: &str = "is not supported: let an ACME client, such as certbot, write the certificate \
                       to files, and name those in `profile \"https_web\" { serving_cert_file { \
                       cert_file_path = \"…\", key_file_path = \"…\" } }`; they are read again \
                       when they change";
/// How often others are to ask where nothing is said.
const REFRESH_HINT: Duration = Duration::from_secs(300);
const LONG_HINT: Duration = Duration::from_secs(24 * 3600);
const SHORT_HINT: Duration = Duration::from_secs(60);

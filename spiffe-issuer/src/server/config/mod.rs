//! The server's configuration: SPIRE's keys, read into values that are all meant.

mod federation;
mod lifetimes;
#[cfg(test)]
mod tests;
mod unsupported;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::x509::KeyKind;
use spiffe_core::{SpiffeId, TrustDomain};

use super::api::{ApiPolicy, RateLimits};
use super::built_ins::{
    CREDENTIAL_COMPOSERS, DATA_STORES, KEY_MANAGERS, MakeAttestor, NODE_ATTESTORS,
    UPSTREAM_AUTHORITIES,
};
use super::ca::{CaConfig, CaSubject, CredentialComposer, UpstreamAuthority};
use super::nodes::NodePolicy;
use super::store::OpenStore;
use super::svids::{SvidPolicy, TokenPolicy};
use crate::config::{
    Checked, Fields, Issues, Node, Place, boolean, list, parsed, path, placed, port, socket_path,
    text,
};
use crate::keys::KeyManager;
use crate::plugin::{self, Chosen, Surroundings};
use crate::runtime::telemetry::Log;
use federation::federation;
use lifetimes::lifetime;

pub use federation::{EndpointConfig, EndpointProof, FederationConfig};

/// What the server runs with. To hold one is to have a configuration without faults.
#[derive(Debug)]
pub struct ServerConfig {
    /// Whose identities it issues.
    pub trust_domain: TrustDomain,
    /// Where it serves everyone.
    pub listen: SocketAddr,
    /// Where it serves its operator.
    pub socket_path: PathBuf,
    /// Where its files are.
    pub data_dir: PathBuf,
    /// How it logs.
    pub log: Log,
    /// What its authorities are like.
    pub ca: CaConfig,
    /// What SVIDs are like.
    pub svids: SvidPolicy,
    /// How it treats nodes.
    pub nodes: NodePolicy,
    /// How it treats callers.
    pub api: ApiPolicy,
    /// With whom it exchanges bundles.
    pub federation: FederationConfig,
    /// What it stands on.
    pub plugins: Plugins,
}

/// What the server stands on.
#[derive(Debug)]
pub struct Plugins {
    /// What it remembers with.
    pub store: Chosen<dyn OpenStore>,
    /// What keeps its keys.
    pub keys: Chosen<dyn KeyManager>,
    /// What stands above its own authority, if anything does.
    pub upstream: Option<Chosen<dyn UpstreamAuthority>>,
    /// What adds to certificates, in this order.
    pub composers: Vec<Chosen<dyn CredentialComposer>>,
    /// What judges nodes.
    pub attestors: Vec<Chosen<MakeAttestor>>,
}

impl ServerConfig {
    /// Reads a whole configuration, the settings of plugins too.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn read(root: &Node) -> Result<Checked<Self>, Issues> {
        let mut issues = Issues::default();
        let config = root.fields(&mut issues, |fields| {
            let server = fields.required("server", |node, issues| node.fields(issues, server));
            let plugins = fields.required("plugins", |node, issues| node.fields(issues, plugins));
            unsupported::sections(fields);
            let server = server?;
            Some(Self {
                trust_domain: server.trust_domain,
                listen: server.listen,
                socket_path: server.socket_path,
                data_dir: server.data_dir,
                log: server.log,
                ca: server.ca,
                svids: server.svids,
                nodes: server.nodes,
                api: server.api,
                federation: server.federation,
                plugins: plugins?,
            })
        });
        // Also with faults elsewhere, so that all of them are told at once.
        let made = config
            .as_ref()
            .map(|config| config.make_plugins(Arc::new(SystemClock)));
        if let Some(Err(faults)) = made {
            issues.append(faults);
        }
        issues.finish(config)
    }
}

impl ServerConfig {
    /// Makes the plugins, and with that reads what is configured about them.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with their settings.
    pub fn make_plugins(&self, clock: Arc<dyn Clock>) -> Result<MadePlugins, Issues> {
        let surroundings = Surroundings {
            trust_domain: self.trust_domain.clone(),
            clock,
            data_dir: Some(self.data_dir.clone()),
        };
        let mut issues = Issues::default();
        let mut attestors = Vec::new();
        for chosen in &self.plugins.attestors {
            let made = noted(chosen.make(&surroundings), &mut issues);
            attestors.extend(made.map(|made| (chosen.name(), made)));
        }
        let mut composers = Vec::new();
        for chosen in &self.plugins.composers {
            composers.extend(noted(chosen.make(&surroundings), &mut issues));
        }
        let upstream = self.plugins.upstream.as_ref();
        let upstream = upstream.and_then(|u| noted(u.make(&surroundings), &mut issues));
        let store = noted(self.plugins.store.make(&surroundings), &mut issues);
        let keys = noted(self.plugins.keys.make(&surroundings), &mut issues);
        match (store, keys) {
            (Some(store), Some(keys)) if issues.is_faultless() => Ok(MadePlugins {
                store,
                keys,
                upstream,
                composers,
                attestors,
            }),
            _ => Err(issues),
        }
    }
}

/// What was made, if it was; what was wrong with it is told with the rest.
fn noted<T>(made: Result<T, Issues>, issues: &mut Issues) -> Option<T> {
    made.map_err(|faults| issues.append(faults)).ok()
}

/// The plugins, ready to be used.
pub struct MadePlugins {
    /// What the server remembers with.
    pub store: Arc<dyn OpenStore>,
    /// What keeps its keys.
    pub keys: Arc<dyn KeyManager>,
    /// What stands above the server's own authority, if anything does.
    pub upstream: Option<Arc<dyn UpstreamAuthority>>,
    /// What adds to certificates.
    pub composers: Vec<Arc<dyn CredentialComposer>>,
    /// What judges nodes, by its name.
    pub attestors: Vec<(&'static str, Arc<MakeAttestor>)>,
}

/// The `server` block.
struct Server {
    trust_domain: TrustDomain,
    listen: SocketAddr,
    socket_path: PathBuf,
    data_dir: PathBuf,
    log: Log,
    ca: CaConfig,
    svids: SvidPolicy,
    nodes: NodePolicy,
    api: ApiPolicy,
    federation: FederationConfig,
}

fn server(fields: &mut Fields<'_>) -> Option<Server> {
    let trust_domain = fields.required("trust_domain", trust_domain);
    let data_dir = fields.required("data_dir", path);
    let address = fields.or("bind_address", parsed, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let port = fields.or("bind_port", port, DEFAULT_PORT);
    let socket_path = fields.or("socket_path", socket_path, DEFAULT_SOCKET.into());
    let log = log(fields);
    let ca = ca(fields);
    let x509_svid_ttl = fields.or("default_x509_svid_ttl", lifetime, lifetimes::DEFAULT_SVID);
    let agent_ttl = fields.or("agent_ttl", lifetime, x509_svid_ttl);
    let jwt_svid_ttl = fields.or(
        "default_jwt_svid_ttl",
        lifetime,
        lifetimes::DEFAULT_JWT_SVID,
    );
    let jwt_issuer = fields.optional("jwt_issuer", text);
    let experiments = fields
        .optional("experimental", |node, issues| {
            node.fields(issues, experimental)
        })
        .unwrap_or_default();
    let admin_ids = fields.or("admin_ids", list(placed(parsed)), Vec::new());
    let limits = fields
        .optional("ratelimit", |node, issues| node.fields(issues, ratelimit))
        .unwrap_or_default();
    let federation = fields
        .optional("federation", |node, issues| node.fields(issues, federation))
        .unwrap_or_default();
    let audit_every_call = fields.or("audit_log_enabled", boolean, false);
    unsupported::server(fields);

    let given = |text: String| (!text.is_empty()).then_some(text);
    let svids = SvidPolicy {
        x509_ttl: x509_svid_ttl,
        jwt: ca.jwt.map(|_| TokenPolicy {
            ttl: jwt_svid_ttl,
            issuer: jwt_issuer.and_then(given),
        }),
        wit: experiments.wit.then(|| TokenPolicy {
            ttl: x509_svid_ttl,
            issuer: experiments.wit_issuer.clone().and_then(given),
        }),
        ca_ttl: ca.lifetime,
    };
    lifetimes::compare(fields, ca.lifetime, &svids, agent_ttl);
    let trust_domain = trust_domain?;
    federation.check(fields, &trust_domain);
    Some(Server {
        listen: SocketAddr::new(address, port),
        socket_path,
        data_dir: data_dir?,
        log,
        ca: ca.of(trust_domain.clone(), &experiments),
        svids,
        nodes: NodePolicy {
            agent_ttl,
            id_as_selector: experiments.id_as_selector,
        },
        api: ApiPolicy {
            admin_ids: admins(fields, admin_ids, &trust_domain),
            limits,
            audit_every_call,
        },
        federation,
        trust_domain,
    })
}

/// Administrators from elsewhere are told from impostors by the bundle of their trust domain.
fn admins(
    fields: &mut Fields<'_>,
    ids: Vec<(SpiffeId, Place)>,
    trust_domain: &TrustDomain,
) -> BTreeSet<SpiffeId> {
    for (id, place) in ids.iter().filter(|(id, _)| !id.is_member_of(trust_domain)) {
        let elsewhere = id.trust_domain();
        let what = format!("`{id}` is let in only while there is a bundle of `{elsewhere}`");
        fields.warn_at(place, what);
    }
    ids.into_iter().map(|(id, _)| id).collect()
}

fn log(fields: &mut Fields<'_>) -> Log {
    Log {
        level: fields.or("log_level", parsed, Default::default()),
        format: fields.or("log_format", parsed, Default::default()),
        file: fields.optional("log_file", path),
        source_location: fields.or("log_source_location", boolean, false),
    }
}

/// What is configured about authorities; their trust domain is read beside them.
struct Ca {
    lifetime: Duration,
    key_kind: KeyKind,
    jwt: Option<KeyKind>,
    subject: CaSubject,
}

impl Ca {
    fn of(self, trust_domain: TrustDomain, experiments: &Experiments) -> CaConfig {
        let wit = experiments.wit_key_kind.unwrap_or(self.key_kind);
        CaConfig {
            trust_domain,
            subject: self.subject,
            key_kind: self.key_kind,
            jwt: self.jwt,
            wit: experiments.wit.then_some(wit),
            lifetime: self.lifetime,
        }
    }
}

fn ca(fields: &mut Fields<'_>) -> Ca {
    let ca_key_kind = fields.or("ca_key_type", key_kind, KeyKind::EcP256);
    let jwt = fields.or("jwt_key_type", key_kind, ca_key_kind);
    Ca {
        lifetime: fields.or("ca_ttl", lifetime, lifetimes::DEFAULT_CA),
        key_kind: ca_key_kind,
        jwt: (!fields.or("disable_jwt_svids", boolean, false)).then_some(jwt),
        subject: fields
            .optional("ca_subject", |node, issues| node.fields(issues, ca_subject))
            .unwrap_or_default(),
    }
}

fn ca_subject(fields: &mut Fields<'_>) -> Option<CaSubject> {
    let country = fields.or("country", list(text), Vec::new());
    let organization = fields.or("organization", list(text), Vec::new());
    let common_name = fields.or("common_name", text, String::new());
    let named = !(country.is_empty() && organization.is_empty() && common_name.is_empty());
    named.then_some(CaSubject {
        country,
        organization,
        common_name,
    })
}

fn ratelimit(fields: &mut Fields<'_>) -> Option<RateLimits> {
    Some(RateLimits {
        attestation: fields.or("attestation", boolean, true),
        signing: fields.or("signing", boolean, true),
    })
}

/// The experiments that are taken part in.
#[derive(Default)]
struct Experiments {
    /// Agents get their ID as a selector.
    id_as_selector: bool,
    /// There are WIT-SVIDs.
    wit: bool,
    wit_key_kind: Option<KeyKind>,
    wit_issuer: Option<String>,
}

fn experimental(fields: &mut Fields<'_>) -> Option<Experiments> {
    fields.lenient();
    let flags = fields.or("feature_flags", list(placed(text)), Vec::new());
    for (flag, place) in flags.iter().filter(|(flag, _)| flag != WIT_FLAG) {
        fields.warn_at(
            place,
            format!("`{flag}` is not a known feature and has no effect"),
        );
    }
    let experiments = Experiments {
        id_as_selector: fields.or("agent_spiffe_id_as_selector", boolean, false),
        wit: flags.iter().any(|(flag, _)| flag == WIT_FLAG),
        wit_key_kind: fields.optional("wit_key_type", key_kind),
        wit_issuer: fields.optional("wit_issuer", text),
    };
    unsupported::experimental(fields);
    Some(experiments)
}

fn plugins(fields: &mut Fields<'_>) -> Option<Plugins> {
    let store = plugin::one(fields, "DataStore", DATA_STORES);
    let keys = plugin::one(fields, "KeyManager", KEY_MANAGERS);
    let upstream = plugin::at_most_one(fields, "UpstreamAuthority", UPSTREAM_AUTHORITIES);
    let composers = plugin::any_number(fields, "CredentialComposer", CREDENTIAL_COMPOSERS);
    let attestors = plugin::any_number(fields, "NodeAttestor", NODE_ATTESTORS);
    unsupported::plugins(fields);
    Some(Plugins {
        store: store?,
        keys: keys?,
        upstream,
        composers,
        attestors,
    })
}

fn trust_domain(node: &Node, issues: &mut Issues) -> Option<TrustDomain> {
    let name = text(node, issues)?;
    match TrustDomain::from_id_or_name(&name) {
        Ok(trust_domain) => Some(trust_domain),
        Err(error) => node.unfit(issues, format_args!("a trust domain: {error}")),
    }
}

fn key_kind(node: &Node, issues: &mut Issues) -> Option<KeyKind> {
    match &*text(node, issues)? {
        "ec-p256" => Some(KeyKind::EcP256),
        "ec-p384" => Some(KeyKind::EcP384),
        "rsa-2048" => Some(KeyKind::Rsa2048),
        "rsa-4096" => Some(KeyKind::Rsa4096),
        _ => node.unfit(
            issues,
            "one of `ec-p256`, `ec-p384`, `rsa-2048`, `rsa-4096`",
        ),
    }
}

/// The feature that stands for WIT-SVIDs.
const WIT_FLAG: &str = "wit-svid";

const DEFAULT_PORT: u16 = 8081;
const DEFAULT_SOCKET: &str = "/tmp/spire-server/private/api.sock";

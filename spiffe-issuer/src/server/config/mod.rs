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
use super::built_ins::{DATA_STORES, KEY_MANAGERS, MakeAttestor, NODE_ATTESTORS};
use super::ca::{CaConfig, CaSubject};
use super::nodes::NodePolicy;
use super::store::OpenStore;
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
    /// How long an X.509-SVID lives whose entry does not say.
    pub x509_svid_ttl: Duration,
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
                x509_svid_ttl: server.x509_svid_ttl,
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
        let store = noted(self.plugins.store.make(&surroundings), &mut issues);
        let keys = noted(self.plugins.keys.make(&surroundings), &mut issues);
        match (store, keys) {
            (Some(store), Some(keys)) if issues.is_faultless() => Ok(MadePlugins {
                store,
                keys,
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
    x509_svid_ttl: Duration,
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
    let id_as_selector = fields
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

    lifetimes::compare(fields, ca.lifetime, x509_svid_ttl, agent_ttl);
    let trust_domain = trust_domain?;
    federation.check(fields, &trust_domain);
    Some(Server {
        listen: SocketAddr::new(address, port),
        socket_path,
        data_dir: data_dir?,
        log,
        ca: ca.of(trust_domain.clone()),
        x509_svid_ttl,
        nodes: NodePolicy {
            agent_ttl,
            id_as_selector,
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
    subject: CaSubject,
}

impl Ca {
    fn of(self, trust_domain: TrustDomain) -> CaConfig {
        CaConfig {
            trust_domain,
            subject: self.subject,
            key_kind: self.key_kind,
            lifetime: self.lifetime,
        }
    }
}

fn ca(fields: &mut Fields<'_>) -> Ca {
    Ca {
        lifetime: fields.or("ca_ttl", lifetime, lifetimes::DEFAULT_CA),
        key_kind: fields.or("ca_key_type", key_kind, KeyKind::EcP256),
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

/// Whether agents get their ID as a selector: the one experiment that is taken part in.
fn experimental(fields: &mut Fields<'_>) -> Option<bool> {
    fields.lenient();
    let id_as_selector = fields.or("agent_spiffe_id_as_selector", boolean, false);
    unsupported::experimental(fields);
    Some(id_as_selector)
}

fn plugins(fields: &mut Fields<'_>) -> Option<Plugins> {
    let store = plugin::one(fields, "DataStore", DATA_STORES);
    let keys = plugin::one(fields, "KeyManager", KEY_MANAGERS);
    let attestors = plugin::any_number(fields, "NodeAttestor", NODE_ATTESTORS);
    unsupported::plugins(fields);
    Some(Plugins {
        store: store?,
        keys: keys?,
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

const DEFAULT_PORT: u16 = 8081;
const DEFAULT_SOCKET: &str = "/tmp/spire-server/private/api.sock";

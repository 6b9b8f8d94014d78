//! The agent's configuration: SPIRE's keys, read into values that are all meant.

#[cfg(test)]
mod tests;
mod unsupported;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use spiffe_core::TrustDomain;
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::x509::KeyKind;

use super::built_ins::{KEY_MANAGERS, MakeProver, NODE_PROVERS, WORKLOAD_ATTESTORS};
use super::renewal::Renewal;
use crate::attestation::workload::WorkloadAttestor;
use crate::config::{
    Checked, Fields, Issues, Node, boolean, duration, parsed, path, port, socket_path, text, whole,
};
use crate::domain::JoinToken;
use crate::keys::KeyManager;
use crate::plugin::{self, Chosen, Surroundings};
use crate::runtime::telemetry::Log;

/// What the agent runs with. To hold one is to have a configuration without faults.
#[derive(Debug)]
pub struct AgentConfig {
    /// Whose identities it hands out.
    pub trust_domain: TrustDomain,
    /// Where its files are.
    pub data_dir: PathBuf,
    /// Where its server is.
    pub server: ServerAddress,
    /// Where workloads call it.
    pub socket_path: PathBuf,
    /// How it logs.
    pub log: Log,
    /// The join token to attest with, if it attests in that way.
    pub token: Option<TokenSource>,
    /// Whom it believes at first.
    pub bootstrap: BootstrapConfig,
    /// Whether callers without an identity get the bundle of the trust domain.
    pub allow_unauthenticated_verifiers: bool,
    /// What keys workloads get.
    pub workload_key_kind: KeyKind,
    /// How many SVIDs are kept that nobody waits for.
    pub svid_cache_size: usize,
    /// When certificates are renewed.
    pub renewal: Renewal,
    /// How often the server is asked what is new.
    pub sync_interval: Duration,
    /// What it stands on.
    pub plugins: Plugins,
}

/// A server's address: a name or an IP address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    host: String,
    port: u16,
}

/// Where a join token is found.
#[derive(Debug, Clone)]
pub enum TokenSource {
    /// In a file, which is read when the token is needed.
    File(PathBuf),
    /// Here.
    Here(JoinToken),
}

/// Where the first bundle comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootstrapConfig {
    /// A file of PEM certificates.
    File(PathBuf),
    /// Whoever answers as the server, the first time.
    FirstServer,
}

/// What the agent stands on.
#[derive(Debug)]
pub struct Plugins {
    /// What keeps its keys.
    pub keys: Chosen<dyn KeyManager>,
    /// What proves what its node is.
    pub prover: Chosen<MakeProver>,
    /// What finds out what workloads are.
    pub attestors: Vec<Chosen<dyn WorkloadAttestor>>,
}

/// The plugins, ready to be used.
pub struct MadePlugins {
    /// What keeps the agent's keys.
    pub keys: Arc<dyn KeyManager>,
    /// What proves what its node is, by its name.
    pub prover: (&'static str, Arc<MakeProver>),
    /// What finds out what workloads are, by its name.
    pub attestors: Vec<(&'static str, Arc<dyn WorkloadAttestor>)>,
}

impl AgentConfig {
    /// Reads a whole configuration, the settings of plugins too.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn read(root: &Node) -> Result<Checked<Self>, Issues> {
        let mut issues = Issues::default();
        let config = root.fields(&mut issues, |fields| {
            let agent = fields.required("agent", |node, issues| node.fields(issues, agent));
            let plugins = fields.required("plugins", |node, issues| node.fields(issues, plugins));
            unsupported::sections(fields);
            let make = agent?;
            Some(make(plugins?))
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
        let keys = noted(self.plugins.keys.make(&surroundings), &mut issues);
        let prover = noted(self.plugins.prover.make(&surroundings), &mut issues);
        match (keys, prover) {
            (Some(keys), Some(prover)) if issues.is_faultless() => Ok(MadePlugins {
                keys,
                prover: (self.plugins.prover.name(), prover),
                attestors,
            }),
            _ => Err(issues),
        }
    }
}

impl ServerAddress {
    /// This name or IP address, and this port.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.to_owned(),
            port,
        }
    }

    /// The address as the authority of a URI.
    #[must_use]
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.authority())
    }
}

/// The `agent` block: all but the plugins, which stand beside it.
fn agent(fields: &mut Fields<'_>) -> Option<impl FnOnce(Plugins) -> AgentConfig + use<>> {
    let trust_domain = fields.required("trust_domain", trust_domain);
    let data_dir = fields.or("data_dir", path, ".".into());
    let host = fields.required("server_address", host);
    let port = fields.required("server_port", port);
    let socket_path = fields.or("socket_path", socket_path, DEFAULT_SOCKET.into());
    let log = log(fields);
    let token = token(fields);
    let bootstrap = bootstrap(fields);
    let allow_unauthenticated_verifiers =
        fields.or("allow_unauthenticated_verifiers", boolean, false);
    let workload_key_kind = fields.or("workload_x509_svid_key_type", key_kind, KeyKind::EcP256);
    let svid_cache_size = fields.or("x509_svid_cache_max_size", cache_size, DEFAULT_CACHE_SIZE);
    let availability_target = fields.optional("availability_target", availability_target);
    let sync_interval = fields
        .optional("experimental", |node, issues| {
            node.fields(issues, experimental)
        })
        .unwrap_or(DEFAULT_SYNC_INTERVAL);
    unsupported::agent(fields);

    let (trust_domain, bootstrap) = (trust_domain?, bootstrap?);
    let server = ServerAddress {
        host: host?,
        port: port?,
    };
    Some(move |plugins| AgentConfig {
        trust_domain,
        data_dir,
        server,
        socket_path,
        log,
        token,
        bootstrap,
        allow_unauthenticated_verifiers,
        workload_key_kind,
        svid_cache_size,
        renewal: Renewal {
            availability_target,
        },
        sync_interval,
        plugins,
    })
}

fn plugins(fields: &mut Fields<'_>) -> Option<Plugins> {
    let keys = plugin::one(fields, "KeyManager", KEY_MANAGERS);
    let prover = plugin::one(fields, "NodeAttestor", NODE_PROVERS);
    let attestors = plugin::at_least_one(fields, "WorkloadAttestor", WORKLOAD_ATTESTORS);
    unsupported::plugins(fields);
    Some(Plugins {
        keys: keys?,
        prover: prover?,
        attestors,
    })
}

fn log(fields: &mut Fields<'_>) -> Log {
    Log {
        level: fields.or("log_level", parsed, Default::default()),
        format: fields.or("log_format", parsed, Default::default()),
        file: fields.optional("log_file", path),
        source_location: fields.or("log_source_location", boolean, false),
    }
}

fn token(fields: &mut Fields<'_>) -> Option<TokenSource> {
    let here = fields.optional("join_token", text);
    let file = fields.optional("join_token_file", path);
    if here.is_some() && file.is_some() {
        fields.fault(
            "join_token_file",
            "there is a join_token already; give one of them",
        );
    }
    let here = here.map(|text| TokenSource::Here(JoinToken::from_text(&text)));
    here.or(file.map(TokenSource::File))
}

/// Whom to believe at first: somebody has to be named.
fn bootstrap(fields: &mut Fields<'_>) -> Option<BootstrapConfig> {
    let file = fields.optional("trust_bundle_path", path);
    let insecure = fields.or("insecure_bootstrap", boolean, false);
    let elsewhere = unsupported::bootstrap(fields);
    match (file, insecure) {
        (Some(_), true) => {
            let what = "believes any server, and trust_bundle_path names one; give one of them";
            fields.fault("insecure_bootstrap", what);
            None
        }
        (Some(file), false) => Some(BootstrapConfig::File(file)),
        (None, true) => Some(BootstrapConfig::FirstServer),
        (None, false) if elsewhere => None,
        (None, false) => {
            let what = "is missing: the agent has to know whom to believe at first \
                        (or set insecure_bootstrap = true to believe any server)";
            fields.fault("trust_bundle_path", what);
            None
        }
    }
}

/// How often to sync: the one experiment that is taken part in.
fn experimental(fields: &mut Fields<'_>) -> Option<Duration> {
    fields.lenient();
    let interval = fields.or("sync_interval", sync_interval, DEFAULT_SYNC_INTERVAL);
    unsupported::experimental(fields);
    Some(interval)
}

fn sync_interval(node: &Node, issues: &mut Issues) -> Option<Duration> {
    let interval = duration(node, issues)?;
    if interval < Duration::from_secs(1) {
        return node.unfit(issues, "at least 1s");
    }
    Some(interval)
}

fn availability_target(node: &Node, issues: &mut Issues) -> Option<Duration> {
    let target = duration(node, issues)?;
    if target < Duration::from_secs(24 * 60 * 60) {
        return node.unfit(issues, "at least 24h");
    }
    Some(target)
}

/// 0 is the default, as it is for SPIRE.
fn cache_size(node: &Node, issues: &mut Issues) -> Option<usize> {
    match whole::<u32>(node, issues)? {
        0 => Some(DEFAULT_CACHE_SIZE),
        size => Some(size as usize),
    }
}

/// A name or an IP address; without the port, which has a setting of its own.
fn host(node: &Node, issues: &mut Issues) -> Option<String> {
    let host = text(node, issues)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_address = bare.parse::<std::net::IpAddr>().is_ok();
    let is_name = host.parse::<http::uri::Authority>().is_ok() && !host.contains([':', '@']);
    if is_address || is_name {
        return Some(bare.to_owned());
    }
    node.unfit(issues, "a name or an IP address (the port is server_port)")
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
        _ => node.unfit(issues, "one of `ec-p256`, `ec-p384`, `rsa-2048`"),
    }
}

/// What was made, if it was; what was wrong with it is told with the rest.
fn noted<T>(made: Result<T, Issues>, issues: &mut Issues) -> Option<T> {
    made.map_err(|faults| issues.append(faults)).ok()
}

const DEFAULT_SOCKET: &str = "/tmp/spire-agent/public/api.sock";
const DEFAULT_CACHE_SIZE: usize = 1000;
const DEFAULT_SYNC_INTERVAL: Duration = Duration::from_secs(5);

//! A trust domain below one folder: the configuration of its server and its agent, and the commands
//! by which an operator speaks to them.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::process::Command;

use crate::{processes::output, programs::Programs, trouble::Trouble};

pub(crate) const TRUST_DOMAIN: &str = "example.org";

/// The agent's second name, given with its join token: entries can hang from it before the agent is
/// there.
pub(crate) const NODE: &str = "spiffe://example.org/node";

pub(crate) struct Domain<'a> {
    programs: &'a Programs,
    folder: PathBuf,
}

impl<'a> Domain<'a> {
    /// Writes all configuration into `folder`.
    pub(crate) fn new(programs: &'a Programs, folder: &Path) -> Result<Self, Trouble> {
        let domain = Self {
            programs,
            folder: folder.to_path_buf(),
        };
        let writing = |source| Trouble::io("writing the configuration", source);
        fs::create_dir(folder.join("server")).map_err(writing)?;
        fs::create_dir(folder.join("agent")).map_err(writing)?;
        let port = free_address()?.port();
        fs::write(domain.path("server.conf"), domain.server_conf(port)).map_err(writing)?;
        fs::write(domain.path("agent.conf"), domain.agent_conf(port)).map_err(writing)?;
        Ok(domain)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where workloads ask who they are, as they expect it in `SPIFFE_ENDPOINT_SOCKET`.
    pub(crate) fn endpoint(&self) -> String {
        format!("unix://{}", self.path("agent.sock"))
    }

    pub(crate) fn server(&self) -> Command {
        let mut command = Command::new(&self.programs.server);
        command.args(["run", "-config", &self.path("server.conf")]);
        command
    }

    pub(crate) fn agent(&self, join_token: &str) -> Command {
        let mut command = Command::new(&self.programs.agent);
        command.args(["run", "-config", &self.path("agent.conf")]);
        command.args(["-joinToken", join_token]);
        command
    }

    pub(crate) async fn server_is_healthy(&self) -> Result<(), Trouble> {
        self.ask_server(&["healthcheck"]).await.map(drop)
    }

    pub(crate) async fn agent_is_healthy(&self) -> Result<(), Trouble> {
        let mut command = Command::new(&self.programs.agent);
        command.args(["healthcheck", "-socketPath", &self.path("agent.sock")]);
        output(command).await.map(drop)
    }

    /// Takes the trust bundle from the server to where the agent looks for it, and returns it.
    pub(crate) async fn bring_bundle(&self) -> Result<String, Trouble> {
        let bundle = self.ask_server(&["bundle", "show"]).await?;
        fs::write(self.path("bundle.pem"), &bundle)
            .map_err(|source| Trouble::io("writing the bundle", source))?;
        Ok(bundle)
    }

    pub(crate) async fn join_token(&self) -> Result<String, Trouble> {
        let said = self
            .ask_server(&["token", "generate", "-spiffeID", NODE])
            .await?;
        value_of("Token", &said).ok_or_else(|| Trouble::unexpected("`Token: ...`", said))
    }

    pub(crate) async fn register(
        &self,
        id: &str,
        selectors: &[String],
        ttl: Duration,
    ) -> Result<(), Trouble> {
        let ttl = ttl.as_secs().to_string();
        let mut arguments = vec!["entry", "create", "-parentID", NODE, "-spiffeID", id];
        arguments.extend(["-x509SVIDTTL", &ttl]);
        for selector in selectors {
            arguments.extend(["-selector", selector]);
        }
        self.ask_server(&arguments).await.map(drop)
    }

    /// What the server lists of the agents that have attested.
    pub(crate) async fn attested_agents(&self) -> Result<String, Trouble> {
        self.ask_server(&["agent", "list"]).await
    }

    async fn ask_server(&self, arguments: &[&str]) -> Result<String, Trouble> {
        let mut command = Command::new(&self.programs.server);
        command.args(arguments);
        command.args(["-socketPath", &self.path("server.sock")]);
        output(command).await
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn server_conf(&self, port: u16) -> String {
        format!(
            r#"server {{
  bind_address = "127.0.0.1"
  bind_port = "{port}"
  data_dir = "{folder}/server"
  log_level = "INFO"
  socket_path = "{folder}/server.sock"
  trust_domain = "{TRUST_DOMAIN}"
}}

plugins {{
  DataStore "sql" {{
    plugin_data {{
      connection_string = "{folder}/server/datastore.sqlite3"
      database_type = "sqlite3"
    }}
  }}

  KeyManager "disk" {{
    plugin_data {{
      keys_path = "{folder}/server/keys.json"
    }}
  }}

  NodeAttestor "join_token" {{
    plugin_data {{}}
  }}
}}
"#,
            folder = self.folder.display(),
        )
    }

    fn agent_conf(&self, port: u16) -> String {
        format!(
            r#"agent {{
  data_dir = "{folder}/agent"
  log_level = "INFO"
  server_address = "127.0.0.1"
  server_port = "{port}"
  socket_path = "{folder}/agent.sock"
  trust_bundle_path = "{folder}/bundle.pem"
  trust_domain = "{TRUST_DOMAIN}"
  experimental {{
    sync_interval = "1s"
  }}
}}

plugins {{
  KeyManager "disk" {{
    plugin_data {{
      directory = "{folder}/agent"
    }}
  }}

  NodeAttestor "join_token" {{
    plugin_data {{}}
  }}

  WorkloadAttestor "unix" {{
    plugin_data {{
      discover_workload_path = true
    }}
  }}
}}
"#,
            folder = self.folder.display(),
        )
    }
}

/// An address on loopback that nobody listened on a moment ago.
pub(crate) fn free_address() -> Result<SocketAddr, Trouble> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|source: io::Error| Trouble::io("looking for a free port", source))
}

/// What stands behind `name` and a colon.
pub(crate) fn value_of(name: &str, said: &str) -> Option<String> {
    said.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

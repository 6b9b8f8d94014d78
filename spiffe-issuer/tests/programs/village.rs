//! A server and its agents as processes, in one directory.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const SERVER: &str = env!("CARGO_BIN_EXE_spiffe-server");
const AGENT: &str = env!("CARGO_BIN_EXE_spiffe-agent");

/// Longer than anything here takes on a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with the configurations of a server and of agents that it can be run with.
pub(crate) struct Village {
    dir: tempfile::TempDir,
    port: u16,
    trust_domain: &'static str,
    store: (&'static str, String),
}

impl Village {
    pub(crate) fn new() -> Self {
        Self::of("example.org")
    }

    /// A village of this trust domain.
    pub(crate) fn of(trust_domain: &'static str) -> Self {
        let village = Self::bare(trust_domain);
        village.configure("");
        village
    }

    /// One whose server shares this database with others.
    pub(crate) fn on_postgres(connection_string: &str) -> Self {
        let mut village = Self::bare("example.org");
        village.store = ("postgres", connection_string.to_owned());
        village.configure("");
        village
    }

    fn bare(trust_domain: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = format!("{}/server/store.sqlite3", dir.path().display());
        Self {
            dir,
            port: free_port(),
            trust_domain,
            store: ("sqlite3", file),
        }
    }

    /// Writes the configuration of the server, with these lines in its server block.
    pub(crate) fn configure(&self, lines: &str) {
        let (dir, port) = (self.dir.path().display(), self.port);
        let trust_domain = self.trust_domain;
        let (database, connection_string) = &self.store;
        let server = format!(
            r#"server {{
                trust_domain = "{trust_domain}"
                bind_address = "127.0.0.1"
                bind_port = {port}
                data_dir = "{dir}/server"
                socket_path = "{dir}/private/api.sock"
                {lines}
            }}
            plugins {{
                DataStore "sql" {{
                    plugin_data {{
                        database_type = "{database}"
                        connection_string = "{connection_string}"
                    }}
                }}
                KeyManager "disk" {{ plugin_data {{ keys_path = "{dir}/server/keys.json" }} }}
                NodeAttestor "join_token" {{ plugin_data {{}} }}
            }}"#
        );
        std::fs::write(self.path("server.conf"), server).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The server, once it serves. What its agents begin with is written beside it.
    pub(crate) fn server(&self) -> Program {
        self.serving(self.server_command())
    }

    /// The same of a server that is run with this command.
    pub(crate) fn serving(&self, command: Command) -> Program {
        let server = Program::start(command);
        server.says("Starting Server APIs");
        self.write_bundle();
        server
    }

    /// Writes what agents begin with, as it is now.
    pub(crate) fn write_bundle(&self) {
        let bundle = self.operator(&["bundle", "show"]);
        std::fs::write(self.path("bundle.pem"), bundle).unwrap();
    }

    pub(crate) fn server_command(&self) -> Command {
        let mut command = Command::new(SERVER);
        command.args(["run", "-config", &self.text("server.conf")]);
        command
    }

    /// The agent of this name. It gets a token only where there is one.
    pub(crate) fn agent_command(&self, name: &str, token: Option<&str>) -> Command {
        self.agent_command_at(self.port, name, token)
    }

    fn agent_command_at(&self, port: u16, name: &str, token: Option<&str>) -> Command {
        let dir = self.dir.path().display();
        let trust_domain = self.trust_domain;
        let config = format!(
            r#"agent {{
                trust_domain = "{trust_domain}"
                data_dir = "{dir}/{name}"
                server_address = "127.0.0.1"
                server_port = {port}
                socket_path = "{dir}/{name}/public/api.sock"
                trust_bundle_path = "{dir}/bundle.pem"
                experimental {{ sync_interval = "1s" }}
            }}
            plugins {{
                KeyManager "disk" {{ plugin_data {{ directory = "{dir}/{name}" }} }}
                NodeAttestor "join_token" {{ plugin_data {{}} }}
                WorkloadAttestor "unix" {{ plugin_data {{}} }}
            }}"#
        );
        let file = self.text(&format!("{name}.conf"));
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(AGENT);
        command.args(["run", "-config", &file]);
        if let Some(token) = token {
            command.args(["-joinToken", token]);
        }
        command
    }

    /// The agent of this name, once it serves.
    pub(crate) fn agent(&self, name: &str, token: Option<&str>) -> Program {
        let agent = Program::start(self.agent_command(name, token));
        agent.says("Starting agent APIs");
        agent
    }

    /// The same of an agent that reaches its servers at this port.
    pub(crate) fn agent_through(&self, port: u16, name: &str, token: Option<&str>) -> Program {
        let agent = Program::start(self.agent_command_at(port, name, token));
        agent.says("Starting agent APIs");
        agent
    }

    /// Asks this of the server again and again until its answer is as it should be.
    pub(crate) fn becomes(&self, words: &[&str], is_so: impl Fn(&str) -> bool) {
        let begun = Instant::now();
        loop {
            let output = self.try_operator(words);
            let told = String::from_utf8(output.stdout).unwrap();
            if output.status.success() && is_so(&told) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{words:?}: {told}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the server says of itself that it cannot do all of its work.
    pub(crate) fn becomes_unhealthy(&self) {
        let begun = Instant::now();
        while self.try_operator(&["healthcheck"]).status.success() {
            assert!(begun.elapsed() < PATIENCE, "it says that it is healthy");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn free_port() -> u16 {
        free_port()
    }

    /// What the server's command line says, which succeeds.
    pub(crate) fn operator(&self, words: &[&str]) -> String {
        let output = self.try_operator(words);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{words:?}: {told}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn try_operator(&self, words: &[&str]) -> Output {
        let socket = self.text("private/api.sock");
        let mut command = Command::new(SERVER);
        command.args(words).args(["-socketPath", &socket]);
        command.output().unwrap()
    }

    pub(crate) fn token(&self) -> String {
        let told = self.operator(&["token", "generate"]);
        let token = told.lines().find_map(|line| line.strip_prefix("Token: "));
        token.unwrap().to_owned()
    }

    /// An entry for the processes of this user, below the agent that this token let in.
    pub(crate) fn create_entry(&self, token: &str, path: &str) -> Output {
        self.create_entry_with(token, path, &[])
    }

    /// The same with these flags as well.
    pub(crate) fn create_entry_with(&self, token: &str, path: &str, more: &[&str]) -> Output {
        let trust_domain = self.trust_domain;
        let parent = format!("spiffe://{trust_domain}/spire/agent/join_token/{token}");
        let (id, uid) = (
            format!("spiffe://{trust_domain}{path}"),
            format!("unix:uid:{}", nix::unistd::geteuid()),
        );
        let words = ["entry", "create", "-parentID", &parent, "-spiffeID", &id];
        self.try_operator(&[&words[..], &["-selector", &uid], more].concat())
    }

    /// Asks the agent of this name for the identities of this user, again and again until there are
    /// these; entries take a while to come through.
    pub(crate) fn fetches(&self, name: &str, paths: &[&str]) {
        let socket = self.text(&format!("{name}/public/api.sock"));
        let begun = Instant::now();
        loop {
            let words = ["api", "fetch", "x509", "-socketPath", &socket];
            let output = Command::new(AGENT).args(words).output().unwrap();
            let told = String::from_utf8(output.stdout).unwrap();
            let ids = told
                .lines()
                .filter_map(|l| l.strip_prefix("SPIFFE ID:\t\t"));
            let mut ids: Vec<_> = ids.collect();
            ids.sort_unstable();
            let wanted = paths
                .iter()
                .map(|path| format!("spiffe://{}{path}", self.trust_domain));
            if ids == wanted.collect::<Vec<_>>() {
                return;
            }
            let why = String::from_utf8(output.stderr).unwrap();
            assert!(begun.elapsed() < PATIENCE, "{name}: {told}{why}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A port that nobody listens on, and that the system gives to nobody who connects from here: those
/// come from above.
pub(crate) fn free_port() -> u16 {
    let mut ports = std::iter::repeat_with(|| fastrand::u16(10_000..30_000));
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    ports.find(is_free).unwrap()
}

/// A process that ends with its test, and what it has written to its log.
pub(crate) struct Program {
    child: Child,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Log {
    text: Mutex<(String, bool)>,
    grown: Condvar,
}

impl Program {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Log::default());
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let reader = std::thread::spawn({
            let log = log.clone();
            move || {
                let mut line = String::new();
                while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
                    log.text.lock().unwrap().0.push_str(&line);
                    log.grown.notify_all();
                    line.clear();
                }
                log.text.lock().unwrap().1 = true;
                log.grown.notify_all();
            }
        });
        Self {
            child,
            log,
            reader: Some(reader),
        }
    }

    /// Waits until this stands in the log.
    pub(crate) fn says(&self, what: &str) {
        let text = self.log.text.lock().unwrap();
        let silent = |(text, ended): &mut (String, bool)| !text.contains(what) && !*ended;
        let waited = self.log.grown.wait_timeout_while(text, PATIENCE, silent);
        let text = &waited.unwrap().0.0;
        assert!(text.contains(what), "{what} is not in the log:\n{text}");
    }

    /// Ends it as a power cut would: it gets to do nothing any more.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).unwrap();
        let (status, log) = self.ended();
        assert!(status.success(), "{log}");
    }

    /// Waits until it ends by itself: how, and all that it said.
    pub(crate) fn ended(mut self) -> (ExitStatus, String) {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            let log = || self.log.text.lock().unwrap().0.clone();
            assert!(begun.elapsed() < PATIENCE, "it goes on:\n{}", log());
            std::thread::sleep(Duration::from_millis(10));
        };
        self.reader.take().unwrap().join().unwrap();
        (status, self.log.text.lock().unwrap().0.clone())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs this to its end, which is a failure, and returns what it said.
pub(crate) fn refusal(command: Command) -> String {
    let (status, log) = Program::start(command).ended();
    assert!(!status.success(), "{log}");
    log
}

/// The same command on a disk on which no file may grow beyond so many KiB. The signal that says so
/// is ignored, as the program would be ended by it; then writing fails, as it does on a full disk.
pub(crate) fn with_room_for(kib: u64, command: &Command) -> Command {
    let mut limited = Command::new("sh");
    // POSIX counts in blocks of 512 bytes.
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", 2 * kib);
    limited.args(["-c", &script]).arg(command.get_program());
    limited.args(command.get_args());
    limited
}

/// The same command with so many file descriptors at most.
pub(crate) fn with_descriptors(count: u64, command: &Command) -> Command {
    let mut limited = Command::new("sh");
    let script = format!("ulimit -n {count}; exec \"$0\" \"$@\"");
    limited.args(["-c", &script]).arg(command.get_program());
    limited.args(command.get_args());
    limited
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

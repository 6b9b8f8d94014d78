//! A PostgreSQL server of the tests' own: on a Unix socket in a temporary directory, gone with the
//! process that asked for it.

#![allow(dead_code, reason = "no test needs all of it")]
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "tests: what fails here fails the test"
)]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use nix::unistd::{User, chown, geteuid};
use tempfile::TempDir;

/// A running server, which can be stopped and started again.
pub(crate) struct Postgres {
    programs: PathBuf,
    dir: TempDir,
    settings: Vec<String>,
    running: Mutex<Option<Child>>,
    databases: AtomicUsize,
}

impl Postgres {
    /// The server that all tests of one program share. `None` where PostgreSQL is not installed and
    /// tests may leave themselves out.
    pub(crate) fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// A server of one's own.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(|_| vec!["listen_addresses=".to_owned()])
    }

    /// One that serves TLS on this port, with this certificate and key in PEM.
    pub(crate) fn start_tls(port: u16, certificate: &str, key: &str) -> Option<Self> {
        Self::start_with(|dir| {
            let path = |name: &str| format!("{}/{name}", dir.display());
            for (name, pem) in [("server.pem", certificate), ("server.key", key)] {
                std::fs::write(path(name), pem).unwrap();
                let private = std::fs::Permissions::from_mode(0o600);
                std::fs::set_permissions(path(name), private).unwrap();
                if let Some((uid, _)) = unprivileged() {
                    chown(&*path(name), Some(uid.into()), None).unwrap();
                }
            }
            vec![
                "listen_addresses=127.0.0.1".to_owned(),
                format!("port={port}"),
                "ssl=on".to_owned(),
                format!("ssl_cert_file={}", path("server.pem")),
                format!("ssl_key_file={}", path("server.key")),
            ]
        })
    }

    fn start_with(settings: impl FnOnce(&Path) -> Vec<String>) -> Option<Self> {
        let programs = programs()?;
        let dir = tempfile::tempdir().unwrap();
        if let Some((uid, _)) = unprivileged() {
            chown(dir.path(), Some(uid.into()), None).unwrap();
        }
        let this = Self {
            programs,
            settings: settings(dir.path()),
            dir,
            running: Mutex::new(None),
            databases: AtomicUsize::new(0),
        };
        let made = this
            .command("initdb")
            .args(["--auth=trust", "--username=spiffe", "--encoding=UTF8"])
            .args(["--no-locale", "--no-sync", "-D"])
            .arg(this.data())
            .output()
            .unwrap();
        let why = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "initdb: {why}");
        this.go_on();
        Some(this)
    }

    /// Starts it again.
    pub(crate) fn go_on(&self) {
        let mut running = self.running.lock().unwrap();
        assert!(running.is_none(), "it runs");
        // The shell ends the server and clears up when this process ends, however that comes about:
        // its input ends then.
        let script = r#""$@" & server=$!; read -r word; kill -INT "$server"; wait "$server"
            [ "$word" = keep ] || rm -rf "$PWD""#;
        let settings = [
            "fsync=off",
            "full_page_writes=off",
            "max_connections=400",
            "shared_buffers=16MB",
        ];
        let mut shell = self.command_at(Path::new("sh"));
        shell.args(["-c", script, "sh"]);
        shell.arg(self.programs.join("postgres"));
        shell
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.dir.path());
        for setting in settings
            .into_iter()
            .chain(self.settings.iter().map(|s| &**s))
        {
            shell.args(["-c", setting]);
        }
        let log = std::fs::File::create(self.dir.path().join("log")).unwrap();
        let child = shell
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        *running = Some(child);
        drop(running);
        self.wait_until_ready();
    }

    fn wait_until_ready(&self) {
        let begun = Instant::now();
        while !self.psql("postgres", "SELECT 1").status.success() {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(
                begun.elapsed() < PATIENCE,
                "PostgreSQL does not start: {log}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops it. Whoever is connected is thrown out.
    pub(crate) fn stop(&self) {
        let mut child = self.running.lock().unwrap().take().expect("it runs");
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"keep\n").unwrap();
        child.wait().unwrap();
    }

    /// The name of a new, empty database.
    pub(crate) fn database(&self) -> String {
        let name = format!("d{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.run("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// How a server is told of this database.
    pub(crate) fn connection_string(&self, database: &str) -> String {
        format!(
            "host={} user=spiffe password=secret dbname={database}",
            self.dir.path().display()
        )
    }

    /// Lets an administrator run these statements.
    pub(crate) fn run(&self, database: &str, sql: &str) {
        let done = self.psql(database, sql);
        let why = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{sql}: {why}");
    }

    fn psql(&self, database: &str, sql: &str) -> std::process::Output {
        self.command("psql")
            .arg("-h")
            .arg(self.dir.path())
            .args(["-p", &self.port()])
            .args([
                "-U",
                "spiffe",
                "-d",
                database,
                "-v",
                "ON_ERROR_STOP=1",
                "-q",
                "-c",
                sql,
            ])
            .output()
            .unwrap()
    }

    fn port(&self) -> String {
        let mut settings = self.settings.iter();
        let port = settings.find_map(|setting| setting.strip_prefix("port="));
        port.unwrap_or("5432").to_owned()
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        self.command_at(&self.programs.join(program))
    }

    /// PostgreSQL does not run as root.
    fn command_at(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir.path());
        if let Some((uid, gid)) = unprivileged() {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.running.lock().unwrap().is_some() {
            self.stop();
        }
    }
}

/// Whom to run as instead of root.
fn unprivileged() -> Option<(u32, u32)> {
    if !geteuid().is_root() {
        return None;
    }
    let names = ["postgres", "nobody"].into_iter();
    let mut users = names.filter_map(|name| User::from_name(name).unwrap());
    let user = users.next().expect("a user that is not root");
    Some((user.uid.as_raw(), user.gid.as_raw()))
}

/// Where PostgreSQL's programs are: as told, or where Debian has them, the newest.
fn programs() -> Option<PathBuf> {
    if let Some(told) = std::env::var_os("SPIFFE_TEST_POSTGRES") {
        return Some(told.into());
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let version = |entry: std::io::Result<std::fs::DirEntry>| {
        let name: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        Some(name)
    };
    if let Some(newest) = versions.filter_map(version).max() {
        return Some(format!("/usr/lib/postgresql/{newest}/bin").into());
    }
    eprintln!("LEFT OUT: PostgreSQL: it is not installed, and SPIFFE_TEST_POSTGRES is not set");
    let required = std::env::var("SPIFFE_TEST_REQUIRE_ALL").is_ok_and(|value| value == "1");
    assert!(
        !required,
        "SPIFFE_TEST_REQUIRE_ALL is set: run scripts/test"
    );
    None
}

const PATIENCE: Duration = Duration::from_secs(60);

//! A real server below a root and an intermediate that `openssl` made, driven by its command line.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// A server that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A root, and an intermediate below it, as an operator makes them.
const AUTHORITY: &str = r#"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.key \
    -out root.pem -days 30 -subj "/CN=Root" -addext keyUsage=critical,keyCertSign,cRLSign
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.csr \
    -subj "/CN=Identities"
printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n' > ca.ext
printf 'subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n' >> ca.ext
openssl x509 -req -in ca.csr -CA root.pem -CAkey root.key -CAcreateserial -days 20 \
    -extfile ca.ext -out ca.pem
"#;

const CONFIG: &str = r#"
server {
    trust_domain = "example.org"
    bind_address = "127.0.0.1"
    bind_port = "0"
    socket_path = "api.sock"
    data_dir = "data"
}
plugins {
    DataStore "sql" {
        plugin_data { database_type = "sqlite3" connection_string = "data/store.sqlite3" }
    }
    KeyManager "memory" { plugin_data {} }
    UpstreamAuthority "disk" {
        plugin_data {
            cert_file_path = "ca.pem"
            key_file_path = "ca.key"
            bundle_file_path = "root.pem"
        }
    }
    CredentialComposer "uniqueid" { plugin_data {} }
}"#;

fn command(dir: &Path, args: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_spiffe-server"));
    program.args(args).current_dir(dir).output().unwrap()
}

/// What a command prints, which has to go well.
fn asked(dir: &Path, args: &[&str]) -> String {
    let output = command(dir, &[args, &["-socketPath", "api.sock"]].concat());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_server_stands_below_a_root_that_openssl_made() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut shell = Command::new("sh");
    let made = shell.args(["-ec", AUTHORITY]).current_dir(dir).output();
    let made = made.unwrap();
    let told = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(made.status.success(), "{told}");
    std::fs::write(dir.join("server.conf"), CONFIG).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_spiffe-server"));
    program.args(["run", "-config", "server.conf"]);
    let quiet = program.current_dir(dir).stderr(Stdio::null());
    let _running = Running(quiet.stdout(Stdio::null()).spawn().unwrap());
    let healthy = || {
        let args = ["healthcheck", "-socketPath", "api.sock"];
        command(dir, &args).status.success()
    };
    for _ in 0..600 {
        if healthy() {
            break;
        }
        sleep(Duration::from_millis(50));
    }

    let root = std::fs::read_to_string(dir.join("root.pem")).unwrap();
    let bundle = asked(dir, &["bundle", "show"]);
    assert_eq!(bundle.trim(), root.trim(), "the root alone");
    let shown = |part: &str| {
        let json = asked(dir, &["localauthority", "x509", "show", "-output", "json"]);
        let states: serde_json::Value = serde_json::from_str(&json).unwrap();
        states[part]["authority_id"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let first = shown("active");
    asked(dir, &["localauthority", "x509", "prepare"]);
    let second = shown("prepared");
    let activate = [
        "localauthority",
        "x509",
        "activate",
        "-authorityID",
        &second,
    ];
    asked(dir, &activate);
    assert_eq!((shown("active"), shown("old")), (second, first.clone()));

    let taint = ["localauthority", "x509", "taint", "-authorityID", &first];
    let refused = command(dir, &[&taint[..], &["-socketPath", "api.sock"]].concat());
    let told = String::from_utf8(refused.stderr).unwrap();
    let text = "code = FailedPrecondition desc = local authority can't be tainted if there is an \
                upstream authority";
    assert!(!refused.status.success() && told.contains(text), "{told}");
    let used = asked(
        dir,
        &["localauthority", "x509", "usage", "-authorityID", &first],
    );
    assert!(used.contains("Standing: old\n"), "{used}");
}

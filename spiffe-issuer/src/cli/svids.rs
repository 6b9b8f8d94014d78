//! The identities of a workload as `api fetch` and `api watch` print them and write them to files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use spiffe_core::proto::workload::{X509svid, X509svidResponse};
use spiffe_core::verify::{Role, VerifyError, x509_peer};
use spiffe_core::x509::{Certificate, PrivateKey, X509Error, X509Svid};
use spiffe_core::{BundleSet, TrustBundle};

use super::text;
use super::tree::{Io, Outcome};
use crate::config::GoDuration;
use crate::runtime::files;

/// What the agent sent, found to be good.
#[derive(Debug)]
pub(super) struct Identities {
    identities: Vec<Identity>,
    /// By trust domain, so that they are told and numbered in one order.
    federated: BTreeMap<String, Vec<Certificate>>,
}

#[derive(Debug)]
struct Identity {
    svid: X509Svid,
    bundle: TrustBundle,
}

impl Identities {
    /// Reads an answer, and verifies each identity with the bundle that came with it.
    ///
    /// # Errors
    ///
    /// What is wrong, and with which identity.
    pub(super) fn read(answer: X509svidResponse, now: SystemTime) -> Result<Self, BadAnswer> {
        if answer.svids.is_empty() {
            return Err(BadAnswer::NoSvids);
        }
        let federated =
            answer
                .federated_bundles
                .into_iter()
                .map(|(of, der)| match Certificate::many_from_der(&der) {
                    Ok(certificates) if certificates.is_empty() => {
                        Err(BadAnswer::NoCertificates(of))
                    }
                    Ok(certificates) => Ok((of, certificates)),
                    Err(source) => Err(BadAnswer::Federated { of, source }),
                });
        let federated = federated.collect::<Result<_, _>>()?;
        let identities = answer
            .svids
            .into_iter()
            .map(|svid| Identity::read(&svid, now));
        Ok(Self {
            identities: identities.collect::<Result<_, _>>()?,
            federated,
        })
    }

    /// The text that is printed `after` the agent was asked.
    pub(super) fn told(&self, after: Duration) -> String {
        let counted = text::counted(self.identities.len(), "", "svid", "svids");
        let mut text = format!("Received {counted} after {}\n", GoDuration(after));
        for identity in &self.identities {
            text.push('\n');
            identity.tell(&mut text);
            for (of, authorities) in &self.federated {
                tell_all(&mut text, &format!("[{of}] CA"), authorities);
            }
        }
        text.push('\n');
        text
    }

    /// Writes everything to files in `directory`: the keys for this user only.
    ///
    /// # Errors
    ///
    /// Where a file cannot be written.
    pub(super) fn write(&self, directory: &Path, io: &mut Io<'_>) -> Outcome {
        for (i, Identity { svid, bundle }) in self.identities.iter().enumerate() {
            let path = announced(
                io,
                directory,
                &format!("SVID #{i}"),
                &format!("svid.{i}.pem"),
            )?;
            files::write_atomically(&path, pem(svid.chain()).as_bytes(), READABLE)?;
            let path = announced(
                io,
                directory,
                &format!("key #{i}"),
                &format!("svid.{i}.key"),
            )?;
            files::write_atomically(&path, svid.key().to_pem().as_bytes(), PRIVATE)?;
            let path = announced(
                io,
                directory,
                &format!("bundle #{i}"),
                &format!("bundle.{i}.pem"),
            )?;
            let authorities = pem(bundle.x509_authorities());
            files::write_atomically(&path, authorities.as_bytes(), READABLE)?;
            for (j, (of, authorities)) in self.federated.iter().enumerate() {
                let what = format!("federated bundle #{j} for trust domain {of}");
                let path = announced(
                    io,
                    directory,
                    &what,
                    &format!("federated_bundle.{i}.{j}.pem"),
                )?;
                files::write_atomically(&path, pem(authorities).as_bytes(), READABLE)?;
            }
        }
        Ok(())
    }
}

/// Says what is written where.
fn announced(
    io: &mut Io<'_>,
    directory: &Path,
    what: &str,
    name: &str,
) -> std::io::Result<PathBuf> {
    let path = directory.join(name);
    writeln!(io.out, "Writing {what} to file {}.", path.display())?;
    Ok(path)
}

impl Identity {
    fn read(message: &X509svid, now: SystemTime) -> Result<Self, BadAnswer> {
        let unread = |source| BadAnswer::Svid {
            id: message.spiffe_id.clone(),
            source,
        };
        let chain = Certificate::many_from_der(&message.x509_svid).map_err(unread)?;
        let key = PrivateKey::from_pkcs8_der(&message.x509_svid_key).map_err(unread)?;
        let svid = X509Svid::new(chain, key)
            .map_err(unread)?
            .with_hint(&message.hint);
        let trust_domain = svid.id().trust_domain();
        let bundle = TrustBundle::from_der(trust_domain, &message.bundle).map_err(unread)?;

        let chain: Vec<_> = svid.chain().iter().map(|one| one.der().clone()).collect();
        let bundles = BundleSet::from(bundle.clone());
        let peer = x509_peer(&chain, &bundles, Role::Client, now);
        let unverified = |source| BadAnswer::Unverified {
            id: message.spiffe_id.clone(),
            source,
        };
        peer.map_err(unverified)?;
        Ok(Self { svid, bundle })
    }

    fn tell(&self, text: &mut String) {
        let Some((leaf, intermediates)) = self.svid.chain().split_first() else {
            return;
        };
        let id = self.svid.id();
        // A `String` takes all that is written to it.
        let _ = writeln!(text, "SPIFFE ID:\t\t{id}");
        if !self.svid.hint().is_empty() {
            let _ = writeln!(text, "Hint:\t\t\t{}", self.svid.hint());
        }
        tell(text, "SVID", leaf);
        tell_all(text, "Intermediate", intermediates);
        tell_all(text, "CA", self.bundle.x509_authorities());
    }
}

fn tell_all(text: &mut String, what: &str, certificates: &[Certificate]) {
    for (i, certificate) in certificates.iter().enumerate() {
        tell(text, &format!("{what} #{}", i + 1), certificate);
    }
}

fn tell(text: &mut String, what: &str, certificate: &Certificate) {
    let [from, to] = [certificate.not_before(), certificate.not_after()].map(text::time);
    let _ = writeln!(
        text,
        "{what} Valid After:\t{from}\n{what} Valid Until:\t{to}"
    );
}

fn pem(certificates: &[Certificate]) -> String {
    certificates.iter().map(Certificate::to_pem).collect()
}

/// Why an answer of the agent is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadAnswer {
    #[error("failed to parse bundle for federated domain {of:?}")]
    Federated { of: String, source: X509Error },
    #[error("no certificates in bundle for federated domain {0:?}")]
    NoCertificates(String),
    #[error("workload response contains no svids")]
    NoSvids,
    #[error("failed to parse svid for spiffe id {id:?}")]
    Svid { id: String, source: X509Error },
    #[error("{id:?} SVID failed verification against bundle")]
    Unverified { id: String, source: VerifyError },
}

const READABLE: u32 = 0o644;
const PRIVATE: u32 = 0o600;

#[cfg(test)]
pub(super) mod tests {
    use std::fs;
    use std::io;
    use std::os::unix::fs::PermissionsExt;

    use spiffe_core::clock::{Clock, SystemClock};
    use spiffe_core::testing::TestAuthority;

    use super::*;

    /// An answer with one identity of `td`, and the bundle of `other`.
    pub(in crate::cli) fn answer() -> X509svidResponse {
        let authority = TestAuthority::new("td");
        let svid = authority.svid("/a");
        let root =
            |authority: &TestAuthority| authority.bundle().x509_authorities()[0].der().to_vec();
        let other = TestAuthority::new("other");
        X509svidResponse {
            svids: vec![X509svid {
                spiffe_id: svid.id().to_string(),
                x509_svid: svid.leaf().der().to_vec(),
                x509_svid_key: svid.key().pkcs8_der().to_vec(),
                bundle: root(&authority),
                hint: "h".to_owned(),
            }],
            crl: Vec::new(),
            federated_bundles: [("spiffe://other".to_owned(), root(&other))].into(),
        }
    }

    fn read(answer: X509svidResponse) -> Result<Identities, String> {
        Identities::read(answer, SystemClock.now()).map_err(|error| error.to_string())
    }

    #[test]
    fn each_identity_is_told_with_what_it_is_verified_by() {
        let told = read(answer()).unwrap().told(Duration::from_millis(1500));
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(
            lines[..4],
            [
                "Received 1 svid after 1.5s",
                "",
                "SPIFFE ID:\t\tspiffe://td/a",
                "Hint:\t\t\th"
            ]
        );
        let labels = [
            "SVID Valid After:\t",
            "SVID Valid Until:\t",
            "CA #1 Valid After:\t",
            "CA #1 Valid Until:\t",
            "[spiffe://other] CA #1 Valid After:\t",
            "[spiffe://other] CA #1 Valid Until:\t",
        ];
        for (line, label) in lines[4..].iter().zip(labels) {
            assert!(
                line.starts_with(label) && line.ends_with(" +0000 UTC"),
                "{line}"
            );
        }
        assert_eq!((lines.len(), lines[10]), (11, ""));
    }

    #[test]
    fn files_are_named_by_number_and_keys_are_private() {
        let directory = tempfile::tempdir().unwrap();
        let mut out = Vec::new();
        let mut io = Io {
            input: &mut io::empty(),
            out: &mut out,
            err: &mut io::sink(),
        };
        read(answer())
            .unwrap()
            .write(directory.path(), &mut io)
            .unwrap();
        for (name, mode) in [
            ("svid.0.pem", 0o644),
            ("svid.0.key", 0o600),
            ("bundle.0.pem", 0o644),
            ("federated_bundle.0.0.pem", 0o644),
        ] {
            let metadata = fs::metadata(directory.path().join(name)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, mode, "{name}");
        }
        let text = |name| fs::read(directory.path().join(name)).unwrap();
        assert!(X509Svid::from_pem(&text("svid.0.pem"), &text("svid.0.key")).is_ok());
        let told = String::from_utf8(out).unwrap();
        assert!(told.starts_with("Writing SVID #0 to file "), "{told}");
        assert!(told.contains("\nWriting federated bundle #0 for trust domain spiffe://other to "));
    }

    #[test]
    fn what_cannot_be_verified_is_not_told() {
        let mut foreign = answer();
        foreign.svids[0].bundle = answer().svids[0].bundle.clone();
        let mut keyless = answer();
        keyless.svids[0].x509_svid_key.clear();
        let mut bare = answer();
        bare.federated_bundles = [("spiffe://other".to_owned(), Vec::new())].into();
        for (answer, why) in [
            (
                X509svidResponse::default(),
                "workload response contains no svids",
            ),
            (
                foreign,
                "\"spiffe://td/a\" SVID failed verification against bundle",
            ),
            (
                keyless,
                "failed to parse svid for spiffe id \"spiffe://td/a\"",
            ),
            (
                bare,
                "no certificates in bundle for federated domain \"spiffe://other\"",
            ),
        ] {
            assert_eq!(read(answer).unwrap_err(), why);
        }
    }
}

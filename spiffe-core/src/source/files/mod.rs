//! The source that reads files which others keep up to date.

mod error;
mod read;

use std::fmt;
use std::mem;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

pub use self::error::FileError;

use self::read::{Content, Identity, Layout, Trust};
use super::IdentitySource;
use super::shown::Shown;
use crate::TrustDomain;
use crate::clock::{Clock, SystemClock};
use crate::snapshot::IdentitySnapshot;
use crate::telemetry;
use crate::with_causes;
use crate::x509::KeyId;

/// An identity and its bundle from files, always the latest: for where a sidecar such as
/// spiffe-helper has the Workload API, and the program sees a directory.
///
/// The files are looked at every few seconds. They may be replaced one by one, or all at once by a
/// link that is swapped: they are taken only when they are at rest, go together, and peers would
/// believe them. Until then what was there before stays, and it does so where files go away. A bad
/// SVID never holds up a good bundle, nor the other way round.
///
/// Clones share one watch. It ends with the last of them.
#[derive(Clone)]
pub struct FileSource(Arc<Inner>);

struct Inner {
    shown: Arc<Shown>,
    trouble: watch::Receiver<Option<FileError>>,
    tasks: Mutex<JoinSet<()>>,
}

impl FileSource {
    /// A source of the files that spiffe-helper writes into `directory`, by the names that it has in
    /// its documentation: `svid.pem`, `svid_key.pem`, `svid_bundle.pem`.
    ///
    /// `svid_bundle.pem` must hold the authorities of our own trust domain and no others: spiffe-helper
    /// is to run without `include_federated_domains`, for what it adds there could vouch for us.
    ///
    /// # Errors
    ///
    /// Where the files are not there yet, or are no identity that peers would believe.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn spiffe_helper(directory: impl Into<PathBuf>) -> Result<Self, FileError> {
        Self::builder(directory).open()
    }

    /// A source with settings of its own.
    pub fn builder(directory: impl Into<PathBuf>) -> FileSourceBuilder {
        FileSourceBuilder {
            layout: Layout {
                directory: directory.into(),
                identity: Identity::Pem {
                    svid: "svid.pem".into(),
                    key: "svid_key.pem".into(),
                },
                trust: Trust::Pem("svid_bundle.pem".into()),
            },
            every: EVERY,
            patience: INITIAL_TIMEOUT,
            clock: Arc::new(SystemClock),
        }
    }

    /// What is wrong with the files as they are, if anything: then a part of what the source shows is
    /// from before.
    #[must_use]
    pub fn last_error(&self) -> Option<FileError> {
        self.0.trouble.borrow().clone()
    }

    /// Distrusts the authorities with these keys from now on, and no others, for all clones; see
    /// [`BundleSet::distrusting`](crate::BundleSet::distrusting). Connections that last are judged again.
    pub fn distrust(&self, authorities: impl IntoIterator<Item = KeyId>) {
        let authorities = authorities.into_iter().collect();
        self.0.shown.distrust(authorities, LABEL);
    }

    /// Ends the watch, for all clones, and waits until it is over. They keep their last snapshot.
    pub async fn shutdown(self) {
        let mut tasks = {
            // A poisoned lock still holds the tasks, and they are to end all the same.
            let mut held = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            mem::take(&mut *held)
        };
        tasks.shutdown().await;
    }
}

/// Settings of a [`FileSource`]. Names are relative to its directory.
#[derive(Debug, Clone)]
#[must_use]
pub struct FileSourceBuilder {
    layout: Layout,
    every: Duration,
    patience: Duration,
    clock: Arc<dyn Clock>,
}

impl FileSourceBuilder {
    /// The files of the certificates, leaf first, and of the private key, both PEM.
    pub fn svid(mut self, svid: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.layout.identity = Identity::Pem {
            svid: svid.into(),
            key: key.into(),
        };
        self
    }

    /// There is no SVID: only whom to believe is read. A bundle in PEM is that of `trust_domain`.
    pub fn without_svid(mut self, trust_domain: TrustDomain) -> Self {
        self.layout.identity = Identity::None(trust_domain);
        self
    }

    /// The file of the bundle of our own trust domain, PEM.
    pub fn bundle(mut self, bundle: impl Into<PathBuf>) -> Self {
        self.layout.trust = Trust::Pem(bundle.into());
        self
    }

    /// The file of a SPIFFE bundle map instead of a bundle (SPIFFE Trust Domain and Bundle section 5;
    /// gRFC A87), which has other trust domains too.
    pub fn bundle_map(mut self, map: impl Into<PathBuf>) -> Self {
        self.layout.trust = Trust::Map(map.into());
        self
    }

    /// How often the files are looked at; every five seconds without it, and ten times a second at
    /// most.
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every.max(SHORTEST);
        self
    }

    /// How long [`connect`](Self::connect) waits for the files; 30 seconds without it.
    pub fn initial_timeout(mut self, limit: Duration) -> Self {
        self.patience = limit;
        self
    }

    /// Where the time of day comes from.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Reads the files as they are, and goes on looking at them.
    ///
    /// # Errors
    ///
    /// Where they are not there yet, or are no identity that peers would believe.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn open(self) -> Result<FileSource, FileError> {
        let content = self.layout.content()?;
        self.watch(content)
    }

    fn watch(self, content: Content) -> Result<FileSource, FileError> {
        let now = self.clock.now();
        let nothing = IdentitySnapshot::default();
        let (snapshot, flaw) = self.layout.judge(&content, &nothing, now);
        if let Some(flaw) = flaw {
            return Err(flaw);
        }
        let shown = Arc::new(Shown::new(snapshot));
        telemetry::describe_once();
        tell_update(&shown, now);
        let (teller, trouble) = watch::channel(None);
        let mut tasks = JoinSet::new();
        tasks.spawn(look(self, Arc::clone(&shown), teller, content));
        Ok(FileSource(Arc::new(Inner {
            shown,
            trouble,
            tasks: Mutex::new(tasks),
        })))
    }

    /// Waits until the files are there, and goes on looking at them.
    ///
    /// # Errors
    ///
    /// Where they are not there in time: what was wrong with them last.
    pub async fn connect(self) -> Result<FileSource, FileError> {
        let begun = Instant::now();
        loop {
            let (settings, layout) = (self.clone(), self.layout.clone());
            let content = spawn_blocking(move || layout.content()).await;
            let opened = match content {
                Ok(content) => content.and_then(|content| settings.watch(content)),
                // It goes only where the runtime does, and then nobody waits here.
                Err(_) => settings.open(),
            };
            match opened {
                Err(_) if begun.elapsed() < self.patience => sleep(RETRY).await,
                opened => return opened,
            }
        }
    }
}

/// Looks at the files for good.
async fn look(
    settings: FileSourceBuilder,
    shown: Arc<Shown>,
    teller: watch::Sender<Option<FileError>>,
    mut seen: Content,
) {
    let mut unsettled = false;
    loop {
        sleep(if unsettled { RETRY } else { settings.every }).await;
        let layout = settings.layout.clone();
        // It goes only where the runtime does.
        let Ok(content) = spawn_blocking(move || layout.content()).await else {
            return;
        };
        let flaw = match content {
            // A flaw may pass with time alone, and what was valid may have ended.
            Ok(content) if content == seen && teller.borrow().is_none() => continue,
            Ok(content) => {
                // Whom to distrust is for peers: our own SVID is shown, whoever signed it.
                let old = IdentitySnapshot::clone(&shown.snapshot());
                let trusting = old.bundles().distrusting([]);
                let old = old.with_bundles(trusting);
                let (snapshot, flaw) = settings.layout.judge(&content, &old, settings.clock.now());
                if content != seen {
                    info!(directory = %settings.layout.directory.display(), "files were replaced");
                }
                if content != seen || flaw.is_none() {
                    shown.publish(snapshot);
                    tell_update(&shown, settings.clock.now());
                }
                seen = content;
                flaw
            }
            Err(flaw) => Some(flaw),
        };
        // Once is enough, however often they are looked at.
        let new = !unsettled;
        unsettled = flaw.is_some();
        if let Some(error) = flaw.as_ref().filter(|_| new) {
            telemetry::source_failed(LABEL, "unusable");
            warn!(error = %with_causes(error), "files are no good, what was there before stays");
        }
        teller.send_replace(flaw);
    }
}

fn tell_update(shown: &Shown, now: SystemTime) {
    telemetry::source_updated(LABEL, now);
    telemetry::source_shows(LABEL, &shown.snapshot());
}

impl IdentitySource for FileSource {
    fn snapshot(&self) -> Arc<IdentitySnapshot> {
        self.0.shown.snapshot()
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.shown.cell().subscribe()
    }

    fn generation(&self) -> u64 {
        self.0.shown.cell().generation()
    }
}

impl fmt::Debug for FileSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSource")
            .field("cell", self.0.shown.cell())
            .finish_non_exhaustive()
    }
}

const LABEL: &str = "files";
const EVERY: Duration = Duration::from_secs(5);
/// Less would be a loop without a pause, or nearly.
const SHORTEST: Duration = Duration::from_millis(100);
const INITIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// How soon files are looked at again that are no good yet.
const RETRY: Duration = Duration::from_secs(1);

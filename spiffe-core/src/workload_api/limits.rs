//! How much a Workload API may send.

/// How much is read of what a Workload API sends. A message that holds more is discarded as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    svids: usize,
    bundles: usize,
    message: usize,
}

impl Limits {
    /// How many SVIDs a message may hold, unless told otherwise.
    pub const SVIDS: usize = 100;
    /// How many bundles, and how many revocation lists, a message may hold, unless told otherwise.
    pub const BUNDLES: usize = 200;
    /// How many bytes a message may have, unless told otherwise.
    pub const MESSAGE: usize = 4 * 1024 * 1024;

    /// The same limits, and a message may hold so many SVIDs.
    #[must_use]
    pub fn with_svids(self, svids: usize) -> Self {
        Self { svids, ..self }
    }

    /// The same limits, and a message may hold so many bundles, and as many revocation lists.
    #[must_use]
    pub fn with_bundles(self, bundles: usize) -> Self {
        Self { bundles, ..self }
    }

    /// The same limits, and a message may have so many bytes.
    #[must_use]
    pub fn with_message(self, message: usize) -> Self {
        Self { message, ..self }
    }

    /// How many SVIDs a message may hold.
    #[must_use]
    pub fn svids(&self) -> usize {
        self.svids
    }

    /// How many bundles, and how many revocation lists, a message may hold.
    #[must_use]
    pub fn bundles(&self) -> usize {
        self.bundles
    }

    /// How many bytes a message may have.
    #[must_use]
    pub fn message(&self) -> usize {
        self.message
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            svids: Self::SVIDS,
            bundles: Self::BUNDLES,
            message: Self::MESSAGE,
        }
    }
}

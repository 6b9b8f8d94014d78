//! Who am I now? A source renews an identity on its own; this only watches.

use spiffe_core::{
    IdentitySource,
    clock::{Clock, SystemClock},
};

use crate::lines::{Identity, Line};

/// Prints the identity of `source`, and each new one that takes its place, until the source ends.
#[expect(clippy::print_stdout, reason = "an example tells what happens")]
pub async fn tell_identities(source: &impl IdentitySource) {
    let mut changes = source.subscribe();
    let mut told = None;
    loop {
        let snapshot = source.snapshot();
        let now = snapshot
            .svid()
            .map(|svid| Identity::of(svid, SystemClock.now()));
        // Bundles change too, with the identity as it was.
        if let Some(now) = now
            && told.as_ref() != Some(&now.serial)
        {
            told = Some(now.serial.clone());
            println!("{}", Line::Identity(now));
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

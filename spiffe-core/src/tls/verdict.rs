//! How a verdict gets from the verifier, which rustls calls, to whoever waits for the handshake.
//!
//! rustls drops the reasons of a verifier, and its configuration is shared by all connections. The
//! verifier runs inside of the handshake's own task, so that task's slot is where the verdict goes.

use std::cell::RefCell;
use std::future::Future;

use super::HandshakeError;
use super::standing::Moment;
use crate::verify::Peer;

pub(super) type Verdict = Result<Peer, HandshakeError>;

struct Slot {
    began_at: Moment,
    verdict: RefCell<Option<Verdict>>,
}

tokio::task_local! {
    static SLOT: Slot;
}

/// Runs a handshake and hands out the verdict of its verifier beside its outcome; there is none
/// where the handshake did not come so far, and where a session is resumed.
pub(super) async fn of<F: Future>(began_at: Moment, handshake: F) -> (F::Output, Option<Verdict>) {
    let slot = Slot {
        began_at,
        verdict: RefCell::new(None),
    };
    SLOT.scope(slot, async {
        let outcome = handshake.await;
        (outcome, SLOT.with(|slot| slot.verdict.borrow_mut().take()))
    })
    .await
}

/// When the handshake began that this runs in.
pub(super) fn began_at() -> Option<Moment> {
    SLOT.try_with(|slot| slot.began_at).ok()
}

/// Notes the verdict for the handshake that this runs in. Somebody who drives rustls without us has
/// no slot: then the verdict comes back.
pub(super) fn note(verdict: Verdict) -> Result<(), Verdict> {
    let mut verdict = Some(verdict);
    let _ = SLOT.try_with(|slot| slot.verdict.replace(verdict.take()));
    verdict.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_verdict_goes_to_who_waits_for_it_or_comes_back() {
        let refused = || Err(HandshakeError::NoPeer);
        let ((), verdict) = of(Moment::default(), async { note(refused()).unwrap() }).await;
        assert!(matches!(verdict, Some(Err(HandshakeError::NoPeer))));
        assert!(matches!(note(refused()), Err(Err(HandshakeError::NoPeer))));
        assert!(
            of(Moment::default(), async {}).await.1.is_none(),
            "nothing is left over"
        );
    }
}

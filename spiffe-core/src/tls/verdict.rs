//! How a verdict gets from the verifier, which rustls calls, to whoever waits for the handshake.
//!
//! rustls drops the reasons of a verifier, and its configuration is shared by all connections. The
//! verifier runs inside of the handshake's own task, so that task's slot is where the verdict goes.

use std::cell::RefCell;
use std::future::Future;

use super::HandshakeError;
use crate::verify::Peer;

type Verdict = Result<Peer, HandshakeError>;

tokio::task_local! {
    static VERDICT: RefCell<Option<Verdict>>;
}

/// Runs a handshake and hands out the verdict of its verifier beside its outcome; there is none
/// where the handshake did not come so far.
pub(super) async fn of<F: Future>(handshake: F) -> (F::Output, Option<Verdict>) {
    VERDICT
        .scope(RefCell::new(None), async {
            let outcome = handshake.await;
            (outcome, VERDICT.with(|slot| slot.borrow_mut().take()))
        })
        .await
}

/// Notes the verdict for the handshake that this runs in. Somebody who drives rustls without us has
/// no slot: then the verdict comes back.
pub(super) fn note(verdict: Verdict) -> Result<(), Verdict> {
    let mut verdict = Some(verdict);
    let _ = VERDICT.try_with(|slot| slot.replace(verdict.take()));
    verdict.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_verdict_goes_to_who_waits_for_it_or_comes_back() {
        let refused = || Err(HandshakeError::NoPeer);
        let ((), verdict) = of(async { note(refused()).unwrap() }).await;
        assert!(matches!(verdict, Some(Err(HandshakeError::NoPeer))));
        assert!(matches!(note(refused()), Err(Err(HandshakeError::NoPeer))));
        assert!(of(async {}).await.1.is_none(), "nothing is left over");
    }
}

//! Join tokens: a secret that the operator hands to one agent, good for one attestation.
//!
//! The claim is the token itself; nothing is asked. Judging only looks the token up. It is spent by
//! the transaction that admits the node, so of many agents with one token one gets in, and an
//! attestation that fails later on leaves the token as it was.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use spiffe_core::x509::PublicKey;

use super::{Challenger, NodeAttestor, NodeProver, TokenBook, Verdict};
use crate::attestation::AttestError;
use crate::domain::{AgentName, JoinToken, SelectorSet};

/// What the configuration, and an agent's ID, call this attestor.
pub const NAME: &str = "join_token";

/// The server's half.
pub struct JoinTokenAttestor {
    book: Arc<dyn TokenBook>,
}

impl JoinTokenAttestor {
    /// An attestor that looks tokens up in this book.
    #[must_use]
    pub fn new(book: Arc<dyn TokenBook>) -> Self {
        Self { book }
    }
}

#[async_trait]
impl NodeAttestor for JoinTokenAttestor {
    async fn attest(
        &self,
        claim: Bytes,
        _agent_key: &PublicKey,
        _agent: &mut dyn Challenger,
        now: SystemTime,
    ) -> Result<Verdict, AttestError> {
        // What is no text was never handed out, so it is no token that we know.
        let text = std::str::from_utf8(&claim).map_err(|_| AttestError::TokenUnknown)?;
        let hash = JoinToken::from_text(text).hash();
        match self.book.look_up(&hash).await? {
            None => Err(AttestError::TokenUnknown),
            Some(end) if end <= now => Err(AttestError::TokenExpired),
            Some(_) => Ok(Verdict {
                // The hash was found, so this text is the token that was handed out, byte for byte.
                name: AgentName::new([text.to_owned()])?,
                selectors: SelectorSet::new(),
                may_reattest: false,
                spends: Some(hash),
            }),
        }
    }
}

/// The agent's half.
#[derive(Debug)]
pub struct JoinTokenProver {
    token: JoinToken,
}

impl JoinTokenProver {
    /// A prover that presents this token.
    #[must_use]
    pub fn new(token: JoinToken) -> Self {
        Self { token }
    }
}

#[async_trait]
impl NodeProver for JoinTokenProver {
    async fn claim(&self, _agent_key: &PublicKey) -> Result<Bytes, AttestError> {
        Ok(Bytes::copy_from_slice(self.token.reveal().as_bytes()))
    }

    async fn answer(&self, _challenge: Bytes) -> Result<Bytes, AttestError> {
        Err(AttestError::Malformed {
            what: "challenge",
            why: "a join token is all there is to prove, nothing can be asked about it".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use spiffe_core::x509::{KeyKind, PrivateKey};

    use super::*;
    use crate::attestation::node::Direct;
    use crate::domain::{Fault, Kind, TokenHash};

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    /// A book with one token in it, good until the time given.
    struct OneToken(TokenHash, SystemTime);

    #[async_trait]
    impl TokenBook for OneToken {
        async fn look_up(&self, token: &TokenHash) -> Result<Option<SystemTime>, AttestError> {
            Ok((*token == self.0).then_some(self.1))
        }
    }

    async fn judge(claim: &[u8], now: SystemTime) -> Result<Verdict, AttestError> {
        let end = NOW + Duration::from_secs(600);
        let book = OneToken(JoinToken::from_text("Token-1").hash(), end);
        let key = PrivateKey::generate(KeyKind::EcP256).unwrap();
        let prover = JoinTokenProver::new(JoinToken::from_text("unused"));
        JoinTokenAttestor::new(Arc::new(book))
            .attest(
                Bytes::copy_from_slice(claim),
                key.public_key(),
                &mut Direct(&prover),
                now,
            )
            .await
    }

    #[tokio::test]
    async fn both_halves_meet() {
        let key = PrivateKey::generate(KeyKind::EcP256).unwrap();
        let prover = JoinTokenProver::new(JoinToken::from_text("Token-1"));
        let claim = prover.claim(key.public_key()).await.unwrap();
        let verdict = judge(&claim, NOW).await.unwrap();
        assert_eq!(
            verdict.name,
            AgentName::new(["Token-1".to_owned()]).unwrap()
        );
        assert!(verdict.selectors.is_empty());
        assert!(!verdict.may_reattest);
        assert_eq!(verdict.spends, Some(JoinToken::from_text("Token-1").hash()));
    }

    #[tokio::test]
    async fn token_lookup_is_exact() {
        for wrong in [
            &b"token-1"[..],
            b"Token-1 ",
            b" Token-1",
            b"Token-1\0",
            b"Token-",
            b"Token-1\xf0\x9f\x98\x80",
            b"Token-1\xff",
            b"%",
            b"",
        ] {
            let refused = judge(wrong, NOW).await.unwrap_err();
            assert!(matches!(refused, AttestError::TokenUnknown), "{wrong:?}");
            assert_eq!(refused.kind(), Kind::Invalid);
        }
    }

    #[tokio::test]
    async fn refuses_a_token_from_the_second_it_ends() {
        let end = NOW + Duration::from_secs(600);
        assert!(
            judge(b"Token-1", end - Duration::from_secs(1))
                .await
                .is_ok()
        );
        let refused = judge(b"Token-1", end).await.unwrap_err();
        assert!(matches!(refused, AttestError::TokenExpired));
    }

    #[tokio::test]
    async fn has_no_answer_to_a_challenge() {
        let prover = JoinTokenProver::new(JoinToken::from_text("t"));
        let refused = prover.answer(Bytes::new()).await.unwrap_err();
        assert!(matches!(refused, AttestError::Malformed { .. }));
    }
}

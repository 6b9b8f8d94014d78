//! Proves what this node is with a join token, wherever that is found.

use std::io;
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use spiffe_core::x509::PublicKey;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use super::config::TokenSource;
use crate::attestation::AttestError;
use crate::attestation::node::NodeProver;
use crate::attestation::node::join_token::JoinTokenProver;
use crate::domain::JoinToken;

/// The agent's half of `join_token`. The token is looked for only when it is needed: an agent that
/// has its SVID needs none.
#[derive(Debug)]
pub struct TokenProver {
    source: Option<TokenSource>,
}

impl TokenProver {
    /// A prover with the token that is found there, if it is anywhere.
    #[must_use]
    pub fn new(source: Option<TokenSource>) -> Self {
        Self { source }
    }

    async fn find(&self) -> Result<JoinTokenProver, AttestError> {
        let token = match &self.source {
            Some(TokenSource::Here(token)) => token.clone(),
            Some(TokenSource::File(path)) => {
                let unfit = |what: &str| AttestError::Unfit(format!("{}: {what}", path.display()));
                let text = read(path)
                    .await
                    .map_err(|error| unfit(&format!("the join token cannot be read: {error}")))?;
                match text.trim() {
                    "" => return Err(unfit("there is no join token in it")),
                    _ if text.len() > MAX_LEN => {
                        return Err(unfit("there is more in it than a join token"));
                    }
                    token => JoinToken::from_text(token),
                }
            }
            None => {
                let what = "a join token is needed: make one with `spiffe-server token generate`, and \
                            give it with -joinToken, -joinTokenFile, or `join_token` in the configuration";
                return Err(AttestError::Unfit(what.to_owned()));
            }
        };
        Ok(JoinTokenProver::new(token))
    }
}

#[async_trait]
impl NodeProver for TokenProver {
    async fn claim(&self, agent_key: &PublicKey) -> Result<Bytes, AttestError> {
        self.find().await?.claim(agent_key).await
    }

    async fn answer(&self, challenge: Bytes) -> Result<Bytes, AttestError> {
        self.find().await?.answer(challenge).await
    }
}

/// The beginning of a file, by which it can be seen whether there is too much in it.
async fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let file = File::open(path).await?;
    file.take(MAX_LEN as u64 + 1)
        .read_to_string(&mut text)
        .await?;
    Ok(text)
}

/// Tokens of ours have 36 bytes; an operator may choose longer ones.
const MAX_LEN: usize = 4096;

#[cfg(test)]
mod tests {
    use spiffe_core::x509::{KeyKind, PrivateKey};

    use super::*;

    async fn claim(source: Option<TokenSource>) -> Result<Bytes, String> {
        let key = PrivateKey::generate(KeyKind::EcP256).unwrap();
        let claim = TokenProver::new(source).claim(key.public_key()).await;
        claim.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn the_token_is_found_here_or_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let here = TokenSource::Here(JoinToken::from_text("abc"));
        assert_eq!(claim(Some(here)).await.unwrap(), "abc");
        let file = || Some(TokenSource::File(path.clone()));
        assert!(claim(file()).await.unwrap_err().contains("cannot be read"));
        std::fs::write(&path, "t".repeat(4097)).unwrap();
        assert!(claim(file()).await.unwrap_err().contains("more in it"));
        std::fs::write(&path, " \n").unwrap();
        assert!(
            claim(file())
                .await
                .unwrap_err()
                .contains("no join token in it")
        );
        std::fs::write(&path, "abc\n").unwrap();
        assert_eq!(claim(file()).await.unwrap(), "abc");
    }

    #[tokio::test]
    async fn without_a_token_it_says_where_one_comes_from() {
        let told = claim(None).await.unwrap_err();
        assert!(
            told.contains("token generate") && told.contains("-joinToken"),
            "{told}"
        );
    }
}

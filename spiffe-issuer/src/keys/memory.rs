//! Keys in memory: made here, gone with the process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use spiffe_core::x509::{KeyKind, PrivateKey, PublicKey};
use tokio::task::spawn_blocking;

use super::{KeyError, KeyId, KeyManager, Scheme, Signer};
use crate::config::Issues;
use crate::plugin::BuiltIn;

/// `KeyManager "memory" {}`.
pub const MEMORY: BuiltIn<dyn KeyManager> = BuiltIn {
    name: "memory",
    make: |settings, _| {
        let mut issues = Issues::default();
        let read = settings.fields(&mut issues, |_| Some(()));
        issues.finish(read)?.logged();
        Ok(Arc::new(MemoryKeys::default()))
    },
};

/// Keeps keys for as long as the process lives.
#[derive(Debug, Default)]
pub struct MemoryKeys {
    keys: Mutex<HashMap<KeyId, Arc<SoftwareKey>>>,
}

#[async_trait]
impl KeyManager for MemoryKeys {
    async fn generate(&self, id: &KeyId, kind: KeyKind) -> Result<Arc<dyn Signer>, KeyError> {
        let key = make(id.clone(), kind).await?;
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(id.clone(), Arc::clone(&key));
        Ok(key)
    }

    async fn find(&self, id: &KeyId) -> Result<Option<Arc<dyn Signer>>, KeyError> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let key = keys.get(id).cloned();
        Ok(key.map(|key| key as Arc<dyn Signer>))
    }
}

/// Makes a key beside the reactor: an RSA key takes seconds.
pub(super) async fn make(id: KeyId, kind: KeyKind) -> Result<Arc<SoftwareKey>, KeyError> {
    spawn_blocking(move || SoftwareKey::generate(&id, kind).map(Arc::new))
        .await
        .map_err(|_| KeyError::Stopped)?
}

/// A private key in this process's memory.
#[derive(Debug)]
pub(super) struct SoftwareKey {
    key: PrivateKey,
    scheme: Scheme,
}

impl SoftwareKey {
    fn generate(id: &KeyId, kind: KeyKind) -> Result<Self, KeyError> {
        let key = PrivateKey::generate(kind).map_err(|source| KeyError::Generate {
            id: id.clone(),
            source,
        })?;
        let scheme = match kind {
            KeyKind::EcP256 => Scheme::EcdsaP256Sha256,
            KeyKind::EcP384 => Scheme::EcdsaP384Sha384,
            KeyKind::Rsa2048 | KeyKind::Rsa4096 => Scheme::RsaPkcs1Sha256,
        };
        Ok(Self { key, scheme })
    }

    /// This key, if it is of a kind that we make.
    pub(super) fn of(key: PrivateKey) -> Option<Self> {
        let scheme = Scheme::of(key.public_key())?;
        Some(Self { key, scheme })
    }

    pub(super) fn private_key(&self) -> &PrivateKey {
        &self.key
    }
}

impl Signer for SoftwareKey {
    fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    fn scheme(&self) -> Scheme {
        self.scheme
    }

    fn sign(&self, message: &[u8], scheme: Scheme) -> Result<Vec<u8>, KeyError> {
        if scheme != self.scheme {
            return Err(KeyError::Scheme(scheme));
        }
        self.key.sign(message).map_err(KeyError::Sign)
    }

    fn in_memory(&self) -> Option<&PrivateKey> {
        Some(&self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_found_by_its_id_until_a_new_one_takes_its_place() {
        let keys = MemoryKeys::default();
        let [a, b] = KeyId::X509_CA;
        assert!(keys.find(&a).await.unwrap().is_none());
        let first = keys.generate(&a, KeyKind::EcP256).await.unwrap();
        let found = keys.find(&a).await.unwrap().unwrap();
        assert_eq!(found.public_key(), first.public_key());
        assert!(keys.find(&b).await.unwrap().is_none());

        let second = keys.generate(&a, KeyKind::EcP256).await.unwrap();
        let found = keys.find(&a).await.unwrap().unwrap();
        assert_eq!(found.public_key(), second.public_key());
        assert_ne!(found.public_key(), first.public_key());
    }

    #[tokio::test]
    async fn each_kind_signs_with_its_own_scheme_and_no_other() {
        let keys = MemoryKeys::default();
        for (kind, scheme) in [
            (KeyKind::EcP256, Scheme::EcdsaP256Sha256),
            (KeyKind::EcP384, Scheme::EcdsaP384Sha384),
            (KeyKind::Rsa2048, Scheme::RsaPkcs1Sha256),
        ] {
            let signer = keys.generate(&KeyId::new("k"), kind).await.unwrap();
            assert_eq!(signer.scheme(), scheme);
            assert_eq!(Scheme::of(signer.public_key()), Some(scheme));
            for other in [
                Scheme::EcdsaP256Sha256,
                Scheme::EcdsaP384Sha384,
                Scheme::RsaPkcs1Sha256,
            ] {
                let signed = signer.sign(b"message", other);
                assert_eq!(signed.is_ok(), other == scheme, "{kind:?} {other:?}");
            }
        }
    }
}

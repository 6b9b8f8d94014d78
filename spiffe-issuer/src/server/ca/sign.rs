//! Signing: from what is to be certified to the chain that is handed out.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use futures_util::future::try_join_all;
use spiffe_core::x509::Certificate;

use super::asn1;
use super::pool::SigningPool;
use super::template::{Leaf, Root, SerialNumber};
use super::{AuthorityState, CaError};
use crate::keys::Signer;

/// What signs at this moment. Cheap to share: whoever holds it always signs with the present
/// authority.
#[derive(Debug)]
pub struct Authorities {
    x509: ArcSwapOption<X509>,
    pool: SigningPool,
}

/// The X.509 authorities of one moment.
#[derive(Debug)]
pub(super) struct X509 {
    pub(super) active: Arc<X509Authority>,
    pub(super) states: Vec<AuthorityState>,
}

/// An authority that can sign.
#[derive(Debug)]
pub(super) struct X509Authority {
    pub(super) certificate: Certificate,
    pub(super) signer: Arc<dyn Signer>,
    /// What goes out behind each leaf: the authority's own certificate where it is not a root, and
    /// those above it but for the root.
    pub(super) intermediates: Vec<Certificate>,
}

impl Authorities {
    /// No authorities yet; the [`CaManager`](super::CaManager) brings them.
    #[must_use]
    pub fn none() -> Arc<Self> {
        Arc::new(Self {
            x509: ArcSwapOption::empty(),
            pool: SigningPool::new(),
        })
    }

    /// Signs an X509-SVID and returns its chain: the leaf first, the root never.
    ///
    /// # Errors
    ///
    /// Where no authority is ready, or signing fails.
    pub async fn issue(&self, leaf: Leaf, now: SystemTime) -> Result<Vec<Certificate>, CaError> {
        let authority = self.active()?;
        self.pool.run(1, move || authority.sign(&leaf, now)).await?
    }

    /// Signs many X509-SVIDs, and returns what came of each, in order.
    ///
    /// # Errors
    ///
    /// Where no authority is ready, or there is more to sign than the pool takes.
    pub async fn issue_all(
        &self,
        leaves: &[Leaf],
        now: SystemTime,
    ) -> Result<Vec<Result<Vec<Certificate>, CaError>>, CaError> {
        let authority = self.active()?;
        let batches = leaves.chunks(BATCH).map(|batch| {
            let (batch, authority) = (batch.to_vec(), Arc::clone(&authority));
            self.pool.run(batch.len(), move || {
                let chains = batch.iter().map(|leaf| authority.sign(leaf, now));
                chains.collect::<Vec<_>>()
            })
        });
        let batches = try_join_all(batches).await?;
        Ok(batches.into_iter().flatten().collect())
    }

    /// How the X.509 authorities stand: the one that signs first.
    #[must_use]
    pub fn x509_states(&self) -> Vec<AuthorityState> {
        let x509 = self.x509.load();
        x509.as_ref()
            .map_or_else(Vec::new, |x509| x509.states.clone())
    }

    pub(super) fn replace_x509(&self, x509: X509) {
        self.x509.store(Some(Arc::new(x509)));
    }

    /// The authority that signs, held for as long as one signature takes.
    fn active(&self) -> Result<Arc<X509Authority>, CaError> {
        let x509 = self.x509.load();
        let x509 = x509.as_ref().ok_or(CaError::NotReady)?;
        Ok(Arc::clone(&x509.active))
    }

    /// Makes a root and signs it with its own key.
    pub(super) async fn self_sign(
        &self,
        root: Root,
        signer: Arc<dyn Signer>,
        now: SystemTime,
    ) -> Result<Certificate, CaError> {
        let sign = move || {
            let serial = SerialNumber::random()?;
            let tbs = root.to_tbs(signer.public_key(), signer.scheme(), &serial, now)?;
            certificate(&tbs, &*signer)
        };
        self.pool.run(1, sign).await?
    }
}

impl X509Authority {
    pub(super) fn sign(&self, leaf: &Leaf, now: SystemTime) -> Result<Vec<Certificate>, CaError> {
        let serial = SerialNumber::random()?;
        let scheme = self.signer.scheme();
        let tbs = leaf.to_tbs(&self.certificate, scheme, &serial, now)?;
        let mut chain = vec![certificate(&tbs, &*self.signer)?];
        chain.extend_from_slice(&self.intermediates);
        Ok(chain)
    }
}

fn certificate(tbs: &[u8], signer: &dyn Signer) -> Result<Certificate, CaError> {
    let scheme = signer.scheme();
    let signature = signer.sign(tbs, scheme)?;
    let der = asn1::certificate(tbs, scheme, &signature)?;
    Ok(Certificate::from_der(&der)?)
}

/// How many signatures are one piece of work: enough to make up for handing it over, and little
/// enough that nobody waits long behind it.
const BATCH: usize = 16;

//! Signing: from what is to be certified to the chain that is handed out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use futures_util::future::try_join_all;
use spiffe_core::TrustDomain;
use spiffe_core::x509::{Certificate, PublicKey};

use super::asn1;
use super::journal::TokenKind;
use super::pool::SigningPool;
use super::template::{Intermediate, Leaf, Root, SerialNumber};
use super::token::{SignedToken, Token, TokenSigner};
use super::{AuthorityState, CaError};
use crate::domain::{AuthorityId, AuthorityKind};
use crate::keys::Signer;

/// What signs at this moment. Cheap to share: whoever holds it always signs with the present
/// authority.
#[derive(Debug)]
pub struct Authorities {
    x509: ArcSwapOption<X509>,
    jwt: ArcSwapOption<Tokens>,
    wit: ArcSwapOption<Tokens>,
    pool: SigningPool,
}

/// The X.509 authorities of one moment.
#[derive(Debug)]
pub(super) struct X509 {
    pub(super) active: Arc<X509Authority>,
    pub(super) known: Vec<Known>,
}

/// The authorities of one kind of tokens at one moment.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) active: Arc<TokenSigner>,
    pub(super) known: Vec<Known>,
}

/// How an authority stands, and what it has signed.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) state: AuthorityState,
    pub(super) signed: Arc<Signed>,
}

/// When the last thing that an authority signed ends.
#[derive(Debug, Default)]
pub(super) struct Signed {
    /// Seconds since 1970; zero where nothing was signed.
    until: AtomicU64,
}

impl Signed {
    /// Something is signed that ends then.
    pub(super) fn note(&self, end: SystemTime) {
        let since = end.duration_since(SystemTime::UNIX_EPOCH);
        let end = since.unwrap_or_default().as_secs();
        self.until.fetch_max(end, Ordering::Relaxed);
    }

    fn until(&self) -> Option<SystemTime> {
        match self.until.load(Ordering::Relaxed) {
            0 => None,
            seconds => Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
        }
    }
}

/// An authority that can sign.
#[derive(Debug)]
pub(super) struct X509Authority {
    pub(super) certificate: Certificate,
    pub(super) signer: Arc<dyn Signer>,
    /// What goes out behind each leaf: the authority's own certificate where it is not a root, and
    /// those above it but for the root.
    pub(super) intermediates: Vec<Certificate>,
    pub(super) signed: Arc<Signed>,
}

impl Authorities {
    /// No authorities yet; the [`CaManager`](super::CaManager) brings them.
    #[must_use]
    pub fn none() -> Arc<Self> {
        Arc::new(Self {
            x509: ArcSwapOption::empty(),
            jwt: ArcSwapOption::empty(),
            wit: ArcSwapOption::empty(),
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

    /// Signs a JWT-SVID.
    ///
    /// # Errors
    ///
    /// Where no authority is ready, or signing fails.
    pub async fn sign_jwt(&self, token: Token, now: SystemTime) -> Result<SignedToken, CaError> {
        self.sign_token(TokenKind::Jwt, token, now).await
    }

    /// Signs a WIT-SVID.
    ///
    /// # Errors
    ///
    /// Where no authority is ready, or signing fails.
    pub async fn sign_wit(&self, token: Token, now: SystemTime) -> Result<SignedToken, CaError> {
        self.sign_token(TokenKind::Wit, token, now).await
    }

    async fn sign_token(
        &self,
        kind: TokenKind,
        token: Token,
        now: SystemTime,
    ) -> Result<SignedToken, CaError> {
        let tokens = self.tokens(kind).load();
        let tokens = tokens.as_ref().ok_or(CaError::NotReady)?;
        let signer = Arc::clone(&tokens.active);
        self.pool.run(1, move || signer.sign(token, now)).await?
    }

    /// Makes an authority of a server below us, and returns its chain: its own certificate first, the
    /// root never.
    ///
    /// # Errors
    ///
    /// Where no authority is ready, or signing fails.
    pub async fn issue_downstream(
        &self,
        trust_domain: TrustDomain,
        public_key: PublicKey,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Vec<Certificate>, CaError> {
        let authority = self.active()?;
        let sign = move || {
            let above = match &*authority.intermediates {
                [] => std::slice::from_ref(&authority.certificate),
                chain => chain,
            };
            let below = Intermediate::downstream(trust_domain, above, public_key, lifetime)?;
            authority.sign_intermediate(&below, now)
        };
        self.pool.run(1, sign).await?
    }

    /// How the X.509 authorities stand: the one that signs first.
    #[must_use]
    pub fn x509_states(&self) -> Vec<AuthorityState> {
        self.states(AuthorityKind::X509)
    }

    /// How the authorities of a kind stand: the one that signs first.
    #[must_use]
    pub fn states(&self, kind: AuthorityKind) -> Vec<AuthorityState> {
        self.known(kind, |known| {
            known.iter().map(|known| known.state.clone()).collect()
        })
    }

    /// When the last thing ends that an authority signed: no later than that, and the end of the
    /// authority where nobody counted. `None` where it signed nothing, or is none of ours.
    #[must_use]
    pub fn signed_until(&self, kind: AuthorityKind, id: &AuthorityId) -> Option<SystemTime> {
        self.known(kind, |known| {
            let known = known.iter().find(|known| known.state.id == *id)?;
            known.signed.until()
        })
    }

    fn known<T: Default>(&self, kind: AuthorityKind, read: impl FnOnce(&[Known]) -> T) -> T {
        let tokens = match kind {
            AuthorityKind::X509 => {
                let x509 = self.x509.load();
                return x509
                    .as_ref()
                    .map(|x509| read(&x509.known))
                    .unwrap_or_default();
            }
            AuthorityKind::Jwt => self.jwt.load(),
            AuthorityKind::Wit => self.wit.load(),
        };
        let tokens = tokens.as_ref();
        tokens.map(|tokens| read(&tokens.known)).unwrap_or_default()
    }

    pub(super) fn replace_x509(&self, x509: X509) {
        self.x509.store(Some(Arc::new(x509)));
    }

    pub(super) fn replace_tokens(&self, kind: TokenKind, tokens: Tokens) {
        self.tokens(kind).store(Some(Arc::new(tokens)));
    }

    fn tokens(&self, kind: TokenKind) -> &ArcSwapOption<Tokens> {
        match kind {
            TokenKind::Jwt => &self.jwt,
            TokenKind::Wit => &self.wit,
        }
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
        Ok(self.chain(certificate(&tbs, &*self.signer)?))
    }

    fn sign_intermediate(
        &self,
        below: &Intermediate,
        now: SystemTime,
    ) -> Result<Vec<Certificate>, CaError> {
        let own = sign_intermediate(&self.certificate, &*self.signer, below, now)?;
        Ok(self.chain(own))
    }

    fn chain(&self, signed: Certificate) -> Vec<Certificate> {
        self.signed.note(signed.not_after());
        let mut chain = vec![signed];
        chain.extend_from_slice(&self.intermediates);
        chain
    }
}

/// Signs an authority below the one of this certificate and key.
///
/// # Errors
///
/// Where the one above has ended, or signing fails.
pub fn sign_intermediate(
    above: &Certificate,
    signer: &dyn Signer,
    below: &Intermediate,
    now: SystemTime,
) -> Result<Certificate, CaError> {
    let serial = SerialNumber::random()?;
    let tbs = below.to_tbs(above, signer.scheme(), &serial, now)?;
    certificate(&tbs, signer)
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

//! What operators have done to authorities: prepare, activate, taint, revoke.
//!
//! Orders go to the one who rotates, one after the other and between its own steps, so no order meets
//! an authority that is just becoming another one. Texts are known to clients.

use std::time::SystemTime;

use spiffe_core::with_causes;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};

use super::{AuthorityState, CaError, CaManager};
use crate::domain::{AuthorityId, AuthorityKind, Fault, Kind, Standing};
use crate::server::store::StoreError;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Let the prepared authority sign.
    Activate(AuthorityKind, AuthorityId),
    /// Make the next authority.
    Prepare(AuthorityKind),
    /// Take the old authority out of the bundle.
    Revoke(AuthorityKind, AuthorityId),
    /// Take the root above the old authority out of the bundle.
    RevokeUpstream(AuthorityId),
    /// Have what the old authority signed replaced.
    Taint(AuthorityKind, AuthorityId),
    /// Have what was signed below the root above the old authority replaced.
    TaintUpstream(AuthorityId),
}

/// Takes orders to the one who carries them out.
#[derive(Debug, Clone)]
pub struct Orders(mpsc::Sender<Given>);

type Given = (Order, oneshot::Sender<Result<AuthorityState, OrderError>>);

/// Where orders arrive.
pub(super) struct Desk(mpsc::Receiver<Given>);

impl Orders {
    pub(super) fn new() -> (Self, Desk) {
        let (give, take) = mpsc::channel(LINE);
        (Self(give), Desk(take))
    }

    /// Has an order carried out, also where nobody waits any longer, and returns how the authority
    /// stands that it was about.
    ///
    /// # Errors
    ///
    /// Where it cannot be done.
    pub async fn give(&self, order: Order) -> Result<AuthorityState, OrderError> {
        let (reply, done) = oneshot::channel();
        let given = self.0.send((order, reply)).await;
        given.map_err(|_| OrderError::Stopped)?;
        done.await.map_err(|_| OrderError::Stopped)?
    }
}

impl Desk {
    /// The next order, whenever it comes; dropping this loses none.
    pub(super) async fn next(&mut self) -> Option<Given> {
        self.0.recv().await
    }
}

impl CaManager {
    /// Carries out one order and tells whoever gave it.
    pub(super) async fn serve(&mut self, (order, reply): Given) {
        // Whoever gave it may have gone meanwhile.
        let _ = reply.send(self.obey(order).await);
    }

    /// Carries out an order, and returns how the authority stands that it was about.
    ///
    /// # Errors
    ///
    /// Where its authority does not stand as it has to, or the step fails; then nothing has changed.
    pub async fn obey(&mut self, order: Order) -> Result<AuthorityState, OrderError> {
        match order {
            Order::Activate(kind, id) => self.order_activate(kind, &id).await,
            Order::Prepare(kind) => self.order_prepare(kind).await,
            Order::Revoke(kind, id) => self.order_revoke(kind, &id).await,
            Order::RevokeUpstream(id) => self.order_revoke_upstream(&id).await,
            Order::Taint(kind, id) => self.order_taint(kind, &id).await,
            Order::TaintUpstream(id) => self.order_taint_upstream(&id).await,
        }
    }

    async fn order_prepare(&mut self, kind: AuthorityKind) -> Result<AuthorityState, OrderError> {
        self.enabled(kind)?;
        self.standing(kind, Standing::Active)
            .ok_or(OrderError::Initializing)?;
        let prepared = self.prepare(kind, self.now()).await;
        prepared.map_err(|source| OrderError::step("failed to prepare", kind, source))?;
        let next = self.standing(kind, Standing::Prepared);
        next.ok_or(OrderError::Initializing)
    }

    async fn order_activate(
        &mut self,
        kind: AuthorityKind,
        id: &AuthorityId,
    ) -> Result<AuthorityState, OrderError> {
        self.enabled(kind)?;
        named(id).map_err(OrderError::Misused)?;
        match self.standing_of(kind, id) {
            Some(Standing::Prepared) => {}
            Some(Standing::Old) => return Err(OrderError::NotPrepared),
            Some(Standing::Active) | None => {
                return Err(OrderError::Misused("unexpected authority ID"));
            }
        }
        let activated = self.activate(kind, self.now()).await;
        activated.map_err(|source| OrderError::step("failed to activate", kind, source))?;
        let active = self.standing(kind, Standing::Active);
        active.ok_or(OrderError::Initializing)
    }

    async fn order_taint(
        &mut self,
        kind: AuthorityKind,
        id: &AuthorityId,
    ) -> Result<AuthorityState, OrderError> {
        self.enabled(kind)?;
        if kind == AuthorityKind::X509 && self.has_upstream() {
            let what = "local authority can't be tainted if there is an upstream authority";
            return Err(OrderError::Upstream(what));
        }
        named(id).map_err(OrderError::Misused)?;
        match self.standing_of(kind, id) {
            Some(Standing::Old) => {}
            Some(Standing::Active) => {
                let what = "unable to taint current local authority";
                return Err(OrderError::Misused(what));
            }
            Some(Standing::Prepared) => {
                return Err(OrderError::Misused(
                    "only Old local authorities can be tainted: unsupported local authority \
                     status: PREPARED",
                ));
            }
            None => return Err(OrderError::Misused("unexpected authority ID")),
        }
        let tainted = self.taint(kind, id).await;
        tainted.map_err(|source| OrderError::bundle("failed to taint", kind, source))?;
        info!(local_authority_id = %id, "{kind} authority tainted successfully");
        let old = self.standing(kind, Standing::Old);
        old.ok_or(OrderError::Initializing)
    }

    async fn order_revoke(
        &mut self,
        kind: AuthorityKind,
        id: &AuthorityId,
    ) -> Result<AuthorityState, OrderError> {
        self.enabled(kind)?;
        if kind == AuthorityKind::X509 && self.has_upstream() {
            let what = "local authority can't be revoked if there is an upstream authority";
            return Err(OrderError::Upstream(what));
        }
        named(id).map_err(OrderError::InvalidId)?;
        let revocable = match (kind, self.standing_of(kind, id)) {
            (_, Some(Standing::Old)) => Ok(()),
            (_, Some(Standing::Active)) => Err("unable to use current authority"),
            (AuthorityKind::X509, _) => Err("only Old local authority can be revoked"),
            (_, Some(Standing::Prepared)) => Err("unable to use a prepared key"),
            // A key that another server published, or that this one has forgotten.
            (_, None) => Ok(()),
        };
        revocable.map_err(OrderError::InvalidId)?;
        let old = self.standing(kind, Standing::Old);
        let revoked = self.revoke(kind, id).await;
        let end = revoked.map_err(|source| match source {
            CaError::Store(StoreError::NoAuthority(_)) => match kind {
                AuthorityKind::Jwt => {
                    OrderError::InvalidId("no JWT authority found with provided authority ID")
                }
                AuthorityKind::Wit => {
                    OrderError::InvalidId("no WIT authority found with provided authority ID")
                }
                AuthorityKind::X509 => OrderError::bundle("failed to revoke", kind, source),
            },
            source => OrderError::bundle("failed to revoke", kind, source),
        })?;
        info!(local_authority_id = %id, "{kind} authority revoked successfully");
        let state = old.filter(|old| old.id == *id);
        Ok(state.unwrap_or_else(|| AuthorityState {
            id: id.clone(),
            standing: Standing::Old,
            expires_at: end.unwrap_or(SystemTime::UNIX_EPOCH),
            upstream: None,
        }))
    }

    async fn order_taint_upstream(
        &mut self,
        id: &AuthorityId,
    ) -> Result<AuthorityState, OrderError> {
        let old = self.below(id)?.map_err(|why| {
            OrderError::InvalidUpstream("provided subject key id is not valid", why)
        })?;
        let tainted = self.taint(AuthorityKind::X509, id).await;
        tainted.map_err(|source| OrderError::Bundle {
            what: "failed to taint upstream authority".to_owned(),
            source,
        })?;
        info!(subject_key_id = %id, "X.509 upstream authority tainted successfully");
        Ok(old)
    }

    async fn order_revoke_upstream(
        &mut self,
        id: &AuthorityId,
    ) -> Result<AuthorityState, OrderError> {
        let old = self
            .below(id)?
            .map_err(|why| OrderError::InvalidUpstream("invalid subject key ID", why))?;
        let revoked = self.revoke(AuthorityKind::X509, id).await;
        revoked.map_err(|source| OrderError::Bundle {
            what: "failed to revoke X.509 upstream authority".to_owned(),
            source,
        })?;
        info!(subject_key_id = %id, "X.509 upstream authority successfully revoked");
        Ok(old)
    }

    /// The old authority, if it alone stands below this root.
    fn below(
        &self,
        root: &AuthorityId,
    ) -> Result<Result<AuthorityState, &'static str>, OrderError> {
        if !self.has_upstream() {
            let what = "upstream authority is not configured";
            return Err(OrderError::Upstream(what));
        }
        let stands = |standing| {
            let state = self.standing(AuthorityKind::X509, standing);
            state.filter(|state| state.upstream.as_ref() == Some(root))
        };
        Ok(if root.as_str().is_empty() {
            Err("no subject key ID provided")
        } else if stands(Standing::Active).is_some() {
            // "singing" is how SPIRE's clients know it.
            Err("unable to use upstream authority singing current authority")
        } else if stands(Standing::Prepared).is_some() {
            Err("only upstream authorities signing an old authority can be used")
        } else {
            stands(Standing::Old).ok_or("upstream authority didn't sign the old local authority")
        })
    }

    fn standing(&self, kind: AuthorityKind, standing: Standing) -> Option<AuthorityState> {
        let mut states = self.states(kind).into_iter();
        states.find(|state| state.standing == standing)
    }

    fn standing_of(&self, kind: AuthorityKind, id: &AuthorityId) -> Option<Standing> {
        let mut states = self.states(kind).into_iter();
        states
            .find(|state| state.id == *id)
            .map(|state| state.standing)
    }

    fn enabled(&self, kind: AuthorityKind) -> Result<(), OrderError> {
        match self.has(kind) {
            true => Ok(()),
            false => Err(OrderError::Disabled(kind)),
        }
    }
}

fn named(id: &AuthorityId) -> Result<(), &'static str> {
    match id.as_str() {
        "" => Err("no authority ID provided"),
        _ => Ok(()),
    }
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The bundle does not have the authority as it has to be, or cannot be changed.
    #[error("{what}")]
    Bundle {
        /// What was to be done.
        what: String,
        /// Why it was not.
        source: CaError,
    },
    /// There are no authorities of this kind.
    #[error("{0} functionality is disabled")]
    Disabled(AuthorityKind),
    /// There is no authority yet.
    #[error("server is initializing")]
    Initializing,
    /// It names an authority that cannot be revoked.
    #[error("invalid authority ID: {0}")]
    InvalidId(&'static str),
    /// It names a root that cannot be tainted or revoked now.
    #[error("{0}: {1}")]
    InvalidUpstream(&'static str, &'static str),
    /// It names no authority, or one that does not stand as it has to.
    #[error("{0}")]
    Misused(&'static str),
    /// The authority has signed already.
    #[error("only Prepared authorities can be activated: unsupported local authority status: OLD")]
    NotPrepared,
    /// A step of the rotation failed.
    #[error("{what}")]
    Step {
        /// What was to be done.
        what: String,
        /// Why it was not.
        source: CaError,
    },
    /// The server is about to end.
    #[error("the authorities are no longer rotated")]
    Stopped,
    /// It is about an authority above ours and there is none, or about our own and there is one above.
    #[error("{0}")]
    Upstream(&'static str),
}

impl OrderError {
    fn step(what: &str, kind: AuthorityKind, source: CaError) -> Self {
        let failed: &dyn std::error::Error = &source;
        error!(error = failed, "{what} {kind} authority");
        Self::Step {
            what: format!("{what} {kind} authority"),
            source,
        }
    }

    fn bundle(what: &str, kind: AuthorityKind, source: CaError) -> Self {
        Self::Bundle {
            what: format!("{what} {kind} authority"),
            source,
        }
    }
}

impl Fault for OrderError {
    fn kind(&self) -> Kind {
        match self {
            Self::Bundle { source, .. } | Self::Step { source, .. } => match source.kind() {
                Kind::Unavailable => Kind::Unavailable,
                _ => Kind::Internal,
            },
            Self::Disabled(_) => Kind::Unimplemented,
            Self::Initializing | Self::Stopped => Kind::Unavailable,
            Self::InvalidId(_) | Self::InvalidUpstream(..) | Self::Misused(_) => Kind::Invalid,
            Self::NotPrepared => Kind::Internal,
            Self::Upstream(_) => Kind::NotReady,
        }
    }

    fn told(&self) -> Option<String> {
        match self {
            // What is wrong with the authority is known to clients, what is wrong with us is not told.
            Self::Bundle {
                what,
                source:
                    CaError::Store(
                        source @ (StoreError::AlreadyTainted(_)
                        | StoreError::NoAuthority(_)
                        | StoreError::NoRootToTaint
                        | StoreError::Untainted(_)),
                    ),
            } => Some(format!("{what}: {source}")),
            Self::Step {
                what,
                source: CaError::Upstream(source),
            } => Some(format!("{what}: {}", with_causes(source))),
            Self::Bundle { what, .. } | Self::Step { what, .. } => Some(what.clone()),
            Self::Initializing | Self::NotPrepared | Self::Stopped => Some(self.to_string()),
            _ => None,
        }
    }
}

/// How many orders may wait. Operators are few, and each waits for the answer.
const LINE: usize = 16;

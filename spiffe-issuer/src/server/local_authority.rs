//! The authorities of this server, as operators see and order them, and who still uses one.

use std::sync::Arc;
use std::time::SystemTime;

use spiffe_core::clock::Clock;
use spiffe_core::{SpiffeId, TrustDomain};

use super::ca::{Authorities, AuthorityState, Order, OrderError, Orders};
use super::store::{BundleStore, DataStore, NodeStore, StoreError};
use crate::domain::{AuthorityId, AuthorityKind, Fault, Kind, NodeFilter, Page, Paged, Standing};

/// This server's own authorities. Those of other servers on the same store are theirs to order.
pub struct LocalAuthority {
    trust_domain: TrustDomain,
    kinds: Vec<AuthorityKind>,
    authorities: Arc<Authorities>,
    orders: Orders,
    bundles: Arc<dyn BundleStore>,
    nodes: Arc<dyn NodeStore>,
    clock: Arc<dyn Clock>,
}

/// How the authorities of one kind stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standings {
    /// The one that signs.
    pub active: Option<AuthorityState>,
    /// The one that will.
    pub prepared: Option<AuthorityState>,
    /// The one that did.
    pub old: Option<AuthorityState>,
}

/// Who still uses an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Which one it is.
    pub id: AuthorityId,
    /// How far it has come; `None` where it is not this server's, or forgotten.
    pub standing: Option<Standing>,
    /// Whether those who verify believe it; the root above it, where there is one.
    pub in_bundle: bool,
    /// Whether what it signed is being replaced.
    pub tainted: bool,
    /// When the last thing that it signed ends.
    pub signed_until: SignedUntil,
    /// How many agents hold an SVID that it signed.
    pub agent_count: u64,
    /// Some of these agents, and when their SVIDs end.
    pub agents: Vec<(SpiffeId, SystemTime)>,
}

/// When the last thing ends that an authority signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedUntil {
    /// Nothing of it is left.
    Nothing,
    /// Nobody has counted, and the authority has no end of its own: it may be in use.
    Unknown,
    /// Then, at the latest.
    Until(SystemTime),
}

impl SignedUntil {
    /// How it stands now with what ends at `end`.
    fn of(end: SystemTime, now: SystemTime) -> Self {
        match end > now {
            true => Self::Until(end),
            false => Self::Nothing,
        }
    }
}

impl LocalAuthority {
    /// The authorities that these orders reach. `kinds` are the kinds that there are.
    #[must_use]
    pub fn new(
        trust_domain: TrustDomain,
        kinds: Vec<AuthorityKind>,
        authorities: Arc<Authorities>,
        orders: Orders,
        store: Arc<dyn DataStore>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            trust_domain,
            kinds,
            authorities,
            orders,
            bundles: store.clone(),
            nodes: store,
            clock,
        }
    }

    /// How the authorities of a kind stand.
    ///
    /// # Errors
    ///
    /// Where there are none of this kind, or none yet.
    pub fn standings(&self, kind: AuthorityKind) -> Result<Standings, OrderError> {
        if !self.kinds.contains(&kind) {
            return Err(OrderError::Disabled(kind));
        }
        let mut standings = Standings::default();
        for state in self.authorities.states(kind) {
            let place = match state.standing {
                Standing::Active => &mut standings.active,
                Standing::Old => &mut standings.old,
                Standing::Prepared => &mut standings.prepared,
            };
            *place = Some(state);
        }
        match standings.active {
            Some(_) => Ok(standings),
            None => Err(OrderError::Initializing),
        }
    }

    /// Has an order carried out, and returns how the authority stands that it was about.
    ///
    /// # Errors
    ///
    /// Where it cannot be done; then nothing has changed.
    pub async fn order(&self, order: Order) -> Result<AuthorityState, OrderError> {
        self.orders.give(order).await
    }

    /// Who still uses an authority.
    ///
    /// # Errors
    ///
    /// Where there is no such authority, or the store fails.
    pub async fn usage(&self, kind: AuthorityKind, id: &AuthorityId) -> Result<Usage, UsageError> {
        let now = self.clock.now();
        let mut states = self.authorities.states(kind).into_iter();
        let state = states.find(|state| state.id == *id);
        let bundle = self.bundles.find_bundle(&self.trust_domain).await?;
        // The root above an authority is what is believed.
        let believed = state.as_ref().and_then(|state| state.upstream.as_ref());
        let believed = believed.unwrap_or(id);
        let tainted = bundle.as_ref().and_then(|b| b.taint_of(kind, believed));
        if state.is_none() && tainted.is_none() {
            return Err(UsageError::Unknown(kind));
        }
        let (end, without) = match &state {
            Some(_) => (
                self.authorities.signed_until(kind, id),
                SignedUntil::Nothing,
            ),
            // Another server's, or one from before this one lost its journal: nobody here has counted.
            None => (
                bundle.and_then(|bundle| bundle.end_of(kind, id)),
                SignedUntil::Unknown,
            ),
        };
        let (agent_count, agents) = match kind {
            AuthorityKind::X509 => self.agents(id, now).await?,
            AuthorityKind::Jwt | AuthorityKind::Wit => (0, Vec::new()),
        };
        Ok(Usage {
            id: id.clone(),
            standing: state.map(|state| state.standing),
            in_bundle: tainted.is_some(),
            tainted: tainted.unwrap_or_default(),
            signed_until: end.map_or(without, |end| SignedUntil::of(end, now)),
            agent_count,
            agents,
        })
    }

    async fn agents(
        &self,
        id: &AuthorityId,
        now: SystemTime,
    ) -> Result<(u64, Vec<(SpiffeId, SystemTime)>), StoreError> {
        let filter = NodeFilter {
            holds: Some((id.clone(), now)),
            ..NodeFilter::default()
        };
        let count = self.nodes.count_nodes(&filter).await?;
        let Paged { items, .. } = self.nodes.list_nodes(&filter, &Page::first(TOLD)).await?;
        let agents = items.into_iter().map(|node| {
            let renewed = node
                .renewed
                .filter(|svid| svid.authority.as_ref() == Some(id));
            let current = (node.authority.as_ref() == Some(id)).then_some(node.expires_at);
            let end = renewed.map(|svid| svid.expires_at).max(current);
            (node.id, end.unwrap_or(now))
        });
        Ok((count, agents.collect()))
    }
}

/// Why it is not told who uses an authority.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// The store failed.
    #[error("the users of the authority could not be read")]
    Store(#[from] StoreError),
    /// There is no such authority.
    #[error("no {0} authority found with provided authority ID")]
    Unknown(AuthorityKind),
}

impl Fault for UsageError {
    fn kind(&self) -> Kind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Unknown(_) => Kind::NotFound,
        }
    }
}

/// How many agents are named. Whoever has more to wait for needs the number, and no list.
const TOLD: usize = 100;

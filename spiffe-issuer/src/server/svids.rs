//! X.509-SVIDs: for agents what their entries allow, and minted for administrators.

use std::sync::Arc;
use std::time::Duration;

use spiffe_core::clock::Clock;
use spiffe_core::x509::{Certificate, PublicKey};
use spiffe_core::{IdError, SpiffeId, TrustDomain};
use tokio::task::spawn_blocking;

use super::ca::csr::{CsrError, MintRequest, proven_public_key};
use super::ca::{Authorities, CaError, Leaf};
use super::dns_name::{self, DnsNameError};
use super::entry_cache::EntryCache;
use super::ids::{IdRuleError, workload_id};
use super::nodes::AgentCaller;
use crate::domain::{Entry, EntryIdError, Fault, Kind};

/// Issues the SVIDs of workloads.
pub struct Svids {
    trust_domain: TrustDomain,
    cache: Arc<EntryCache>,
    authorities: Arc<Authorities>,
    clock: Arc<dyn Clock>,
    default_ttl: Duration,
}

/// What an agent asks for: the SVID of an entry, for the key of a certificate request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The entry's ID.
    pub entry_id: String,
    /// The request, as DER. Only its public key counts; all else is what the entry says.
    pub csr: Vec<u8>,
}

/// A chain that was signed.
#[derive(Debug, Clone)]
pub struct IssuedSvid {
    /// Whose it is.
    pub id: SpiffeId,
    /// The certificates, leaf first.
    pub chain: Vec<Certificate>,
    /// What the workload may tell it apart by.
    pub hint: String,
}

impl Svids {
    /// Issues for the entries that agents may have, and mints for administrators.
    #[must_use]
    pub fn new(
        trust_domain: TrustDomain,
        cache: Arc<EntryCache>,
        authorities: Arc<Authorities>,
        clock: Arc<dyn Clock>,
        default_ttl: Duration,
    ) -> Self {
        Self {
            trust_domain,
            cache,
            authorities,
            clock,
            default_ttl,
        }
    }

    /// Signs what an agent asks for, and tells of each item what came of it, in order.
    ///
    /// # Errors
    ///
    /// Where nothing can be signed at the moment.
    pub async fn issue(
        &self,
        agent: &AgentCaller,
        asked: Vec<Asked>,
    ) -> Result<Vec<Result<IssuedSvid, SvidError>>, SvidError> {
        let allowed = self.allowed(agent, &asked);
        // Each key costs a signature's verification, which would hold up others on this thread.
        let keys = spawn_blocking(move || asked.iter().map(key).collect::<Vec<_>>());
        let keys = keys.await.map_err(|_| CaError::Stopped)?;
        let mut leaves = Vec::new();
        let verdicts: Vec<_> = allowed
            .into_iter()
            .zip(keys)
            .map(|(entry, key)| {
                let entry = entry?;
                leaves.push(Leaf::workload(&entry, key?, self.default_ttl));
                Ok(entry)
            })
            .collect();
        let chains = self
            .authorities
            .issue_all(&leaves, self.clock.now())
            .await?;
        let mut chains = chains.into_iter();
        let issued = verdicts.into_iter().map(|verdict: Result<_, SvidError>| {
            let entry = verdict?;
            let chain = chains.next().ok_or(CaError::Stopped)??;
            Ok(issued(&entry, chain))
        });
        Ok(issued.collect())
    }

    /// The entries that are asked for, as far as the agent may have them.
    fn allowed(&self, agent: &AgentCaller, asked: &[Asked]) -> Vec<Result<Arc<Entry>, SvidError>> {
        let authorized = self.cache.entries_of(agent.id());
        let now = self.clock.now();
        let find = |asked: &Asked| -> Result<_, SvidError> {
            let id = asked.entry_id.parse()?;
            let entry = authorized.get(&id).filter(|entry| !entry.has_ended(now));
            entry.cloned().ok_or(SvidError::NotAuthorized)
        };
        asked.iter().map(find).collect()
    }

    /// Signs what an administrator asks for, without an entry. Here the names in the request count.
    ///
    /// # Errors
    ///
    /// Where a name cannot be, or nothing can be signed at the moment.
    pub async fn mint(
        &self,
        csr: &[u8],
        lifetime: Option<Duration>,
    ) -> Result<IssuedSvid, SvidError> {
        let request = MintRequest::from_der(csr)?;
        let [id] = &*request.uri_names else {
            return Err(SvidError::UriNames(request.uri_names.len()));
        };
        let id: SpiffeId = id.parse()?;
        workload_id(&id, &self.trust_domain)?;
        dns_name::check_all(&request.dns_names)?;
        let leaf = Leaf::minted(id.clone(), request, lifetime.unwrap_or(self.default_ttl));
        Ok(IssuedSvid {
            id,
            chain: self.authorities.issue(leaf, self.clock.now()).await?,
            hint: String::new(),
        })
    }
}

fn key(asked: &Asked) -> Result<PublicKey, SvidError> {
    match &*asked.csr {
        [] => Err(SvidError::NoCsr),
        csr => Ok(proven_public_key(csr)?),
    }
}

fn issued(entry: &Entry, chain: Vec<Certificate>) -> IssuedSvid {
    IssuedSvid {
        id: entry.body.spiffe_id.clone(),
        chain,
        hint: entry.body.hint.as_str().to_owned(),
    }
}

/// Why an SVID was not issued. Some of the texts are known to clients.
#[derive(Debug, thiserror::Error)]
pub enum SvidError {
    /// Signing failed.
    #[error("failed to sign the SVID")]
    Ca(#[from] CaError),
    /// The request is malformed, or not signed by the key in it.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// The request asks for DNS names that cannot be.
    #[error("CSR DNS name is not valid")]
    DnsName(#[from] DnsNameError),
    /// There is no entry's ID, or none that could be.
    #[error(transparent)]
    EntryId(#[from] EntryIdError),
    /// The request asks for an ID that is not that of a workload of ours.
    #[error("invalid SPIFFE ID in CSR")]
    ForeignId(#[from] IdRuleError),
    /// The request asks for an ID that is none.
    #[error("invalid SPIFFE ID in CSR")]
    Id(#[from] IdError),
    /// There is no request.
    #[error("missing CSR")]
    NoCsr,
    /// There is no such entry, or not for this agent; which of the two it is not told.
    #[error("entry not found or not authorized")]
    NotAuthorized,
    /// The request asks for no ID, or for several.
    #[error("CSR must have exactly one URI SAN, and has {0}")]
    UriNames(usize),
}

impl Fault for SvidError {
    fn kind(&self) -> Kind {
        match self {
            Self::Ca(error) => error.kind(),
            Self::Csr(error) => error.kind(),
            Self::NotAuthorized => Kind::NotFound,
            Self::DnsName(_)
            | Self::EntryId(_)
            | Self::ForeignId(_)
            | Self::Id(_)
            | Self::NoCsr
            | Self::UriNames(_) => Kind::Invalid,
        }
    }
}

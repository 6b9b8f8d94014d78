//! SVIDs: for agents what their entries allow, and minted for administrators. Here those with
//! certificates; `tokens` has the others.

mod tokens;

use std::sync::Arc;
use std::time::Duration;

use spiffe_core::clock::Clock;
use spiffe_core::jwt::JwkError;
use spiffe_core::x509::{Certificate, PublicKey};
use spiffe_core::{IdError, SpiffeId, TrustDomain};
use tokio::task::spawn_blocking;

use super::ca::csr::{CsrError, MintRequest, proven_public_key};
use super::ca::{Authorities, CaError, CredentialComposer, Leaf};
use super::dns_name::{self, DnsNameError};
use super::entry_cache::EntryCache;
use super::ids::{IdRuleError, workload_id};
use super::nodes::AgentCaller;
use crate::domain::{AuthorityKind, Entry, EntryIdError, Fault, Kind};

pub use tokens::{BoundKey, IssuedToken};

/// Issues the SVIDs of workloads.
pub struct Svids {
    trust_domain: TrustDomain,
    cache: Arc<EntryCache>,
    authorities: Arc<Authorities>,
    clock: Arc<dyn Clock>,
    composers: Vec<Arc<dyn CredentialComposer>>,
    policy: SvidPolicy,
}

/// How SVIDs are where nothing else is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SvidPolicy {
    /// How long an X.509-SVID lives whose entry does not say.
    pub x509_ttl: Duration,
    /// How JWT-SVIDs are; none where there are to be none.
    pub jwt: Option<TokenPolicy>,
    /// How WIT-SVIDs are; none where there are to be none.
    pub wit: Option<TokenPolicy>,
    /// How long an authority of a server below us lives that does not say.
    pub ca_ttl: Duration,
}

/// How tokens are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPolicy {
    /// How long a token lives whose entry does not say.
    pub ttl: Duration,
    /// Who they say has issued them; nobody where it is not set.
    pub issuer: Option<String>,
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
        composers: Vec<Arc<dyn CredentialComposer>>,
        policy: SvidPolicy,
    ) -> Self {
        Self {
            trust_domain,
            cache,
            authorities,
            clock,
            composers,
            policy,
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
                let leaf = Leaf::workload(&entry, key?, self.policy.x509_ttl);
                leaves.push(self.composed(leaf));
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

    /// The same of one entry.
    fn allowed_one(&self, agent: &AgentCaller, entry_id: &str) -> Result<Arc<Entry>, SvidError> {
        let asked = Asked {
            entry_id: entry_id.to_owned(),
            csr: Vec::new(),
        };
        let mut found = self.allowed(agent, &[asked]);
        found.pop().unwrap_or(Err(SvidError::NotAuthorized))
    }

    /// With what the composers add, each to what the one before it made.
    fn composed(&self, leaf: Leaf) -> Leaf {
        let composers = self.composers.iter();
        composers.fold(leaf, |leaf, composer| composer.workload(leaf))
    }

    /// Makes an authority for a server below us, for the key of its request, and returns its chain: its
    /// own certificate first, the root never. Whatever else the request says is not read.
    ///
    /// # Errors
    ///
    /// Where the request is malformed, or nothing can be signed at the moment.
    pub async fn issue_downstream(
        &self,
        csr: &[u8],
        lifetime: Option<Duration>,
    ) -> Result<Vec<Certificate>, SvidError> {
        let key = match csr {
            [] => return Err(SvidError::NoCsr),
            csr => proven_public_key(csr)?,
        };
        let lifetime = lifetime.unwrap_or(self.policy.ca_ttl);
        let (of, now) = (self.trust_domain.clone(), self.clock.now());
        let made = self.authorities.issue_downstream(of, key, lifetime, now);
        Ok(made.await?)
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
        let lifetime = lifetime.unwrap_or(self.policy.x509_ttl);
        let leaf = self.composed(Leaf::minted(id.clone(), request, lifetime));
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
    /// The key of a WIT-SVID does not sign in this way.
    #[error("invalid signing algorithm or key type: {0:?} does not go with the public key")]
    Algorithm(String),
    /// Signing failed.
    #[error("failed to sign the SVID")]
    Ca(#[from] CaError),
    /// The request is malformed, or not signed by the key in it.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// There are none of this kind.
    #[error("{0} functionality is disabled")]
    Disabled(AuthorityKind),
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
    /// Nobody is named who is to take the token.
    #[error("at least one audience is required")]
    NoAudience,
    /// There is no request.
    #[error("missing CSR")]
    NoCsr,
    /// There is no such entry, or not for this agent; which of the two it is not told.
    #[error("entry not found or not authorized")]
    NotAuthorized,
    /// The key of a WIT-SVID is none.
    #[error("invalid public key")]
    PublicKey(#[source] JwkError),
    /// The ID is not that of a workload of ours.
    #[error("invalid SPIFFE ID")]
    TokenId(#[source] IdRuleError),
    /// The request asks for no ID, or for several.
    #[error("CSR must have exactly one URI SAN, and has {0}")]
    UriNames(usize),
}

impl Fault for SvidError {
    fn kind(&self) -> Kind {
        match self {
            Self::Ca(error) => error.kind(),
            Self::Csr(error) => error.kind(),
            Self::Disabled(_) => Kind::Unimplemented,
            Self::NotAuthorized => Kind::NotFound,
            Self::Algorithm(_)
            | Self::DnsName(_)
            | Self::EntryId(_)
            | Self::ForeignId(_)
            | Self::Id(_)
            | Self::NoAudience
            | Self::NoCsr
            | Self::PublicKey(_)
            | Self::TokenId(_)
            | Self::UriNames(_) => Kind::Invalid,
        }
    }
}

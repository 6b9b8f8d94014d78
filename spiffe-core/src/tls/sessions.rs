//! Sessions that may be resumed: kept by us alone, and only while nothing has changed.
//!
//! Nobody relies on this: rustls asks no verifier about a resumed session, so acceptor and connector
//! judge its peer themselves ([`Court::judge`]). What is done here spares those who would be turned
//! away that way: a session that began with another snapshot or policy is not offered, or is
//! declined, and a full handshake takes place.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use rustls_pki_types::ServerName;

use super::standing::{Court, Moment};
use super::verdict;

/// Whether TLS sessions are resumed.
///
/// A resumed session spares both sides certificates and signatures. It also spares them the question
/// who the other is, as far as rustls is concerned; here the peer is judged all the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resumption {
    /// They are, in TLS 1.3, while neither the source nor a policy has changed since they began. The
    /// peer of a resumed session is judged as that of a new one: its chain is verified, and the
    /// authorizer asked. Sessions are kept in memory on both sides, never in tickets that could not
    /// be recalled, and nothing is sent before the handshake is done (no early data).
    ///
    /// Clients resume where they say whom they call: [`Connector::connect_to`](super::Connector::connect_to).
    Bound,
    /// They are not.
    #[default]
    Off,
}

/// The sessions that an acceptor can resume.
pub(super) struct ServerSessions(Kept<ByTicket>);

impl ServerSessions {
    pub(super) fn new(court: Arc<Court>) -> Self {
        Self(Kept::new(court))
    }
}

impl StoresServerSessions for ServerSessions {
    /// Called in a handshake, after the client was judged. What counts is when that handshake began:
    /// a change in between leaves it open which trust the client was judged with.
    fn put(&self, ticket: Vec<u8>, session: Vec<u8>) -> bool {
        let begun = verdict::began_at();
        self.0
            .with(|now, kept| begun == Some(now) && kept.0.put(ticket, session))
    }

    /// Nothing: this is how TLS 1.2 asks.
    fn get(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn take(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.0.with(|_, kept| kept.0.take(ticket))
    }

    /// Not in TLS 1.2, which alone asks this.
    fn can_cache(&self) -> bool {
        false
    }
}

struct ByTicket(Arc<ServerSessionMemoryCache>);

impl Default for ByTicket {
    fn default() -> Self {
        Self(ServerSessionMemoryCache::new(MAX_SESSIONS))
    }
}

/// The sessions that a connector can resume, by whom it called.
pub(super) struct ClientSessions(Kept<ByAuthority>);

type ByAuthority = HashMap<Box<str>, VecDeque<Tls13ClientSessionValue>>;

impl ClientSessions {
    pub(super) fn new(court: Arc<Court>) -> Self {
        Self(Kept::new(court))
    }
}

/// They as one connection sees them.
pub(super) struct SessionsWith {
    pub(super) authority: Box<str>,
    /// When this connection began.
    pub(super) begun: Moment,
    pub(super) sessions: Arc<ClientSessions>,
}

impl ClientSessionStore for SessionsWith {
    /// Called whenever the server sends a ticket, which may be long after it was judged.
    fn insert_tls13_ticket(&self, _: ServerName<'static>, session: Tls13ClientSessionValue) {
        self.sessions.0.with(|now, kept| {
            if self.begun != now {
                return;
            }
            if kept.len() >= MAX_SESSIONS && !kept.contains_key(&self.authority) {
                kept.clear();
            }
            let sessions = kept.entry(self.authority.clone()).or_default();
            // The newest ones: they last longest.
            if sessions.len() >= MAX_TICKETS {
                sessions.pop_front();
            }
            sessions.push_back(session);
        });
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let take = |kept: &mut ByAuthority| kept.get_mut(&self.authority)?.pop_back();
        self.sessions.0.with(|_, kept| take(kept))
    }

    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    /// None: the group that we prefer is offered.
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
}

/// What is kept of one moment, and forgotten when that is over.
struct Kept<T> {
    court: Arc<Court>,
    held: Mutex<(Moment, T)>,
}

impl<T: Default> Kept<T> {
    fn new(court: Arc<Court>) -> Self {
        let held = Mutex::new((court.moment(), T::default()));
        Self { court, held }
    }

    /// Looks at what is kept of this moment; what was kept of others is gone.
    fn with<R>(&self, look: impl FnOnce(Moment, &mut T) -> R) -> R {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.court.moment();
        if held.0 != now {
            *held = (now, T::default());
        }
        look(now, &mut held.1)
    }
}

impl fmt::Debug for ServerSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSessions").finish_non_exhaustive()
    }
}

impl fmt::Debug for SessionsWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionsWith")
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

/// How many sessions a server keeps, and of how many servers a client does.
const MAX_SESSIONS: usize = 1024;
/// How many sessions with one server a client keeps.
const MAX_TICKETS: usize = 8;

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::authorizer::anyone;
    use crate::testing::TestAuthority;
    use crate::tls::SourceExt;

    #[tokio::test]
    async fn a_session_is_kept_in_the_handshake_it_began_in_and_given_once() {
        let source = TestAuthority::new("a.test").source("/s");
        let court = source.server(anyone()).court();
        let sessions = ServerSessions::new(court.clone());
        let kept = |began_at| {
            let put = async { sessions.put(vec![1], vec![2]) };
            verdict::of(began_at, put)
        };
        assert!(!sessions.put(vec![1], vec![2]), "outside of any handshake");
        assert!(!kept(Moment::default()).await.0, "of another moment");
        // A test beside may change a policy at any time.
        while !kept(court.moment()).await.0 {}
        assert_eq!(sessions.get(&[1]), None, "to TLS 1.2");
        assert!(!sessions.can_cache());
        let taken = [(); 2].map(|()| sessions.take(&[1]));
        assert_eq!(taken[1], None);
    }
}

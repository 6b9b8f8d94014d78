//! Mutual TLS with SPIFFE identities, over rustls.
//!
//! Start from [`SourceExt::server`] or [`SourceExt::client`]; an [`Authorizer`](crate::authorizer)
//! is a required argument of both. What they make can be used in three ways: the [`Acceptor`] and
//! [`Connector`] here work over any IO and hand out a stream with its [`Peer`](crate::Peer);
//! `spiffe-hyper` and `spiffe-tonic` put servers and clients on top of them; and `into_rustls`
//! (feature `rustls-0_23`) gives the bare configuration to whatever else takes one.
//!
//! A configuration is built once and reads the source's snapshot at each handshake: there is
//! nothing to reload. Sessions are never resumed, because rustls does not ask a verifier about a
//! resumed one, and a trust bundle may have changed since.
//!
//! A connection outlives changes of trust only where its peer does: whenever the source, a
//! [`policy`](crate::policy) or the certificates' time moves on, the peer is judged again, with the
//! authorizer of its connection. [`PeerStream`] ends by itself then; servers of requests also ask
//! [`Peer::revalidate`](crate::Peer::revalidate) at each one.

mod accept;
mod config;
mod connect;
mod error;
mod judge;
mod presenter;
mod standing;
mod stream;
mod verdict;

pub use accept::{Acceptor, Arrival};
pub use config::{ClientTls, ServerTls, SourceExt};
pub use connect::Connector;
pub use error::HandshakeError;
pub use standing::TrustChange;
pub use stream::{Parting, PeerStream};

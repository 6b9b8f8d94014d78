//! Mutual TLS with SPIFFE identities, over rustls.
//!
//! Start from [`SourceExt::server`] or [`SourceExt::client`]; an [`Authorizer`](crate::authorizer)
//! is a required argument of both. What they make can be used in three ways: the [`Acceptor`] and
//! [`Connector`] here work over any IO and hand out a stream with its [`Peer`](crate::Peer);
//! `spiffe-hyper` and `spiffe-tonic` put servers and clients on top of them; and `into_rustls`
//! (feature `rustls-0_23`) gives the bare configuration to whatever else takes one.
//!
//! A configuration is built once and reads the source's snapshot at each handshake: there is
//! nothing to reload. Sessions are not resumed, because rustls does not ask a verifier about a
//! resumed one, and a trust bundle may have changed since. Where [`Resumption::Bound`] is asked for
//! they are, and acceptor and connector judge the peer themselves.
//!
//! A connection outlives changes of trust only where its peer does: whenever the source, a
//! [`policy`](crate::policy) or the certificates' time moves on, the peer is judged again, with the
//! authorizer of its connection. [`PeerStream`] ends by itself then; servers of requests also ask
//! [`Peer::revalidate`](crate::Peer::revalidate) at each one.

mod accept;
mod client;
mod config;
mod connect;
mod error;
mod judge;
mod observe;
mod presenter;
mod server;
mod sessions;
mod standing;
mod stream;
mod verdict;
#[cfg(feature = "rustls-0_23")]
mod web;

pub use accept::{Acceptor, Arrival};
pub use client::ClientTls;
pub use config::SourceExt;
pub use connect::Connector;
pub use error::HandshakeError;
pub use server::ServerTls;
pub use sessions::Resumption;
pub use standing::TrustChange;
pub use stream::{Parting, PeerStream};
#[cfg(feature = "rustls-0_23")]
pub use web::web_client;

//! Who is calling, and may they: verified SPIFFE peers and policies by SPIFFE ID as tower layers.
//!
//! A transport (`spiffe-hyper`, `spiffe-tonic`, or one of your own) does the handshake and puts a
//! [`Connection`] into the extensions of each request. Everything above asks there:
//!
//! ```text
//!   handler            peer(request.extensions())        who is it?
//!      ^
//!   AuthorizeLayer     may this peer call this path?     403, or PermissionDenied
//!      ^
//!   transport          inserts Connection                mutual TLS, verified
//! ```
//!
//! A connection may outlive what was known when it began. So at each request the layers ask whether
//! its peer is [still good](spiffe_core::Peer::revalidate), and a call that goes on ends when it is
//! not: with the status that it would have been refused with.
//!
//! There are layers here and nothing else: no runtime, no gRPC library, no HTTP implementation.
//!
//! # A server with a rule for one of its RPCs
//!
//! ```
//! use spiffe_core::authorizer::{exactly, member_of};
//! use spiffe_core::{SpiffeId, TrustDomain};
//! use spiffe_tower::AuthorizeLayer;
//!
//! let everyone_here = member_of(TrustDomain::from_static("prod.example"));
//! let ops = exactly(SpiffeId::from_static("spiffe://prod.example/ops"));
//! let policy = AuthorizeLayer::new(everyone_here).rpc("/bank.v1.Ledger/Close", ops);
//! # let _: AuthorizeLayer = policy;
//! ```
//!
//! Give it to `tonic::transport::Server::layer`, `tower::ServiceBuilder::layer` or the like.
//!
//! # A client that looks at who answered
//!
//! ```
//! fn who<B>(response: &http::Response<B>) -> Option<&spiffe_core::SpiffeId> {
//!     spiffe_tower::peer(response.extensions()).map(|peer| peer.id())
//! }
//! ```

mod authorize;
mod guard;
mod peer;
mod refusal;
mod request;

pub use authorize::{AuthorizeLayer, Authorized};
pub use guard::{Guarded, GuardedCall, PeerLayer, Proven};
pub use peer::{Connection, peer};
pub use request::{AuthorizeRequest, AuthorizeRequestLayer, AuthorizedRequests};

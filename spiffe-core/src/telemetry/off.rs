//! Nobody counts.

use crate::snapshot::IdentitySnapshot;
#[cfg(feature = "tls")]
use crate::verify::Role;

#[cfg(feature = "tls")]
pub(crate) fn handshake(_: &super::Handshake<'_>) {}

#[cfg(feature = "tls")]
pub(crate) fn judged_again(_: Role, _: &'static str, _: &'static str) {}

#[cfg(feature = "tls")]
pub(crate) fn connection_opened(_: Role) {}

#[cfg(feature = "tls")]
pub(crate) fn connection_closed(_: Role, _: &'static str) {}

pub(crate) fn source_updated(_: &'static str, _: std::time::SystemTime) {}

pub(crate) fn count_snapshot(_: &'static str, _: &IdentitySnapshot) {}

pub(crate) fn source_failed(_: &'static str, _: &'static str) {}

#[cfg(feature = "workload-api")]
pub(crate) fn token_asked(_: &'static str) {}

#[cfg(feature = "workload-api")]
pub(crate) fn token_fetched(_: &'static str) {}

pub(crate) fn describe_once() {}

//! The generated APIs of server and agent, one module per package.
//!
//! A package `spire.api.server.entry.v1` is `server::entry` here.

use std::fmt;

/// All APIs described for reflection: an encoded `FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("proto/gen/issuer.bin");

/// Declares the module of a package.
macro_rules! package {
    ($(#[$doc:meta])* $name:ident = $package:literal) => {
        $(#[$doc])*
        #[allow(
            missing_docs,
            unreachable_pub,
            clippy::all,
            clippy::allow_attributes_without_reason,
            clippy::use_self,
            reason = "generated"
        )]
        pub mod $name {
            include!(concat!("proto/gen/", $package, ".rs"));
        }
    };
}

package! {
    /// What the messages of all packages are made from.
    types = "spire.api.types"
}

/// What the server serves.
pub mod server {
    package! {
        /// Who uses what the server signs with: an addition of ours.
        authorities = "spiffe.issuer.v1"
    }
    package! {
        /// Agents, from first proof to last goodbye.
        agent = "spire.api.server.agent.v1"
    }
    package! {
        /// Bundles, our own and foreign ones.
        bundle = "spire.api.server.bundle.v1"
    }
    package! {
        /// A look into a running server.
        debug = "spire.api.server.debug.v1"
    }
    package! {
        /// Registration entries.
        entry = "spire.api.server.entry.v1"
    }
    package! {
        /// What the server signs with.
        localauthority = "spire.api.server.localauthority.v1"
    }
    package! {
        /// The log level of a running server.
        logger = "spire.api.server.logger.v1"
    }
    package! {
        /// Issuing SVIDs.
        svid = "spire.api.server.svid.v1"
    }
    package! {
        /// Federation relationships.
        trustdomain = "spire.api.server.trustdomain.v1"
    }
}

/// What the agent serves, beside the Workload API.
pub mod agent {
    package! {
        /// A look into a running agent.
        debug = "spire.agent.debug.v1"
    }
    package! {
        /// SVIDs for processes that a trusted delegate speaks for.
        delegatedidentity = "spire.api.agent.delegatedidentity.v1"
    }
    package! {
        /// The log level of a running agent.
        logger = "spire.api.agent.logger.v1"
    }
}

/// Writes `Debug` for messages that carry a secret: the named fields and no others.
macro_rules! debug_without_secrets {
    ($($($module:ident)::+ => $message:ident { $($field:ident),* })*) => {$(
        impl fmt::Debug for $($module)::+::$message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($message))
                    $(.field(stringify!($field), &self.$field))*
                    .finish_non_exhaustive()
            }
        }
    )*};
}

debug_without_secrets! {
    agent::delegatedidentity => X509svidWithKey { x509_svid }
    server::agent => CreateJoinTokenRequest { ttl, agent_id }
    types => AttestationData { r#type }
    types => JoinToken { expires_at }
    types => Jwtsvid { id, expires_at, issued_at, hint }
    types => Witsvid { id, expires_at, issued_at, hint }
}

#[cfg(test)]
mod tests {
    use super::{
        agent::delegatedidentity::X509svidWithKey,
        server::agent::CreateJoinTokenRequest,
        types::{AttestationData, JoinToken, Jwtsvid, Witsvid},
    };

    #[test]
    fn secrets_are_not_shown() {
        let secret = || "hidden".to_owned();
        for shown in [
            format!(
                "{:?}",
                AttestationData {
                    payload: vec![77; 4],
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                CreateJoinTokenRequest {
                    token: secret(),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                JoinToken {
                    value: secret(),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                Jwtsvid {
                    token: secret(),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                Witsvid {
                    token: secret(),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                X509svidWithKey {
                    x509_svid_key: vec![77; 4],
                    ..Default::default()
                }
            ),
        ] {
            assert!(
                !shown.contains("hidden") && !shown.contains("77"),
                "{shown}"
            );
        }
    }

    #[test]
    fn services_are_named_as_clients_know_them() {
        for (name, known) in [
            (
                super::agent::debug::debug_server::SERVICE_NAME,
                "spire.agent.debug.v1.Debug",
            ),
            (
                super::server::agent::agent_server::SERVICE_NAME,
                "spire.api.server.agent.v1.Agent",
            ),
            (
                super::server::svid::svid_server::SERVICE_NAME,
                "spire.api.server.svid.v1.SVID",
            ),
        ] {
            assert_eq!(name, known);
        }
    }
}

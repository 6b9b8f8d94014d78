//! The generated APIs, as they are on the wire: for the clients here and for whoever serves them.
//!
//! Programs that want an identity use the client and the sources instead.

use std::fmt;

/// Messages, client and server of the Workload API.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::use_self,
    reason = "generated"
)]
pub mod workload {
    include!("proto/gen/workload.rs");

    /// The API described for reflection: an encoded `FileDescriptorSet`.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("proto/gen/workload.bin");
}

/// Messages, client and server of the Delegated Identity API of SPIRE's agent.
#[cfg(feature = "delegated-identity")]
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::use_self,
    reason = "generated"
)]
pub mod delegated {
    include!("proto/gen/delegated/spire.api.agent.delegatedidentity.v1.rs");

    /// What its messages are made from.
    pub mod types {
        include!("proto/gen/delegated/spire.api.types.rs");
    }

    /// The API described for reflection: an encoded `FileDescriptorSet`.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("proto/gen/delegated/delegated.bin");
}

/// Messages, client and server of the Broker API.
#[cfg(feature = "incubating-broker")]
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::use_self,
    reason = "generated"
)]
pub mod broker {
    include!("proto/gen/broker/spiffe.broker.rs");

    /// The API described for reflection: an encoded `FileDescriptorSet`.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("proto/gen/broker/broker.bin");
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
    workload => Jwtsvid { spiffe_id, hint }
    workload => ValidateJwtsvidRequest { audience }
    workload => Witsvid { spiffe_id, hint }
    workload => X509svid { spiffe_id, hint }
}

#[cfg(feature = "delegated-identity")]
debug_without_secrets! {
    delegated => X509svidWithKey { x509_svid }
    delegated::types => Jwtsvid { id, expires_at, issued_at, hint }
}

#[cfg(feature = "incubating-broker")]
debug_without_secrets! {
    broker => Jwtsvid { spiffe_id, hint }
    broker => X509svid { spiffe_id, hint }
}

#[cfg(test)]
mod tests {
    use super::workload::{Jwtsvid, ValidateJwtsvidRequest, Witsvid, X509svid, X509svidResponse};

    #[test]
    fn secrets_are_not_shown() {
        let secret = || "hidden".to_owned();
        let x509 = X509svid {
            spiffe_id: "spiffe://example.org/a".to_owned(),
            x509_svid_key: vec![77; 4],
            ..Default::default()
        };
        let shown = format!(
            "{:?}",
            X509svidResponse {
                svids: vec![x509],
                ..Default::default()
            }
        );
        assert!(shown.contains("spiffe://example.org/a"), "{shown}");
        assert!(!shown.contains("77"), "{shown}");

        for shown in [
            format!(
                "{:?}",
                Jwtsvid {
                    svid: secret(),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                ValidateJwtsvidRequest {
                    svid: secret(),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                Witsvid {
                    wit_svid: secret(),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                Witsvid {
                    wit_svid_key: secret(),
                    ..Default::default()
                }
            ),
        ] {
            assert!(!shown.contains("hidden"), "{shown}");
        }
    }

    #[cfg(feature = "delegated-identity")]
    #[test]
    fn secrets_of_others_are_not_shown() {
        use super::delegated::{X509svidWithKey, types};
        let with_key = X509svidWithKey {
            x509_svid_key: vec![77; 4],
            ..Default::default()
        };
        let token = types::Jwtsvid {
            token: "hidden".to_owned(),
            ..Default::default()
        };
        let shown = format!("{with_key:?} {token:?}");
        assert!(
            !shown.contains("77") && !shown.contains("hidden"),
            "{shown}"
        );
    }

    #[cfg(feature = "incubating-broker")]
    #[test]
    fn secrets_of_referenced_workloads_are_not_shown() {
        use super::broker;
        let with_key = broker::X509svid {
            x509_svid_key: vec![77; 4],
            ..Default::default()
        };
        let token = broker::Jwtsvid {
            svid: "hidden".to_owned(),
            ..Default::default()
        };
        let shown = format!("{with_key:?} {token:?}");
        assert!(
            !shown.contains("77") && !shown.contains("hidden"),
            "{shown}"
        );
    }

    #[test]
    fn the_service_has_no_package() {
        assert_eq!(
            super::workload::spiffe_workload_api_server::SERVICE_NAME,
            "SpiffeWorkloadAPI"
        );
    }
}

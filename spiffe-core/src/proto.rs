//! The generated Workload API, as it is on the wire: for the client here and for whoever serves it.
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

/// Writes `Debug` for messages that carry a secret: the named fields and no others.
macro_rules! debug_without_secrets {
    ($($message:ident { $($field:ident),* })*) => {$(
        impl fmt::Debug for workload::$message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($message))
                    $(.field(stringify!($field), &self.$field))*
                    .finish_non_exhaustive()
            }
        }
    )*};
}

debug_without_secrets! {
    Jwtsvid { spiffe_id, hint }
    ValidateJwtsvidRequest { audience }
    Witsvid { spiffe_id, hint }
    X509svid { spiffe_id, hint }
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

    #[test]
    fn the_service_has_no_package() {
        assert_eq!(
            super::workload::spiffe_workload_api_server::SERVICE_NAME,
            "SpiffeWorkloadAPI"
        );
    }
}

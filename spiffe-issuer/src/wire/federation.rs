//! Federation relationships as messages.

use std::time::SystemTime;

use spiffe_core::{IdError, SpiffeId, TrustDomain};
use spiffe_hyper::federation::{EndpointUrl, UrlError};

use super::authorities::{BundleFault, bundle_from_message};
use super::seconds;
use crate::domain::{Bundle, EndpointProfile, Fault, Kind, Relationship};
use crate::proto::types::{self, federation_relationship::BundleEndpointProfile};

/// The relationship of a message, and the bundle that comes with it.
///
/// # Errors
///
/// Where a field is not as it must be, or the bundle is that of another trust domain.
pub fn from_message(
    message: &types::FederationRelationship,
) -> Result<(Relationship, Option<Bundle>), RelationshipFault> {
    let trust_domain = TrustDomain::from_id_or_name(&message.trust_domain)?;
    // Kept as it is written: clients compare it with what they sent.
    let url = message.bundle_endpoint_url.clone();
    url.parse::<EndpointUrl>().map_err(url_fault)?;
    let profile = match &message.bundle_endpoint_profile {
        Some(BundleEndpointProfile::HttpsSpiffe(spiffe)) => {
            let id: Result<SpiffeId, _> = spiffe.endpoint_spiffe_id.parse();
            EndpointProfile::HttpsSpiffe(id.map_err(RelationshipFault::EndpointId)?)
        }
        Some(BundleEndpointProfile::HttpsWeb(_)) => EndpointProfile::HttpsWeb,
        None => return Err(RelationshipFault::NoProfile),
    };
    let bundle = message.trust_domain_bundle.as_ref();
    let bundle = bundle.map(bundle_from_message).transpose()?;
    if let Some(bundle) = &bundle
        && bundle.trust_domain != trust_domain
    {
        return Err(RelationshipFault::ForeignBundle {
            bundle: bundle.trust_domain.clone(),
            trust_domain,
        });
    }
    let relationship = Relationship {
        trust_domain,
        bundle_endpoint_url: url,
        profile,
    };
    Ok((relationship, bundle))
}

/// A relationship as a message, without its bundle and without how it goes.
#[must_use]
pub fn to_message(relationship: &Relationship) -> types::FederationRelationship {
    types::FederationRelationship {
        trust_domain: relationship.trust_domain.to_string(),
        bundle_endpoint_url: relationship.bundle_endpoint_url.clone(),
        bundle_endpoint_profile: Some(match &relationship.profile {
            EndpointProfile::HttpsSpiffe(id) => {
                BundleEndpointProfile::HttpsSpiffe(types::HttpsspiffeProfile {
                    endpoint_spiffe_id: id.to_string(),
                })
            }
            EndpointProfile::HttpsWeb => BundleEndpointProfile::HttpsWeb(types::HttpsWebProfile {}),
        }),
        trust_domain_bundle: None,
        status: None,
    }
}

/// How fetching goes, as a message.
#[must_use]
pub fn status_to_message(
    configured: bool,
    fetched_at: Option<SystemTime>,
    failure: Option<&str>,
    next_fetch: Option<SystemTime>,
) -> types::FederationStatus {
    types::FederationStatus {
        configured,
        fetched_at: fetched_at.map_or(0, seconds),
        last_error: failure.unwrap_or_default().to_owned(),
        next_fetch: next_fetch.map_or(0, seconds),
    }
}

fn url_fault(error: UrlError) -> RelationshipFault {
    match error {
        UrlError::NoHost => RelationshipFault::UrlWithoutHost,
        UrlError::Scheme => RelationshipFault::UrlScheme,
        UrlError::UserInfo => RelationshipFault::UrlUserInfo,
        other => RelationshipFault::Url(other),
    }
}

/// Why a message is no relationship. The texts are known to clients.
#[derive(Debug, thiserror::Error)]
pub enum RelationshipFault {
    /// The bundle is none.
    #[error("failed to parse bundle")]
    Bundle(#[from] BundleFault),
    /// The ID of the endpoint is none.
    #[error("failed to parse endpoint SPIFFE ID")]
    EndpointId(#[source] IdError),
    /// The bundle is that of another trust domain.
    #[error(
        "trust domain bundle (\"{bundle}\") must match the trust domain of the federation \
         relationship (\"{trust_domain}\")"
    )]
    ForeignBundle {
        /// Whose bundle it is.
        bundle: TrustDomain,
        /// With whom the relationship is.
        trust_domain: TrustDomain,
    },
    /// Nothing says how the endpoint proves who it is.
    #[error("unsupported bundle endpoint profile type: <nil>")]
    NoProfile,
    /// The trust domain is none.
    #[error("failed to parse trust domain")]
    TrustDomain(#[from] IdError),
    /// The URL is none.
    #[error("failed to parse bundle endpoint URL")]
    Url(#[source] UrlError),
    /// It is the URL of something else.
    #[error("bundle endpoint URL must use the https scheme")]
    UrlScheme,
    /// The URL says who asks.
    #[error("bundle endpoint URL must not contain user info")]
    UrlUserInfo,
    /// The URL does not say where.
    #[error("bundle endpoint URL must specify the host")]
    UrlWithoutHost,
}

impl Fault for RelationshipFault {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

#[cfg(test)]
mod tests {
    use spiffe_core::testing::TestAuthority;
    use spiffe_core::with_causes;

    use super::*;
    use crate::wire::authorities::bundle_to_message;

    fn message() -> types::FederationRelationship {
        let profile = types::HttpsspiffeProfile {
            endpoint_spiffe_id: "spiffe://b.test/endpoint".to_owned(),
        };
        types::FederationRelationship {
            trust_domain: "b.test".to_owned(),
            bundle_endpoint_url: "https://h.test:8443".to_owned(),
            bundle_endpoint_profile: Some(BundleEndpointProfile::HttpsSpiffe(profile)),
            trust_domain_bundle: None,
            status: None,
        }
    }

    fn bundle_of(trust_domain: &str) -> types::Bundle {
        bundle_to_message(&Bundle::from(&TestAuthority::new(trust_domain).bundle()))
    }

    #[test]
    fn a_relationship_survives_the_way_there_and_back() {
        let mut message = message();
        let web = BundleEndpointProfile::HttpsWeb(types::HttpsWebProfile {});
        for profile in [message.bundle_endpoint_profile.clone(), Some(web)] {
            message.bundle_endpoint_profile = profile;
            let (relationship, bundle) = from_message(&message).unwrap();
            assert_eq!((to_message(&relationship), bundle), (message.clone(), None));
        }
        message.trust_domain = "spiffe://b.test".to_owned();
        message.trust_domain_bundle = Some(bundle_of("b.test"));
        let (relationship, bundle) = from_message(&message).unwrap();
        assert_eq!(relationship.trust_domain, bundle.unwrap().trust_domain);
    }

    #[test]
    fn what_is_no_relationship_is_told_in_words_that_clients_know() {
        type Change = fn(&mut types::FederationRelationship);
        let change: [(Change, &str); 9] = [
            (|m| m.trust_domain.clear(), "failed to parse trust domain: "),
            (
                |m| m.bundle_endpoint_url = "http://h.test/".into(),
                "bundle endpoint URL must use the https scheme",
            ),
            (
                |m| m.bundle_endpoint_url.clear(),
                "bundle endpoint URL must use the https scheme",
            ),
            (
                |m| m.bundle_endpoint_url = "https:///path".into(),
                "bundle endpoint URL must specify the host",
            ),
            (
                |m| m.bundle_endpoint_url = "https://me:secret@h.test/".into(),
                "bundle endpoint URL must not contain user info",
            ),
            (
                |m| m.bundle_endpoint_url = "https://h.test:99999/".into(),
                "failed to parse bundle endpoint URL: ",
            ),
            (
                |m| m.bundle_endpoint_profile = None,
                "unsupported bundle endpoint profile type: <nil>",
            ),
            (
                |m| {
                    let id = "b.test/endpoint".to_owned();
                    let profile = types::HttpsspiffeProfile {
                        endpoint_spiffe_id: id,
                    };
                    m.bundle_endpoint_profile = Some(BundleEndpointProfile::HttpsSpiffe(profile));
                },
                "failed to parse endpoint SPIFFE ID: ",
            ),
            (
                |m| m.trust_domain_bundle = Some(bundle_of("c.test")),
                "trust domain bundle (\"c.test\") must match the trust domain of the federation \
                 relationship (\"b.test\")",
            ),
        ];
        for (change, why) in change {
            let mut message = message();
            change(&mut message);
            let told = with_causes(&from_message(&message).unwrap_err());
            assert!(told.starts_with(why), "{told}");
        }
    }
}

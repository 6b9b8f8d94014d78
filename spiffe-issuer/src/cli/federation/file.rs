//! A relationship as flags or a file say it. The keys are those that SPIRE's files have.

use std::fs;
use std::io::{self, Read};

use serde::Deserialize;
use serde_json::Value;
use spiffe_core::{IdError, SpiffeId};

use crate::cli::bundle::{BundleFormat, parse};
use crate::cli::json_file::{self, JsonFileError};
use crate::proto::types::{
    self, FederationRelationship, HttpsWebProfile, HttpsspiffeProfile,
    federation_relationship::BundleEndpointProfile,
};
use crate::runtime::telemetry::quoted;

/// What is said of one relationship.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Said {
    #[serde(rename = "trustdomain")]
    pub(super) trust_domain: String,
    #[serde(rename = "bundleendpointurl")]
    pub(super) url: String,
    #[serde(rename = "bundleendpointprofile")]
    pub(super) profile: String,
    #[serde(rename = "endpointspiffeid")]
    pub(super) endpoint_id: String,
    #[serde(rename = "trustdomainbundle")]
    pub(super) bundle: Option<Value>,
    #[serde(rename = "trustdomainbundleformat")]
    pub(super) bundle_format: String,
    /// Only flags say it.
    #[serde(skip)]
    pub(super) bundle_path: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    federationrelationships: Vec<Said>,
}

/// The relationships that a file describes; `-` is the input.
pub(super) fn relationships(
    path: &str,
    input: &mut dyn Read,
) -> Result<Vec<FederationRelationship>, SaidError> {
    let file: File = json_file::read(path, input)?;
    let said = file.federationrelationships.into_iter().enumerate();
    let read = said.map(|(at, said)| {
        said.message().map_err(|source| SaidError::Item {
            at,
            source: Box::new(source),
        })
    });
    read.collect()
}

impl Said {
    pub(super) fn message(self) -> Result<FederationRelationship, SaidError> {
        if self.trust_domain.is_empty() {
            return Err(SaidError::NoTrustDomain);
        }
        if self.url.is_empty() {
            return Err(SaidError::NoUrl);
        }
        // The bundle by which an endpoint with an SVID is believed is that of its own trust domain; the
        // server refuses it where that is not the one that is federated with.
        let (profile, bundle_of) = match &*self.profile {
            "https_web" => {
                let web = BundleEndpointProfile::HttpsWeb(HttpsWebProfile {});
                (web, self.trust_domain.clone())
            }
            "https_spiffe" if self.endpoint_id.is_empty() => return Err(SaidError::NoEndpointId),
            "https_spiffe" => {
                let id: SpiffeId = self.endpoint_id.parse()?;
                let of = id.trust_domain_name().to_owned();
                let endpoint_spiffe_id = id.to_string();
                let spiffe = HttpsspiffeProfile { endpoint_spiffe_id };
                (BundleEndpointProfile::HttpsSpiffe(spiffe), of)
            }
            other => return Err(SaidError::Profile(other.to_owned())),
        };
        Ok(FederationRelationship {
            trust_domain_bundle: self.bundle(&bundle_of)?,
            trust_domain: self.trust_domain,
            bundle_endpoint_url: self.url,
            bundle_endpoint_profile: Some(profile),
            status: None,
        })
    }

    fn bundle(&self, of: &str) -> Result<Option<types::Bundle>, SaidError> {
        let format = || match &*self.bundle_format.to_ascii_lowercase() {
            "pem" => Ok(BundleFormat::Pem),
            "spiffe" => Ok(BundleFormat::Spiffe),
            _ => Err(SaidError::Format(self.bundle_format.clone())),
        };
        let read = |text: &[u8]| parse(text, format()?, of).map_err(SaidError::Bundle);
        let (bundle, _) = match (&*self.bundle_path, &self.bundle) {
            ("", None) => return Ok(None),
            ("", Some(Value::String(text))) => read(text.as_bytes())?,
            ("", Some(value)) => read(value.to_string().as_bytes())?,
            (path, _) => read(&fs::read(path).map_err(SaidError::BundleFile)?)?,
        };
        Ok(Some(bundle))
    }
}

/// Why nothing can be asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum SaidError {
    #[error("cannot parse bundle file")]
    Bundle(#[source] crate::cli::bundle::ParseError),
    #[error("cannot read bundle file")]
    BundleFile(#[source] io::Error),
    #[error("cannot parse bundle endpoint SPIFFE ID")]
    EndpointId(#[from] IdError),
    #[error(transparent)]
    File(#[from] JsonFileError),
    #[error("bundle format {} is unsupported", quoted(.0))]
    Format(String),
    #[error("could not parse item {at}")]
    Item { at: usize, source: Box<Self> },
    #[error("endpoint SPIFFE ID is required if 'https_spiffe' endpoint profile is set")]
    NoEndpointId,
    #[error("trust domain is required")]
    NoTrustDomain,
    #[error("bundle endpoint URL is required")]
    NoUrl,
    #[error("unknown bundle endpoint profile type: {}", quoted(.0))]
    Profile(String),
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use spiffe_core::testing::TestAuthority;
    use spiffe_core::with_causes;

    use super::*;

    fn read(json: &Value) -> Result<Vec<FederationRelationship>, String> {
        let file = json!({ "federationRelationships": json }).to_string();
        relationships("-", &mut file.as_bytes()).map_err(|error| with_causes(&error))
    }

    #[test]
    fn a_file_describes_relationships_with_spires_keys() {
        let authority = TestAuthority::new("b.test");
        let bundle = authority.bundle();
        let pem = bundle.x509_authorities()[0].to_pem();
        let document: Value = serde_json::from_str(&bundle.to_document().unwrap()).unwrap();
        let read = read(&json!([
            {
                "trustDomain": "b.test",
                "bundleEndpointURL": "https://h.test/",
                "bundleEndpointProfile": "https_spiffe",
                "endpointSPIFFEID": "spiffe://b.test/e",
                "trustDomainBundle": document,
                "trustDomainBundleFormat": "spiffe"
            },
            {
                "trustDomain": "b.test",
                "bundleEndpointURL": "https://h.test/",
                "bundleEndpointProfile": "https_web",
                "trustDomainBundle": pem,
                "trustDomainBundleFormat": "pem"
            }
        ]));
        for relationship in read.unwrap() {
            assert_eq!(relationship.trust_domain, "b.test");
            let bundle = relationship.trust_domain_bundle.unwrap();
            assert_eq!(bundle.x509_authorities.len(), 1);
            let keys = usize::from(matches!(
                relationship.bundle_endpoint_profile,
                Some(BundleEndpointProfile::HttpsSpiffe(_))
            ));
            assert_eq!(
                bundle.jwt_authorities.len(),
                keys,
                "a PEM text has certificates only"
            );
        }
    }

    #[test]
    fn what_is_missing_is_told_as_spire_tells_it() {
        let whole = json!({
            "trustDomain": "b.test",
            "bundleEndpointURL": "https://h.test/",
            "bundleEndpointProfile": "https_spiffe",
            "endpointSPIFFEID": "spiffe://b.test/e",
        });
        for (key, value, why) in [
            ("trustDomain", json!(""), "trust domain is required"),
            (
                "bundleEndpointURL",
                json!(null),
                "bundle endpoint URL is required",
            ),
            (
                "endpointSPIFFEID",
                json!(""),
                "endpoint SPIFFE ID is required if 'https_spiffe' endpoint profile is set",
            ),
            (
                "endpointSPIFFEID",
                json!("b.test"),
                "cannot parse bundle endpoint SPIFFE ID: ",
            ),
            (
                "bundleEndpointProfile",
                json!("web"),
                "unknown bundle endpoint profile type: \"web\"",
            ),
            (
                "trustDomainBundle",
                json!("x"),
                "bundle format \"\" is unsupported",
            ),
        ] {
            let mut changed = whole.clone();
            changed[key] = value;
            let told = read(&json!([whole, changed])).unwrap_err();
            let wanted = format!("could not parse item 1: {why}");
            assert!(told.starts_with(&wanted), "{told}");
        }
    }
}

//! What is printed of a relationship: what SPIRE prints, and then how it goes.

use std::fmt::Write as _;

use crate::cli::text;
use crate::proto::types::{
    FederationRelationship, FederationStatus, federation_relationship::BundleEndpointProfile,
};

/// The lines of a relationship.
pub(super) fn block(relationship: &FederationRelationship) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        // A `String` takes all that is written to it.
        let _ = writeln!(text, "{label:26}: {value}");
    };
    line("Trust domain", &relationship.trust_domain);
    line("Bundle endpoint URL", &relationship.bundle_endpoint_url);
    match &relationship.bundle_endpoint_profile {
        Some(BundleEndpointProfile::HttpsSpiffe(spiffe)) => {
            line("Bundle endpoint profile", "https_spiffe");
            line("Endpoint SPIFFE ID", &spiffe.endpoint_spiffe_id);
        }
        Some(BundleEndpointProfile::HttpsWeb(_)) => line("Bundle endpoint profile", "https_web"),
        None => {}
    }
    if let Some(status) = &relationship.status {
        progress(status, line);
    }
    text
}

/// How it goes. Servers of SPIRE tell nothing of it.
fn progress(status: &FederationStatus, mut line: impl FnMut(&str, &str)) {
    let time = |seconds| match seconds {
        0 => "not yet".to_owned(),
        seconds => text::seconds(seconds),
    };
    if status.configured {
        line("Configured in file", "true");
    }
    line("Bundle last fetched", &time(status.fetched_at));
    if !status.last_error.is_empty() {
        line("Last fetch failed", &status.last_error);
    }
    if status.next_fetch != 0 {
        line("Next fetch", &time(status.next_fetch));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::types::{HttpsWebProfile, HttpsspiffeProfile};

    #[test]
    fn the_lines_of_spire_come_first() {
        let web = BundleEndpointProfile::HttpsWeb(HttpsWebProfile {});
        let mut relationship = FederationRelationship {
            trust_domain: "b.test".to_owned(),
            bundle_endpoint_url: "https://h.test/".to_owned(),
            bundle_endpoint_profile: Some(web),
            ..Default::default()
        };
        let spire = "Trust domain              : b.test\n\
                     Bundle endpoint URL       : https://h.test/\n\
                     Bundle endpoint profile   : https_web\n";
        assert_eq!(block(&relationship), spire);
        let status = FederationStatus {
            configured: true,
            fetched_at: 1_795_361_761,
            last_error: "cannot connect".to_owned(),
            next_fetch: 1_795_361_821,
        };
        relationship.status = Some(status);
        let more = "Configured in file        : true\n\
                    Bundle last fetched       : 2026-11-22 15:36:01 +0000 UTC\n\
                    Last fetch failed         : cannot connect\n\
                    Next fetch                : 2026-11-22 15:37:01 +0000 UTC\n";
        assert_eq!(block(&relationship), format!("{spire}{more}"));

        let profile = HttpsspiffeProfile {
            endpoint_spiffe_id: "spiffe://b.test/e".to_owned(),
        };
        let profile = BundleEndpointProfile::HttpsSpiffe(profile);
        relationship.bundle_endpoint_profile = Some(profile);
        relationship.status = Some(FederationStatus::default());
        let told = block(&relationship);
        let ends = "Bundle endpoint profile   : https_spiffe\n\
                    Endpoint SPIFFE ID        : spiffe://b.test/e\n\
                    Bundle last fetched       : not yet\n";
        assert!(told.ends_with(ends), "{told}");
    }
}

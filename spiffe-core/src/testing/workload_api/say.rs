//! What the fake is told to say: identities, bundles, tokens, and messages as they are.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::Arc;

use tonic::{Code, Status};

use super::FakeWorkloadApi;
use super::script::{self, Answer};
use super::service;
use crate::bundle::{BundleSet, TrustBundle};
use crate::jwt::JwtSvid;
use crate::proto::workload::{
    JwtBundlesResponse, Jwtsvid, JwtsvidRequest, JwtsvidResponse, X509BundlesResponse, X509svid,
    X509svidResponse,
};
#[cfg(feature = "incubating-wit")]
use crate::proto::workload::{WitBundlesResponse, Witsvid, WitsvidResponse};
use crate::snapshot::IdentitySnapshot;
use crate::testing::TestAuthority;
#[cfg(feature = "incubating-wit")]
use crate::testing::TokenDraft;

impl FakeWorkloadApi {
    /// Gives this identity from now on: an X.509-SVID, JWT-SVIDs for whatever audience, and the
    /// authority's bundle. Called again, it is a rotation.
    ///
    /// # Panics
    ///
    /// Where `path` is no path of a SPIFFE ID.
    pub fn give(&self, authority: &TestAuthority, path: &str) {
        self.publish(&authority.snapshot(path));
        let draft = authority.jwt_draft(path, &[]);
        self.mint_jwt(move |audience| {
            let audience: Vec<_> = audience.iter().map(ToString::to_string).collect();
            vec![draft.clone().claim("aud", audience).jwt_svid()]
        });
    }

    /// Says from now on what the snapshot holds: its SVIDs, and its bundles as
    /// [`publish_bundles`](Self::publish_bundles) does.
    ///
    /// # Panics
    ///
    /// Where the bundle of an SVID is missing.
    pub fn publish(&self, snapshot: &IdentitySnapshot) {
        self.publish_bundles(snapshot.bundles());
        self.publish_message(message(snapshot));
    }

    /// Says this from now on to who asks for X.509-SVIDs, whatever it is.
    pub fn publish_message(&self, message: X509svidResponse) {
        self.script.x509.send_replace(Answer::Message(message));
    }

    /// Says from now on, to who asks for bundles alone, what these hold: X.509 authorities, keys for
    /// JWT-SVIDs, and with the feature `incubating-wit` those for WIT-SVIDs.
    ///
    /// # Panics
    ///
    /// Where a key has no ID.
    pub fn publish_bundles(&self, bundles: &BundleSet) {
        let name = |bundle: &TrustBundle| format!("spiffe://{}", bundle.trust_domain());
        let x509 = bundles
            .iter()
            .filter(|bundle| !bundle.x509_authorities().is_empty());
        self.publish_x509_bundles(X509BundlesResponse {
            crl: Vec::new(),
            bundles: x509
                .map(|bundle| (name(bundle), concatenated(bundle)))
                .collect(),
        });
        let jwks = |bundle: &TrustBundle| bundle.to_jwt_jwks().unwrap().into_bytes();
        self.publish_jwt_bundles(JwtBundlesResponse {
            bundles: bundles
                .iter()
                .map(|bundle| (name(bundle), jwks(bundle)))
                .collect(),
        });
        #[cfg(feature = "incubating-wit")]
        {
            let jwks = |bundle: &TrustBundle| bundle.to_wit_jwks().unwrap();
            let bundles = bundles.iter().map(|bundle| (name(bundle), jwks(bundle)));
            let message = WitBundlesResponse {
                bundles: bundles.collect(),
            };
            self.script
                .wit_bundles
                .send_replace(Answer::Message(message));
        }
    }

    /// Says this from now on to who asks for X.509 bundles, whatever it is.
    pub fn publish_x509_bundles(&self, message: X509BundlesResponse) {
        self.script
            .x509_bundles
            .send_replace(Answer::Message(message));
    }

    /// Says this from now on to who asks for JWT bundles, whatever it is.
    pub fn publish_jwt_bundles(&self, message: JwtBundlesResponse) {
        self.script
            .jwt_bundles
            .send_replace(Answer::Message(message));
    }

    /// Makes JWT-SVIDs in this way from now on: `mint` is given the audience, and makes the token of
    /// each identity that the workload has. Who asks for another identity is denied.
    pub fn mint_jwt(&self, mint: impl Fn(&[&str]) -> Vec<JwtSvid> + Send + Sync + 'static) {
        self.answer_jwt(move |asked| {
            let audience: Vec<&str> = asked.audience.iter().map(String::as_str).collect();
            let mut svids = mint(&audience);
            svids.retain(|svid| service::meant(asked, svid.id()));
            if svids.is_empty() {
                return Err(script::status(Code::PermissionDenied));
            }
            let svids = svids.iter().map(|svid| Jwtsvid {
                spiffe_id: svid.id().to_string(),
                svid: svid.token().to_owned(),
                hint: svid.hint().to_owned(),
            });
            Ok(JwtsvidResponse {
                svids: svids.collect(),
            })
        });
    }

    /// Answers who asks for JWT-SVIDs in this way from now on, whatever it is.
    pub fn answer_jwt(
        &self,
        answer: impl Fn(&JwtsvidRequest) -> Result<JwtsvidResponse, Status> + Send + Sync + 'static,
    ) {
        self.script
            .jwt
            .send_replace(Answer::Message(Arc::new(answer)));
    }

    /// Gives these WIT-SVIDs from now on, the default one first.
    ///
    /// # Panics
    ///
    /// Where one of them is no WIT-SVID.
    #[cfg(feature = "incubating-wit")]
    pub fn publish_wit(&self, drafts: &[TokenDraft]) {
        let svids = drafts.iter().map(|draft| Witsvid {
            spiffe_id: draft.wit_svid().id().to_string(),
            wit_svid: draft.token(),
            wit_svid_key: draft.private_jwk(),
            hint: String::new(),
        });
        self.publish_wit_message(WitsvidResponse {
            svids: svids.collect(),
        });
    }

    /// Says this from now on to who asks for WIT-SVIDs, whatever it is.
    #[cfg(feature = "incubating-wit")]
    pub fn publish_wit_message(&self, message: WitsvidResponse) {
        self.script.wit.send_replace(Answer::Message(message));
    }
}

/// What an agent that has this snapshot would say, to be made worse by a test.
///
/// # Panics
///
/// Where the bundle of an SVID is missing.
#[must_use]
pub fn message(snapshot: &IdentitySnapshot) -> X509svidResponse {
    let svids = snapshot.svids().iter().map(|svid| X509svid {
        spiffe_id: svid.id().to_string(),
        x509_svid: svid.chain().iter().flat_map(|c| c.der().to_vec()).collect(),
        x509_svid_key: svid.key().pkcs8_der().to_vec(),
        bundle: concatenated(snapshot.bundles().get(&svid.id().trust_domain()).unwrap()),
        hint: svid.hint().to_owned(),
    });
    let own = |bundle: &&TrustBundle| {
        let mut svids = snapshot.svids().iter();
        svids.any(|svid| svid.id().trust_domain() == *bundle.trust_domain())
    };
    let federated = snapshot.bundles().iter().filter(|bundle| !own(bundle));
    X509svidResponse {
        svids: svids.collect(),
        crl: Vec::new(),
        federated_bundles: federated
            .map(|bundle| {
                let id = format!("spiffe://{}", bundle.trust_domain());
                (id, concatenated(bundle))
            })
            .collect(),
    }
}

fn concatenated(bundle: &TrustBundle) -> Vec<u8> {
    let authorities = bundle.x509_authorities().iter();
    authorities.flat_map(|c| c.der().to_vec()).collect()
}

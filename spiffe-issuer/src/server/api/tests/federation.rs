//! The trust domain service: requests, and what is answered.

use spiffe_core::testing::TestAuthority;

use super::*;
use crate::domain::Bundle;
use crate::proto::server::bundle::GetFederatedBundleRequest;
use crate::proto::server::trustdomain::{
    BatchCreateFederationRelationshipRequest, BatchDeleteFederationRelationshipRequest,
    BatchUpdateFederationRelationshipRequest, GetFederationRelationshipRequest,
    ListFederationRelationshipsRequest, RefreshBundleRequest,
};
use crate::proto::types::{
    FederationRelationship, FederationRelationshipMask,
    federation_relationship::BundleEndpointProfile,
};
use crate::wire::authorities::bundle_to_message;

fn web(trust_domain: &str) -> FederationRelationship {
    FederationRelationship {
        trust_domain: trust_domain.to_owned(),
        bundle_endpoint_url: format!("https://{trust_domain}/bundle"),
        bundle_endpoint_profile: Some(BundleEndpointProfile::HttpsWeb(types::HttpsWebProfile {})),
        trust_domain_bundle: None,
        status: None,
    }
}

fn spiffe(trust_domain: &str, host: &str) -> FederationRelationship {
    let profile = types::HttpsspiffeProfile {
        endpoint_spiffe_id: format!("spiffe://{trust_domain}/endpoint"),
    };
    FederationRelationship {
        bundle_endpoint_url: format!("https://{host}/"),
        bundle_endpoint_profile: Some(BundleEndpointProfile::HttpsSpiffe(profile)),
        ..web(trust_domain)
    }
}

fn bundle_of(authority: &TestAuthority) -> types::Bundle {
    bundle_to_message(&Bundle::from(&authority.x509_bundle()))
}

fn told(status: Option<types::Status>) -> (Code, String) {
    let status = status.unwrap();
    (status.code.into(), status.message)
}

fn ok() -> (Code, String) {
    (Code::Ok, "OK".to_owned())
}

type Told = ((Code, String), Option<FederationRelationship>);

impl World {
    async fn federate(&self, with: Vec<FederationRelationship>) -> Vec<Told> {
        let request = BatchCreateFederationRelationshipRequest {
            federation_relationships: with,
            output_mask: None,
        };
        let mut client = self.trust_domains(local()).await;
        let created = client.batch_create_federation_relationship(request).await;
        let results = created.unwrap().into_inner().results.into_iter();
        results
            .map(|r| (told(r.status), r.federation_relationship))
            .collect()
    }

    async fn relationship(&self, with: &str) -> Result<FederationRelationship, Status> {
        let request = GetFederationRelationshipRequest {
            trust_domain: with.to_owned(),
            output_mask: None,
        };
        let mut client = self.trust_domains(local()).await;
        let found = client.get_federation_relationship(request).await;
        found.map(tonic::Response::into_inner)
    }
}

#[tokio::test]
async fn relationships_are_created_once_and_each_refusal_has_its_words() {
    let world = World::new().await;
    let authority = TestAuthority::new("b.test");
    let first = FederationRelationship {
        trust_domain_bundle: Some(bundle_of(&authority)),
        ..spiffe("b.test", "b")
    };
    let convert = |why: &str| format!("failed to convert federation relationship: {why}");
    let cases = [
        (
            FederationRelationship {
                trust_domain: "spiffe://b.test".to_owned(),
                ..first.clone()
            },
            Code::AlreadyExists,
            "failed to create federation relationship: there is one with \"b.test\" already".into(),
        ),
        (
            web("file.test"),
            Code::AlreadyExists,
            "failed to create federation relationship: there is one with \"file.test\" already"
                .into(),
        ),
        (
            web("td"),
            Code::InvalidArgument,
            "unable to create federation relationship for server trust domain".into(),
        ),
        (
            web(""),
            Code::InvalidArgument,
            convert("failed to parse trust domain: "),
        ),
        (
            FederationRelationship {
                bundle_endpoint_url: "http://c.test".into(),
                ..web("c.test")
            },
            Code::InvalidArgument,
            convert("bundle endpoint URL must use the https scheme"),
        ),
        (
            FederationRelationship {
                bundle_endpoint_profile: None,
                ..web("c.test")
            },
            Code::InvalidArgument,
            convert("unsupported bundle endpoint profile type: <nil>"),
        ),
        (
            FederationRelationship {
                trust_domain_bundle: Some(bundle_of(&authority)),
                ..web("c.test")
            },
            Code::InvalidArgument,
            convert("trust domain bundle (\"b.test\") must match the trust domain of the"),
        ),
    ];
    let asked = std::iter::once(first.clone()).chain(cases.iter().map(|c| c.0.clone()));
    let mut results = world.federate(asked.collect()).await.into_iter();
    assert_eq!(results.next().unwrap(), (ok(), Some(first.clone())));
    for ((status, relationship), (_, code, why)) in results.zip(cases) {
        assert_eq!(status.0, code, "{}", status.1);
        assert!(status.1.starts_with(&why), "{}", status.1);
        assert_eq!(relationship, None);
    }
    // The bundle is there for everyone from now on.
    let request = GetFederatedBundleRequest {
        trust_domain: "b.test".to_owned(),
        output_mask: None,
    };
    let held = world
        .bundles(local())
        .await
        .get_federated_bundle(request)
        .await;
    assert_eq!(Some(held.unwrap().into_inner()), first.trust_domain_bundle);
}

#[tokio::test]
async fn one_list_has_what_the_configuration_says_and_what_was_created_with_how_it_goes() {
    let world = World::new().await;
    world
        .federate(vec![web("b.test"), web("c.test"), web("d.test")])
        .await;
    let mut client = world.trust_domains(local()).await;
    let (mut listed, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListFederationRelationshipsRequest {
            output_mask: Some(FederationRelationshipMask {
                bundle_endpoint_url: true,
                ..Default::default()
            }),
            page_size: 2,
            page_token,
        };
        let page = client.list_federation_relationships(request).await;
        let page = page.unwrap().into_inner();
        assert!(page.federation_relationships.len() <= 2);
        listed.extend(page.federation_relationships);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let told: Vec<_> = listed
        .iter()
        .map(|r| (&*r.trust_domain, r.status.as_ref().unwrap().configured))
        .collect();
    let all = [
        ("file.test", true),
        ("b.test", false),
        ("c.test", false),
        ("d.test", false),
    ];
    assert_eq!(told, all);
    assert!(listed.iter().all(|r| r.bundle_endpoint_profile.is_none()));
    assert_eq!(listed[1].bundle_endpoint_url, "https://b.test/bundle");

    let found = world.relationship("spiffe://file.test").await.unwrap();
    assert_eq!(
        found.status.unwrap(),
        types::FederationStatus {
            configured: true,
            ..Default::default()
        }
    );
    for (name, code, why) in [
        (
            "x.test",
            Code::NotFound,
            "federation relationship does not exist",
        ),
        ("X", Code::InvalidArgument, "failed to parse trust domain: "),
        ("", Code::InvalidArgument, "failed to parse trust domain: "),
    ] {
        let refused = world.relationship(name).await.unwrap_err();
        assert_eq!(refused.code(), code, "{name}");
        assert!(refused.message().starts_with(why), "{refused}");
    }
}

#[tokio::test]
async fn an_update_changes_what_its_mask_chooses() {
    let world = World::new().await;
    let authority = TestAuthority::new("b.test");
    world.federate(vec![web("b.test")]).await;
    let update = async |relationship: FederationRelationship, mask| {
        let request = BatchUpdateFederationRelationshipRequest {
            federation_relationships: vec![relationship],
            input_mask: mask,
            output_mask: None,
        };
        let mut client = world.trust_domains(local()).await;
        let updated = client.batch_update_federation_relationship(request).await;
        let result = updated.unwrap().into_inner().results.remove(0);
        (told(result.status), result.federation_relationship)
    };
    let url_only = FederationRelationshipMask {
        bundle_endpoint_url: true,
        ..Default::default()
    };
    let moved = FederationRelationship {
        bundle_endpoint_url: "https://elsewhere.test/".to_owned(),
        bundle_endpoint_profile: None,
        trust_domain_bundle: Some(bundle_of(&authority)),
        ..web("b.test")
    };
    let expected = FederationRelationship {
        bundle_endpoint_url: "https://elsewhere.test/".to_owned(),
        ..web("b.test")
    };
    let (status, told) = update(moved, Some(url_only)).await;
    assert_eq!(
        (status, told),
        (ok(), Some(expected)),
        "the bundle was not chosen"
    );

    let whole = FederationRelationship {
        trust_domain_bundle: Some(bundle_of(&authority)),
        ..spiffe("b.test", "b")
    };
    assert_eq!(
        update(whole.clone(), None).await,
        (ok(), Some(whole.clone()))
    );
    // A bundle that is chosen and not there changes none.
    let without = spiffe("b.test", "c");
    let (status, told) = update(without, None).await;
    assert_eq!(status, ok());
    assert_eq!(told.unwrap().trust_domain_bundle, whole.trust_domain_bundle);

    for (relationship, mask, code, why) in [
        (
            web("x.test"),
            None,
            Code::NotFound,
            "failed to update federation relationship: ",
        ),
        (
            web("file.test"),
            None,
            Code::FailedPrecondition,
            "the federation relationship with \"file.test\" stands in the configuration",
        ),
        (
            FederationRelationship {
                bundle_endpoint_url: "https://u:p@b.test/".to_owned(),
                ..web("b.test")
            },
            Some(url_only),
            Code::InvalidArgument,
            "failed to convert federation relationship: bundle endpoint URL must not contain",
        ),
        (
            web(""),
            None,
            Code::InvalidArgument,
            "failed to convert federation relationship: failed to parse trust domain: ",
        ),
    ] {
        let ((found, message), relationship) = update(relationship, mask).await;
        assert_eq!((found, relationship), (code, None), "{message}");
        assert!(message.starts_with(why), "{message}");
    }
}

#[tokio::test]
async fn a_relationship_is_deleted_and_its_bundle_stays() {
    let world = World::new().await;
    let authority = TestAuthority::new("b.test");
    let first = FederationRelationship {
        trust_domain_bundle: Some(bundle_of(&authority)),
        ..web("b.test")
    };
    world.federate(vec![first]).await;
    let names = ["spiffe://b.test", "b.test", "file.test", "", "B"];
    let request = BatchDeleteFederationRelationshipRequest {
        trust_domains: names.map(str::to_owned).to_vec(),
    };
    let mut client = world.trust_domains(local()).await;
    let deleted = client.batch_delete_federation_relationship(request).await;
    let results = deleted.unwrap().into_inner().results;
    for (result, (name, code, why)) in results.into_iter().zip([
        ("b.test", Code::Ok, "OK"),
        (
            "b.test",
            Code::NotFound,
            "federation relationship not found",
        ),
        (
            "file.test",
            Code::FailedPrecondition,
            "the federation relationship with \"file.test\" stands in the configuration",
        ),
        ("", Code::InvalidArgument, "missing trust domain"),
        ("B", Code::InvalidArgument, "failed to parse trust domain: "),
    ]) {
        let (found, message) = told(result.status);
        assert_eq!((&*result.trust_domain, found), (name, code), "{message}");
        assert!(message.starts_with(why), "{message}");
    }
    let request = GetFederatedBundleRequest {
        trust_domain: "b.test".to_owned(),
        output_mask: None,
    };
    assert!(
        world
            .bundles(local())
            .await
            .get_federated_bundle(request)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_refresh_tells_what_is_wrong_with_the_endpoint() {
    let world = World::new().await;
    let authority = TestAuthority::at("b.test", world.clock.now());
    let newest = authority.x509_bundle().with_sequence(Some(9));
    world
        .net
        .serve("b", &authority, move || Some(newest.clone()));
    let first = FederationRelationship {
        trust_domain_bundle: Some(bundle_of(&authority)),
        ..spiffe("b.test", "b")
    };
    world.federate(vec![first, web("c.test")]).await;
    let refresh = async |name: &str| {
        let request = RefreshBundleRequest {
            trust_domain: name.to_owned(),
        };
        let mut client = world.trust_domains(local()).await;
        client.refresh_bundle(request).await
    };
    refresh("spiffe://b.test").await.unwrap();
    let found = world.relationship("b.test").await.unwrap();
    assert_eq!(found.trust_domain_bundle.unwrap().sequence_number, 9);
    let status = found.status.unwrap();
    let now = crate::wire::seconds(world.clock.now());
    assert_eq!((status.fetched_at, &*status.last_error), (now, ""));
    assert!(status.next_fetch > now);

    for (name, code, why) in [
        (
            "c.test",
            Code::Internal,
            "failed to refresh bundle: cannot connect to c.test: ",
        ),
        (
            "file.test",
            Code::Internal,
            "failed to refresh bundle: there is no bundle yet",
        ),
        (
            "x.test",
            Code::NotFound,
            "no relationship with trust domain \"x.test\"",
        ),
        ("", Code::InvalidArgument, "failed to parse trust domain: "),
    ] {
        let refused = refresh(name).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().starts_with(why), "{refused}");
    }
    let failed = world.relationship("c.test").await.unwrap().status.unwrap();
    assert!(
        failed.last_error.starts_with("cannot connect to c.test: "),
        "{failed:?}"
    );
    assert_eq!(failed.fetched_at, 0);
}

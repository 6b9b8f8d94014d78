//! The bundle service: requests, and what is answered.

use spiffe_core::testing::TestAuthority;

use super::*;
use crate::domain::{Bundle, EntryFilter, Page};
use crate::proto::server::bundle::batch_delete_federated_bundle_request::Mode;
use crate::proto::server::bundle::{
    AppendBundleRequest, BatchCreateFederatedBundleRequest, BatchDeleteFederatedBundleRequest,
    BatchSetFederatedBundleRequest, BatchUpdateFederatedBundleRequest, CountBundlesRequest,
    GetBundleRequest, GetFederatedBundleRequest, ListFederatedBundlesRequest,
};
use crate::wire::authorities::bundle_to_message;

fn bundle_of(trust_domain: &str) -> types::Bundle {
    let authority = TestAuthority::new(trust_domain);
    let keys = authority.bundle().jwt_authorities().to_vec();
    let bundle = authority.x509_bundle().with_jwt_authorities(keys);
    let bundle = Bundle::from(&bundle.with_sequence(Some(7)));
    types::Bundle {
        refresh_hint: 60,
        ..bundle_to_message(&bundle)
    }
}

/// The status of an item, as code and text.
fn told(status: Option<types::Status>) -> (Code, String) {
    let status = status.unwrap();
    (status.code.into(), status.message)
}

fn ok() -> (Code, String) {
    (Code::Ok, "OK".to_owned())
}

impl World {
    async fn set(&self, bundle: &types::Bundle) {
        let request = BatchSetFederatedBundleRequest {
            bundle: vec![bundle.clone()],
            output_mask: None,
        };
        let mut client = self.bundles(local()).await;
        let set = client.batch_set_federated_bundle(request);
        let set = set.await.unwrap().into_inner();
        assert_eq!(told(set.results[0].status.clone()), ok());
    }

    async fn federated(&self, of: &str) -> Result<types::Bundle, Status> {
        let request = GetFederatedBundleRequest {
            trust_domain: of.to_owned(),
            output_mask: None,
        };
        let bundle = self
            .bundles(local())
            .await
            .get_federated_bundle(request)
            .await;
        bundle.map(tonic::Response::into_inner)
    }
}

/// What every call that takes in bundles refuses, with the word it has for itself.
fn refusals(doing: &str) -> Vec<(types::Bundle, String)> {
    let with = |change: fn(&mut types::Bundle)| {
        let mut bundle = bundle_of("b.test");
        change(&mut bundle);
        bundle
    };
    let convert = "failed to convert bundle: unable to parse";
    vec![
        (
            bundle_of("td"),
            format!("{doing} a federated bundle for the server's own trust domain is not allowed"),
        ),
        (
            with(|b| b.trust_domain.clear()),
            "trust domain argument is not valid: ".to_owned(),
        ),
        (
            with(|b| b.trust_domain = "B/a".to_owned()),
            "trust domain argument is not valid: ".to_owned(),
        ),
        (
            with(|b| b.x509_authorities[0].asn1.truncate(7)),
            format!("{convert} X.509 authority: x509_authorities[0].asn1: "),
        ),
        (
            with(|b| b.jwt_authorities[0].public_key.truncate(7)),
            format!("{convert} JWT authority: jwt_authorities[0].public_key: "),
        ),
        (
            with(|b| b.jwt_authorities[0].key_id.clear()),
            format!("{convert} JWT authority: missing key ID"),
        ),
    ]
}

#[tokio::test]
async fn bundles_are_created_once_and_each_refusal_has_its_words() {
    let world = World::new().await;
    let good = bundle_of("b.test");
    let (bad, texts): (Vec<_>, Vec<_>) = refusals("creating").into_iter().unzip();
    let mut bundles = vec![good.clone(), good.clone()];
    bundles.extend(bad);
    let request = BatchCreateFederatedBundleRequest {
        bundle: bundles,
        output_mask: Some(types::BundleMask {
            refresh_hint: true,
            ..Default::default()
        }),
    };
    let mut client = world.bundles(local()).await;
    let created = client.batch_create_federated_bundle(request);
    let mut results = created.await.unwrap().into_inner().results.into_iter();
    let first = results.next().unwrap();
    assert_eq!(told(first.status), ok());
    let masked = types::Bundle {
        trust_domain: "b.test".to_owned(),
        refresh_hint: 60,
        ..Default::default()
    };
    assert_eq!(first.bundle, Some(masked));
    let again = results.next().unwrap();
    let exists = (Code::AlreadyExists, "bundle already exists".to_owned());
    assert_eq!((told(again.status), again.bundle), (exists, None));
    for (result, text) in results.zip(texts) {
        let (code, message) = told(result.status);
        assert_eq!(code, Code::InvalidArgument, "{message}");
        assert!(message.starts_with(&text), "{message}");
    }
    assert_eq!(world.federated("spiffe://b.test").await.unwrap(), good);
}

#[tokio::test]
async fn bundles_are_set_also_where_there_is_a_newer_one() {
    let world = World::new().await;
    let (newer, mut older) = (bundle_of("b.test"), bundle_of("b.test"));
    older.sequence_number = 3;
    world.set(&newer).await;
    world.set(&older).await;
    assert_eq!(world.federated("b.test").await.unwrap(), older);
    let (bad, texts): (Vec<_>, Vec<_>) = refusals("setting").into_iter().unzip();
    let request = BatchSetFederatedBundleRequest {
        bundle: bad,
        output_mask: None,
    };
    let mut client = world.bundles(local()).await;
    let refused = client.batch_set_federated_bundle(request);
    let results = refused.await.unwrap().into_inner().results;
    assert_eq!(results.len(), texts.len());
    for (result, text) in results.into_iter().zip(texts) {
        let (code, message) = told(result.status);
        assert_eq!(code, Code::InvalidArgument);
        assert!(message.starts_with(&text), "{message}");
    }
}

#[tokio::test]
async fn an_update_changes_what_its_mask_chooses() {
    let world = World::new().await;
    let (before, after) = (bundle_of("b.test"), bundle_of("b.test"));
    world.set(&before).await;
    let mut half = after.clone();
    half.refresh_hint = 90;
    // What the mask leaves out need not be good.
    half.jwt_authorities[0].key_id.clear();
    let request = BatchUpdateFederatedBundleRequest {
        bundle: vec![half, bundle_of("c.test"), bundle_of("td")],
        input_mask: Some(types::BundleMask {
            x509_authorities: true,
            refresh_hint: true,
            ..Default::default()
        }),
        output_mask: None,
    };
    let mut client = world.bundles(local()).await;
    let updated = client.batch_update_federated_bundle(request);
    let results = updated.await.unwrap().into_inner().results;
    let [first, absent, own] = <[_; 3]>::try_from(results).unwrap();
    assert_eq!(told(first.status), ok());
    let expected = types::Bundle {
        x509_authorities: after.x509_authorities.clone(),
        refresh_hint: 90,
        ..before
    };
    assert_eq!(first.bundle.as_ref(), Some(&expected));
    assert_eq!(world.federated("b.test").await.unwrap(), expected);
    let not_found = (Code::NotFound, "bundle not found".to_owned());
    assert_eq!(told(absent.status), not_found);
    let why = "updating a federated bundle for the server's own trust domain is not allowed";
    assert_eq!(told(own.status), (Code::InvalidArgument, why.to_owned()));

    // Without a mask all of it is meant.
    let request = BatchUpdateFederatedBundleRequest {
        bundle: vec![after.clone()],
        ..Default::default()
    };
    let mut client = world.bundles(local()).await;
    let updated = client.batch_update_federated_bundle(request);
    updated.await.unwrap();
    assert_eq!(world.federated("b.test").await.unwrap(), after);
}

#[tokio::test]
async fn a_bundle_goes_as_its_mode_says() {
    let world = World::new().await;
    let delete = async |names: &[&str], mode: i32| {
        let request = BatchDeleteFederatedBundleRequest {
            trust_domains: names.iter().map(|name| (*name).to_owned()).collect(),
            mode,
        };
        let mut client = world.bundles(local()).await;
        let deleted = client.batch_delete_federated_bundle(request);
        let results = deleted.await?.into_inner().results;
        let results = results
            .into_iter()
            .map(|r| (r.trust_domain, told(r.status)));
        Ok::<_, Status>(results.collect::<Vec<_>>())
    };
    let federating = async || {
        let listed = world
            .entries
            .list(&EntryFilter::default(), &Page::ALL)
            .await;
        let listed = listed.unwrap().items;
        listed
            .iter()
            .map(|entry| entry.body.federates_with.len())
            .collect::<Vec<_>>()
    };
    let federate = async || {
        world.set(&bundle_of("b.test")).await;
        let entry = NewEntry {
            federates_with: ["b.test".parse().unwrap()].into(),
            ..entry()
        };
        let made = world.entries.create(vec![entry]).await.unwrap().remove(0);
        assert!(matches!(made, Ok(MadeEntry::New(_))), "{made:?}");
    };

    federate().await;
    let in_use = "failed to delete federated bundle: cannot delete bundle; federated with 1 \
                  registration entries";
    let refused = delete(&["b.test"], Mode::Restrict.into()).await.unwrap();
    let refusal = (Code::FailedPrecondition, in_use.to_owned());
    assert_eq!(refused, [("b.test".to_owned(), refusal)]);
    assert!(world.federated("b.test").await.is_ok());

    let gone = delete(&["spiffe://b.test"], Mode::Dissociate.into())
        .await
        .unwrap();
    assert_eq!(gone, [("b.test".to_owned(), ok())]);
    assert_eq!(
        federating().await,
        [0],
        "the entry stays, and federates no more"
    );
    let listed = world
        .entries
        .list(&EntryFilter::default(), &Page::ALL)
        .await
        .unwrap();
    world.entries.delete(&listed.items[0].id).await.unwrap();
    federate().await;
    let gone = delete(&["b.test"], Mode::Delete.into()).await.unwrap();
    assert_eq!(gone, [("b.test".to_owned(), ok())]);
    assert_eq!(federating().await, [0_usize; 0], "the entry goes as well");

    let own = "removing the bundle for the server trust domain is not allowed";
    let refused = delete(&["b.test", "td", ""], 0).await.unwrap();
    assert_eq!(
        refused[0].1,
        (Code::NotFound, "bundle not found".to_owned())
    );
    assert_eq!(refused[1].1, (Code::InvalidArgument, own.to_owned()));
    let (code, why) = &refused[2].1;
    assert_eq!(*code, Code::InvalidArgument);
    assert!(
        why.starts_with("trust domain argument is not valid: "),
        "{why}"
    );
    let refused = delete(&[], 9).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let why = "failed to parse deletion mode: unhandled delete mode \"9\"";
    assert_eq!(refused.message(), why);
}

#[tokio::test]
async fn foreign_bundles_are_listed_in_pages_and_counted_with_our_own() {
    let world = World::new().await;
    for name in ["b.test", "c.test", "d.test"] {
        world.set(&bundle_of(name)).await;
    }
    let mut bundles = world.bundles(local()).await;
    let count = bundles.count_bundles(CountBundlesRequest {}).await;
    assert_eq!(count.unwrap().get_ref().count, 4);
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListFederatedBundlesRequest {
            output_mask: Some(types::BundleMask::default()),
            page_size: 2,
            page_token,
        };
        let page = bundles.list_federated_bundles(request).await;
        let page = page.unwrap().into_inner();
        assert!(page.bundles.iter().all(|b| b.x509_authorities.is_empty()));
        names.extend(page.bundles.into_iter().map(|bundle| bundle.trust_domain));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["b.test", "c.test", "d.test"]);
    let own = world.federated("td").await.unwrap_err();
    let why = "getting a federated bundle for the server's own trust domain is not allowed";
    assert_eq!((own.code(), own.message()), (Code::InvalidArgument, why));
    let absent = world.federated("x.test").await.unwrap_err();
    let expected = (Code::NotFound, "bundle not found");
    assert_eq!((absent.code(), absent.message()), expected);
}

#[tokio::test]
async fn authorities_are_added_to_our_own_bundle() {
    let world = World::new().await;
    let mut bundles = world.bundles(local()).await;
    let before = bundles.get_bundle(GetBundleRequest::default()).await;
    let before = before.unwrap().into_inner();
    let more = bundle_of("td");
    let request = AppendBundleRequest {
        x509_authorities: more.x509_authorities.clone(),
        jwt_authorities: more.jwt_authorities.clone(),
        ..Default::default()
    };
    let after = bundles
        .append_bundle(request.clone())
        .await
        .unwrap()
        .into_inner();
    let expected = [before.x509_authorities, more.x509_authorities].concat();
    assert_eq!(after.x509_authorities, expected);
    assert!(after.jwt_authorities.contains(&more.jwt_authorities[0]));
    assert_eq!(after.sequence_number, before.sequence_number + 1);
    let again = bundles.append_bundle(request.clone()).await.unwrap();
    assert_eq!(again.get_ref(), &after, "what is there is not added twice");

    let mut no_certificate = request.clone();
    no_certificate.x509_authorities[0].asn1.truncate(7);
    let mut no_key_id = request;
    no_key_id.jwt_authorities[0].key_id.clear();
    for (request, why) in [
        (AppendBundleRequest::default(), "no authorities to append"),
        (
            no_certificate,
            "failed to convert X.509 authority: unable to parse X.509 authority: ",
        ),
        (
            no_key_id,
            "failed to convert JWT authority: unable to parse JWT authority: missing key ID",
        ),
    ] {
        let refused = bundles.append_bundle(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with(why), "{refused}");
    }
}

//! The SVID service.

use rcgen::SanType;

use super::*;
use crate::proto::server::svid::{BatchNewX509svidRequest, NewX509svidParams};

/// A request for these names, signed with a new key.
fn request(ids: &[&str], dns: &[&str]) -> Vec<u8> {
    let mut params = CertificateParams::default();
    for name in dns {
        let name = (*name).try_into().unwrap();
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    for id in ids {
        let id = (*id).try_into().unwrap();
        params.subject_alt_names.push(SanType::URI(id));
    }
    let request = params.serialize_request(&KeyPair::generate().unwrap());
    request.unwrap().der().to_vec()
}

#[tokio::test]
async fn an_operator_mints_what_it_asks_for() {
    let world = World::new().await;
    let csr = request(&["spiffe://td/a"], &["a.test", "b.test"]);
    let minted = mint(&world, csr, 60).await.unwrap();
    let leaf = &minted[0];
    assert_eq!(leaf.spiffe_id().unwrap().as_str(), "spiffe://td/a");
    let lives = leaf.not_after().duration_since(world.clock.now()).unwrap();
    assert_eq!(lives, Duration::from_secs(60));
    for name in ["a.test", "b.test"] {
        let der = leaf.der();
        assert!(
            der.windows(name.len())
                .any(|bytes| bytes == name.as_bytes())
        );
    }
}

#[tokio::test]
async fn names_that_cannot_be_are_not_minted() {
    let world = World::new().await;
    for (ids, dns, text) in [
        (
            &[][..],
            &[][..],
            "CSR must have exactly one URI SAN, and has 0",
        ),
        (
            &["spiffe://td/a", "spiffe://td/b"],
            &[],
            "CSR must have exactly one URI SAN, and has 2",
        ),
        (&["https://td/a"], &[], "invalid SPIFFE ID in CSR: "),
        (
            &["spiffe://other/a"],
            &[],
            "invalid SPIFFE ID in CSR: \"spiffe://other/a\" is not a member of trust domain \"td\"",
        ),
        (
            &["spiffe://td/spire/server"],
            &[],
            "invalid SPIFFE ID in CSR: \"spiffe://td/spire/server\" is not a workload in",
        ),
        (
            &["spiffe://td/a"],
            &["a..test"],
            "CSR DNS name is not valid: \"a..test\": a label is empty",
        ),
    ] {
        let refused = mint(&world, request(ids, dns), 0).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().starts_with(text), "{refused:?}");
    }
    let mut forged = request(&["spiffe://td/a"], &[]);
    *forged.last_mut().unwrap() ^= 1;
    let refused = mint(&world, forged, 0).await.unwrap_err();
    assert!(
        refused.message().starts_with("invalid CSR signature: "),
        "{refused:?}"
    );
}

/// What came of each item of a batch: code, text, and the leaf if there is one.
async fn issue(
    world: &World,
    agent: &Caller,
    asked: Vec<(&str, Vec<u8>)>,
) -> Vec<(Code, String, Option<Certificate>)> {
    let params = asked.into_iter().map(|(id, csr)| NewX509svidParams {
        entry_id: id.to_owned(),
        csr,
    });
    let request = BatchNewX509svidRequest {
        params: params.collect(),
    };
    let mut svids = world.svids(agent.clone()).await;
    let issued = svids
        .batch_new_x509svid(request)
        .await
        .unwrap()
        .into_inner();
    let results = issued.results.into_iter().map(|result| {
        let status = result.status.unwrap();
        let leaf = result.svid.map(|svid| chain(Some(svid)).remove(0));
        (status.code.into(), status.message, leaf)
    });
    results.collect()
}

#[tokio::test]
async fn an_agent_gets_what_its_entries_say_and_nothing_else() {
    let world = World::new().await;
    let (agent, other) = (world.attested().await, world.attested().await);
    let id = |caller: &Caller| caller.svid().unwrap().id().clone();
    let below = |caller: &Caller, name: &str| NewEntry {
        id: Some(name.parse().unwrap()),
        spiffe_id: format!("spiffe://td/{name}").parse().unwrap(),
        parent_id: id(caller),
        dns_names: vec![format!("{name}.test")],
        x509_svid_ttl: Some(Duration::from_secs(60)),
        ..entry()
    };
    let ended = NewEntry {
        expires_at: Some(world.clock.now()),
        ..below(&agent, "ended")
    };
    let entries = vec![below(&agent, "mine"), below(&other, "others"), ended];
    world.entries.create(entries).await.unwrap();
    world.follower.lock().await.tick().await.unwrap();

    let mut forged = request(&[], &[]);
    *forged.last_mut().unwrap() ^= 1;
    // The request names someone else throughout; only its key may count.
    let claims = request(
        &["spiffe://td/spire/server", "spiffe://td/admin"],
        &["evil.test"],
    );
    let outcomes = issue(
        &world,
        &agent,
        vec![
            ("mine", claims.clone()),
            ("others", claims.clone()),
            ("unknown", claims.clone()),
            ("ended", claims.clone()),
            ("", claims.clone()),
            ("mine", vec![]),
            ("mine", vec![1, 2, 3]),
            ("mine", forged),
            ("mine", claims),
        ],
    )
    .await;
    let texts = [
        (Code::Ok, "OK"),
        (Code::NotFound, "entry not found or not authorized"),
        (Code::NotFound, "entry not found or not authorized"),
        (Code::NotFound, "entry not found or not authorized"),
        (Code::InvalidArgument, "missing entry ID"),
        (Code::InvalidArgument, "missing CSR"),
        (Code::InvalidArgument, "malformed CSR: "),
        (Code::InvalidArgument, "invalid CSR signature: "),
        (Code::Ok, "OK"),
    ];
    assert_eq!(outcomes.len(), texts.len());
    for ((code, told, leaf), (wanted, text)) in outcomes.iter().zip(texts) {
        assert_eq!(*code, wanted, "{told}");
        assert!(told.starts_with(text), "{told}");
        assert_eq!(leaf.is_some(), wanted == Code::Ok, "{told}");
    }
    let leaf = outcomes[0].2.as_ref().unwrap();
    assert_eq!(leaf.spiffe_id().unwrap().as_str(), "spiffe://td/mine");
    let holds = |text: &str| leaf.der().windows(text.len()).any(|b| b == text.as_bytes());
    assert!(holds("mine.test") && !holds("evil.test") && !holds("spiffe://td/admin"));
    let lives = leaf.not_after().duration_since(world.clock.now()).unwrap();
    assert_eq!(lives, Duration::from_secs(60));
}

#[tokio::test]
async fn every_certificate_of_a_batch_counts_against_the_limit() {
    let world = World::new().await;
    let agent = world.attested().await;
    let batch = |count| BatchNewX509svidRequest {
        params: vec![NewX509svidParams::default(); count],
    };
    let mut svids = world.svids(agent).await;
    // What fills the bucket goes at once. So many more would wait not quite two seconds by
    // themselves, and wait too long behind the others.
    assert!(svids.batch_new_x509svid(batch(500)).await.is_ok());
    let refused = svids.batch_new_x509svid(batch(1400)).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
}

async fn mint(world: &World, csr: Vec<u8>, ttl: i32) -> Result<Vec<Certificate>, Status> {
    let mut operator = world.svids(local()).await;
    let minted = operator
        .mint_x509svid(MintX509svidRequest { csr, ttl })
        .await?;
    Ok(chain(minted.into_inner().svid))
}

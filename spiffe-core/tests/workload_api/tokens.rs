//! JWT-SVIDs and WIT-SVIDs.

use spiffe_core::proto::workload::{Jwtsvid, JwtsvidResponse, Witsvid, WitsvidResponse};
use spiffe_core::{SpiffeId, with_causes};
use tonic::Code;

use crate::{DB, WEB, code, world};

// conformance: WA-31+ WA-31- WA-13+ WA-13- WA-56+ WA-56-
#[tokio::test(start_paused = true)]
async fn of_the_tokens_sent_those_are_taken_that_were_asked_for() {
    let (authority, api, client) = world();
    let sent = |id: &SpiffeId, token: String, hint: &str| Jwtsvid {
        spiffe_id: id.to_string(),
        svid: token,
        hint: hint.to_owned(),
    };
    let web = |audience| authority.jwt_draft("/web", audience).token();
    let db = authority.jwt_draft("/db", &["q"]).token();
    let ended = authority.jwt_draft("/web", &["q"]).expired().token();
    let long = "x".repeat(1025);
    let good = |hint| sent(&WEB, web(&["q"]), hint);
    for (name, svids, wanted, taken) in [
        ("one", vec![good("")], None, Ok(vec![("/web", "")])),
        (
            "two, in their order",
            vec![sent(&DB, db.clone(), "b"), good("a")],
            None,
            Ok(vec![("/db", "b"), ("/web", "a")]),
        ),
        (
            "the first of a hint",
            vec![good("a"), sent(&DB, db.clone(), "a")],
            None,
            Ok(vec![("/web", "a")]),
        ),
        (
            "a long hint",
            vec![good(&long)],
            None,
            Ok(vec![("/web", "")]),
        ),
        (
            "one of two is garbled",
            vec![
                sent(&WEB, "a.b.c".to_owned(), ""),
                sent(&DB, db.clone(), ""),
            ],
            None,
            Ok(vec![("/db", "")]),
        ),
        ("none", vec![], None, Err("the message holds no SVID")),
        (
            "another's",
            vec![sent(&WEB, db.clone(), "")],
            None,
            Err("the SVID is said to be spiffe://a.test/web and is spiffe://a.test/db"),
        ),
        (
            "not the one asked for",
            vec![sent(&DB, db.clone(), "")],
            Some(&WEB),
            Err("the SVID is said to be spiffe://a.test/web and is spiffe://a.test/db"),
        ),
        (
            "for somebody else",
            vec![sent(&WEB, web(&["r"]), "")],
            None,
            Err("the token of spiffe://a.test/web is not for the audience \"q\""),
        ),
        (
            "ended",
            vec![sent(&WEB, ended, "")],
            None,
            Err("the token of spiffe://a.test/web has expired"),
        ),
        (
            "no ID",
            vec![Jwtsvid {
                svid: web(&["q"]),
                ..Jwtsvid::default()
            }],
            None,
            Err("the identity of an SVID is malformed"),
        ),
        (
            "too many",
            vec![good(""); 101],
            None,
            Err("the message holds more than 100 SVIDs"),
        ),
    ] {
        let message = JwtsvidResponse { svids };
        api.answer_jwt(move |_| Ok(message.clone()));
        let got = client.fetch_jwt_svids(["q"], wanted).await;
        match taken {
            Ok(taken) => {
                let got = got.unwrap();
                let got = got.iter().map(|svid| (svid.id().path(), svid.hint()));
                assert_eq!(got.collect::<Vec<_>>(), taken, "{name}");
            }
            Err(why) => {
                let got = with_causes(&got.unwrap_err());
                assert!(got.contains(why), "{name}: {got}");
            }
        }
    }
}

// conformance: WA-48+ WA-48- WA-50+ WA-50-
#[tokio::test(start_paused = true)]
async fn wit_svids_replace_the_ones_before_them() {
    let (authority, api, client) = world();
    let sent = |path, hint: &str| {
        let draft = authority.wit_draft(path);
        Witsvid {
            spiffe_id: draft.wit_svid().id().to_string(),
            wit_svid: draft.token(),
            wit_svid_key: draft.private_jwk(),
            hint: hint.to_owned(),
        }
    };
    api.publish_wit_message(WitsvidResponse {
        svids: vec![sent("/web", "a"), sent("/db", "a"), sent("/db", "")],
    });
    let mut watch = client.watch_wit_svids(None).await.unwrap();
    let got = watch.next().await.unwrap();
    let got = got.iter().map(|svid| (svid.id().path(), svid.hint()));
    assert_eq!(got.collect::<Vec<_>>(), [("/web", "a"), ("/db", "")]);

    let mut other_key = sent("/web", "");
    other_key.wit_svid_key = sent("/web", "").wit_svid_key;
    api.publish_wit_message(WitsvidResponse {
        svids: vec![other_key, sent("/db", "")],
    });
    let got = watch.next().await.unwrap();
    assert_eq!(got.len(), 1, "a key that is not the token's own");
    assert_eq!(*got[0].id(), DB);

    api.refuse(Code::PermissionDenied);
    let why = watch.next().await.unwrap_err();
    assert_eq!(code(&why), Some(Code::PermissionDenied));
}

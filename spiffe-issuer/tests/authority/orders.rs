use spiffe_core::IdentitySource;
use spiffe_core::clock::Clock;
use spiffe_issuer::domain::{AuthorityId, AuthorityKind, Fault, Kind, Standing};
use spiffe_issuer::keys::MemoryKeys;
use spiffe_issuer::server::ca::{AuthorityState, Order, OrderError};

use crate::own_identity::own_identity;
use crate::{HOUR, Machine, Server, TD};

const KINDS: [AuthorityKind; 3] = [AuthorityKind::X509, AuthorityKind::Jwt, AuthorityKind::Wit];

async fn obey(server: &mut Server, order: Order) -> Result<AuthorityState, OrderError> {
    server.manager.obey(order).await
}

fn id_of(server: &Server, kind: AuthorityKind, standing: Standing) -> AuthorityId {
    let mut states = server.authorities.states(kind).into_iter();
    let state = states.find(|state| state.standing == standing);
    state.unwrap().id
}

async fn in_bundle(server: &Server, kind: AuthorityKind, id: &AuthorityId) -> Option<bool> {
    let bundle = server.store.find_bundle(&TD).await.unwrap().unwrap();
    bundle.taint_of(kind, id)
}

#[tokio::test]
async fn an_authority_is_prepared_activated_tainted_and_revoked_in_this_order_alone() {
    let mut machine = Machine::new(MemoryKeys::default());
    machine.wit = true;
    let mut server = machine.start().await.unwrap();
    for kind in KINDS {
        let first = id_of(&server, kind, Standing::Active);
        let none = AuthorityId::from_text("");
        let nobody = AuthorityId::from_text("nobody");
        let refused = async |server: &mut Server, order: Order| {
            let refused = obey(server, order).await.unwrap_err();
            (
                refused.kind(),
                refused.told().unwrap_or_else(|| refused.to_string()),
            )
        };
        for (order, text) in [
            (
                Order::Activate(kind, none.clone()),
                "no authority ID provided",
            ),
            (
                Order::Activate(kind, nobody.clone()),
                "unexpected authority ID",
            ),
            (
                Order::Activate(kind, first.clone()),
                "unexpected authority ID",
            ),
            (Order::Taint(kind, none.clone()), "no authority ID provided"),
            (
                Order::Taint(kind, nobody.clone()),
                "unexpected authority ID",
            ),
            (
                Order::Taint(kind, first.clone()),
                "unable to taint current local authority",
            ),
            (
                Order::Revoke(kind, none),
                "invalid authority ID: no authority ID provided",
            ),
            (
                Order::Revoke(kind, first.clone()),
                "invalid authority ID: unable to use current authority",
            ),
            (
                Order::Revoke(kind, nobody.clone()),
                match kind {
                    AuthorityKind::X509 => {
                        "invalid authority ID: only Old local authority can be revoked"
                    }
                    AuthorityKind::Jwt => {
                        "invalid authority ID: no JWT authority found with provided authority ID"
                    }
                    AuthorityKind::Wit => {
                        "invalid authority ID: no WIT authority found with provided authority ID"
                    }
                },
            ),
        ] {
            let told = refused(&mut server, order.clone()).await;
            assert_eq!(told, (Kind::Invalid, text.to_owned()), "{order:?}");
        }

        let second = obey(&mut server, Order::Prepare(kind)).await.unwrap();
        assert_eq!(second.standing, Standing::Prepared);
        assert_eq!(in_bundle(&server, kind, &second.id).await, Some(false));
        for (order, text) in [
            (
                Order::Taint(kind, second.id.clone()),
                "only Old local authorities can be tainted: unsupported local authority status: \
                 PREPARED",
            ),
            (
                Order::Revoke(kind, second.id.clone()),
                match kind {
                    AuthorityKind::X509 => {
                        "invalid authority ID: only Old local authority can be revoked"
                    }
                    _ => "invalid authority ID: unable to use a prepared key",
                },
            ),
        ] {
            let told = refused(&mut server, order.clone()).await;
            assert_eq!(told, (Kind::Invalid, text.to_owned()), "{order:?}");
        }

        let activate = Order::Activate(kind, second.id.clone());
        let active = obey(&mut server, activate).await.unwrap();
        assert_eq!(
            (&active.id, active.standing),
            (&second.id, Standing::Active)
        );
        assert_eq!(id_of(&server, kind, Standing::Old), first);
        let told = refused(&mut server, Order::Activate(kind, first.clone())).await;
        let text = "only Prepared authorities can be activated: unsupported local authority \
                    status: OLD";
        assert_eq!(told, (Kind::Internal, text.to_owned()));
        let (sort, called) = match kind {
            AuthorityKind::X509 => ("X.509", "root CA"),
            AuthorityKind::Jwt => ("JWT", "key"),
            AuthorityKind::Wit => ("WIT", "key"),
        };
        let told = refused(&mut server, Order::Revoke(kind, first.clone())).await;
        let text = format!(
            "failed to revoke {sort} authority: it is not possible to revoke an untainted {called}"
        );
        assert_eq!(told, (Kind::Internal, text));

        let tainted = obey(&mut server, Order::Taint(kind, first.clone()))
            .await
            .unwrap();
        assert_eq!(tainted.id, first);
        assert_eq!(in_bundle(&server, kind, &first).await, Some(true));
        let told = refused(&mut server, Order::Taint(kind, first.clone())).await;
        let text = format!("failed to taint {sort} authority: {called} is already tainted");
        assert_eq!(told, (Kind::Internal, text));

        let revoked = obey(&mut server, Order::Revoke(kind, first.clone()))
            .await
            .unwrap();
        assert_eq!(revoked.id, first);
        assert_eq!(in_bundle(&server, kind, &first).await, None);
        assert_eq!(server.authorities.states(kind).len(), 1, "it is forgotten");
    }
    // All of it is written down.
    let before = KINDS.map(|kind| server.authorities.states(kind));
    let server = machine.start().await.unwrap();
    assert_eq!(KINDS.map(|kind| server.authorities.states(kind)), before);
}

#[tokio::test]
async fn what_is_switched_off_takes_no_orders() {
    let machine = Machine::new(MemoryKeys::default());
    let mut server = machine.start().await.unwrap();
    let id = AuthorityId::from_text("a");
    let kind = AuthorityKind::Wit;
    for order in [
        Order::Prepare(kind),
        Order::Activate(kind, id.clone()),
        Order::Taint(kind, id.clone()),
        Order::Revoke(kind, id.clone()),
    ] {
        let refused = obey(&mut server, order).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Unimplemented);
        assert_eq!(refused.to_string(), "WIT functionality is disabled");
    }
    for order in [Order::TaintUpstream(id.clone()), Order::RevokeUpstream(id)] {
        let refused = obey(&mut server, order).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::NotReady);
        assert_eq!(refused.to_string(), "upstream authority is not configured");
    }
}

#[tokio::test]
async fn a_tainted_authority_has_the_servers_own_svid_replaced_at_once() {
    let machine = Machine::new(MemoryKeys::default());
    let mut server = machine.start().await.unwrap();
    let mut own = own_identity(&machine, &server).await;
    let source = own.source();
    let issuer = |source: &dyn IdentitySource| {
        let snapshot = source.snapshot();
        let leaf = snapshot.svid().unwrap().leaf().clone();
        AuthorityId::from_key_id(leaf.authority_key_id().unwrap())
    };
    let kind = AuthorityKind::X509;
    let first = id_of(&server, kind, Standing::Active);
    let second = obey(&mut server, Order::Prepare(kind)).await.unwrap().id;
    let activate = Order::Activate(kind, second.clone());
    obey(&mut server, activate).await.unwrap();
    own.tick().await.unwrap();
    assert_eq!(
        issuer(&*source),
        first,
        "it is good as long as it is not tainted"
    );

    obey(&mut server, Order::Taint(kind, first.clone()))
        .await
        .unwrap();
    own.tick().await.unwrap();
    assert_eq!(issuer(&*source), second);
    let generation = source.snapshot().generation();
    own.tick().await.unwrap();
    assert_eq!(source.snapshot().generation(), generation, "once is enough");

    obey(&mut server, Order::Revoke(kind, first)).await.unwrap();
    own.tick().await.unwrap();
    crate::own_identity::verify(&*source, &machine);
}

#[tokio::test]
async fn what_an_authority_signed_last_is_known() {
    let machine = Machine::new(MemoryKeys::default());
    let mut server = machine.start().await.unwrap();
    let kind = AuthorityKind::X509;
    let first = id_of(&server, kind, Standing::Active);
    let until = |server: &Server| server.authorities.signed_until(kind, &first);
    assert_eq!(until(&server), None);
    let now = machine.clock.now();
    server.leaf(now).await;
    assert_eq!(until(&server), Some(now + HOUR));

    let second = obey(&mut server, Order::Prepare(kind)).await.unwrap().id;
    obey(&mut server, Order::Activate(kind, second))
        .await
        .unwrap();
    machine.clock.turn(HOUR / 2);
    server.leaf(machine.clock.now()).await;
    assert_eq!(until(&server), Some(now + HOUR), "another one signs now");

    // After a restart nobody has counted, and nothing lives longer than its authority.
    let end = server.authorities.states(kind)[1].expires_at;
    let server = machine.start().await.unwrap();
    assert_eq!(until(&server), Some(end));
}

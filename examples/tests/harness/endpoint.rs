//! Where the Workload API is, when it is there, and when to stop asking.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use spiffe_core::testing::{FakeWorkloadApi, Rpc};
use tokio::time::timeout;
use tonic::Code;

use crate::world::{Harness, World};

// conformance: WE-6+ WE-9+
#[tokio::test]
async fn ep1_ep2_it_asks_where_the_environment_says_and_with_the_header() {
    // The fake turns away who comes without the header.
    let world = World::new();
    let harness = world.harness().await;
    let met = harness.meet(&world.probe()).await;
    assert_eq!(met.greeting, "spiffe://test.example.org/probe\n");
    assert_eq!(
        met.server.as_deref(),
        Some("spiffe://test.example.org/default")
    );
}

// conformance: WE-10- WE-11- WE-12- WE-13- WE-14- WE-10+ WE-11+ WE-12+
#[tokio::test]
async fn ep4_an_endpoint_that_is_none_ends_it_at_once() {
    let world = World::new();
    drop(world.harness().await);
    let socket = world.socket();
    let socket = socket.display();
    let scheme = "starts with unix:// or tcp://";
    for (bad, says) in [
        (format!("unix://localhost{socket}"), "has no host"),
        (format!("http://{socket}"), scheme),
        (format!("{socket}"), scheme),
        (format!("unix://{socket}?x=1"), "has no query"),
        ("unix:relative.sock".to_owned(), "needs an absolute path"),
        ("tcp://localhost:80".to_owned(), "must be an IP address"),
        ("tcp://127.0.0.1".to_owned(), "needs a port"),
        (String::new(), scheme),
    ] {
        let mut harness = Harness::start(&bad);
        assert!(!harness.ready().await, "{bad}");
        let (code, said) = harness.end().await;
        assert_eq!(code, Some(1), "{bad}");
        assert!(said.contains(says), "{bad}: {said}");
    }
}

// conformance: WE-21+
#[tokio::test]
async fn ep5_an_agent_that_is_not_ready_is_asked_again() {
    let world = World::new();
    world.api.refuse_next(Rpc::X509Svid, Code::Unavailable, 3);
    let _ready = world.harness().await;
    assert_eq!(world.api.calls(), 4);
}

// conformance: WE-22+
#[tokio::test]
async fn ep6_an_agent_that_does_not_know_us_yet_is_asked_again() {
    let world = World::new();
    world
        .api
        .refuse_next(Rpc::X509Svid, Code::PermissionDenied, 3);
    let _ready = world.harness().await;
    assert_eq!(world.api.calls(), 4);
}

// conformance: WE-19- WE-23-
#[tokio::test]
async fn ep7_an_api_that_does_not_understand_us_is_not_asked_again() {
    for code in [Code::InvalidArgument, Code::Unimplemented] {
        let world = World::new();
        world.api.refuse(code);
        let mut harness = Harness::start(&world.endpoint());
        assert!(!harness.ready().await, "{code:?}");
        let (ended, said) = harness.end().await;
        assert_eq!(ended, Some(1), "{said}");
        assert!(said.contains(&format!("{code:?}")), "{said}");
        let calls = world.api.calls() + world.api.calls_of(Rpc::JwtBundles);
        assert!(calls <= 2, "{calls} calls");
    }
}

// conformance: WE-21+
#[tokio::test]
async fn ep8_an_agent_that_starts_later_is_found() {
    let World {
        authority,
        api,
        folder,
    } = World::silent();
    drop(api);
    let socket = folder.path().join("later.sock");
    let mut harness = Harness::start(&format!("unix://{}", socket.display()));
    harness.says("will try again").await;
    let api = FakeWorkloadApi::on_socket(&socket).unwrap();
    api.give(&authority, "/default");
    assert!(harness.ready().await);
}

#[tokio::test]
async fn it_ends_at_once_when_told_so_also_while_it_waits() {
    let (silent, serving) = (World::silent(), World::new());
    let waiting = Harness::start(&silent.endpoint());
    silent.api.called(Rpc::X509Svid, 1).await;
    for mut harness in [waiting, serving.harness().await] {
        let id = i32::try_from(harness.child.id().unwrap()).unwrap();
        kill(Pid::from_raw(id), Signal::SIGTERM).unwrap();
        let ended = timeout(Duration::from_secs(5), harness.end()).await;
        assert_eq!(ended.unwrap().0, Some(0));
    }
}

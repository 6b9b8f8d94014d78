use std::io::Write;
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;

use async_trait::async_trait;
use prost_reflect::DescriptorPool;
use spiffe_core::clock::SystemClock;
use spiffe_core::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use spiffe_core::proto::workload::{FILE_DESCRIPTOR_SET, X509svid};
use spiffe_core::{BundleSet, TrustBundle, TrustDomain, X509Svid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::super::cache::Cache;
use super::super::cache::samples::{Authority, entry};
use super::super::limit::{Allowance, Limits};
use super::super::listen::PublicSocket;
use super::*;
use crate::attestation::workload::unix::Unix;
use crate::attestation::workload::{
    ProcessRef, WorkloadAttestor, WorkloadAttestors, WorkloadError,
};
use crate::domain::{Entry, SelectorSet};
use crate::runtime::Shutdown;

const TD: TrustDomain = TrustDomain::from_static("td");

/// An agent's Workload API on a socket of its own.
struct Api {
    dir: tempfile::TempDir,
    cache: Arc<Cache>,
    authority: Authority,
    stop: Shutdown,
    served: JoinSet<()>,
}

/// Cannot look.
struct Broken;

#[async_trait]
impl WorkloadAttestor for Broken {
    async fn attest(&self, _: &ProcessRef) -> Result<SelectorSet, WorkloadError> {
        Err(WorkloadError::Stopped)
    }
}

impl Api {
    async fn start() -> Self {
        Self::with(vec![("unix", Arc::new(Unix::without_programs()))], false).await
    }

    async fn with(
        attestors: Vec<(&'static str, Arc<dyn WorkloadAttestor>)>,
        allow_unauthenticated_verifiers: bool,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cache = Arc::new(Cache::new(TD, 100));
        let stop = Shutdown::new();
        let workloads = Arc::new(Workloads {
            attestors: WorkloadAttestors::new(attestors),
            cache: cache.clone(),
            limits: Limits::new(Allowance::default()),
            clock: Arc::new(SystemClock),
            allow_unauthenticated_verifiers,
            stop: stop.clone(),
        });
        let socket = PublicSocket::bind(&dir.path().join("api.sock"))
            .await
            .unwrap();
        let mut served = JoinSet::new();
        let serving = socket.serve(workloads, |router| router, stop.clone());
        served.spawn(async { serving.await.unwrap() });
        Self {
            dir,
            cache,
            authority: Authority::new(),
            stop,
            served,
        }
    }

    /// These entries are synced, with the bundle, and signed.
    fn give(&self, entries: &[Arc<Entry>]) {
        let now = now();
        let bundle = BundleSet::from(self.authority.bundle("td"));
        self.cache.sync_bundles(bundle, now);
        self.cache.sync_entries(entries.iter().cloned(), now);
        self.sign(entries);
    }

    fn sign(&self, entries: &[Arc<Entry>]) {
        let now = now();
        let signed = entries.iter().map(|entry| {
            let svid = self.authority.lasting_svid(entry);
            let renew_at = svid.not_after();
            (entry.clone(), svid, renew_at)
        });
        self.cache.signed(signed.collect::<Vec<_>>(), now);
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("api.sock")
    }

    async fn channel(&self) -> Channel {
        let path = self.path();
        let connect = tower::service_fn(move |_| {
            let path = path.clone();
            async move {
                UnixStream::connect(path)
                    .await
                    .map(hyper_util::rt::TokioIo::new)
            }
        });
        Endpoint::from_static("http://localhost")
            .connect_with_connector(connect)
            .await
            .unwrap()
    }

    async fn client(&self) -> SpiffeWorkloadApiClient<Channel> {
        SpiffeWorkloadApiClient::new(self.channel().await)
    }

    async fn fetch(&self) -> Result<tonic::Streaming<X509svidResponse>, Status> {
        let mut client = self.client().await;
        let answer = client.fetch_x509svid(secure(X509svidRequest {})).await;
        answer.map(Response::into_inner)
    }

    async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.served.join_next().await {
            ended.unwrap();
        }
    }
}

fn now() -> std::time::SystemTime {
    spiffe_core::clock::Clock::now(&SystemClock)
}

fn secure<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let header = "true".parse().unwrap();
    request.metadata_mut().insert("workload.spiffe.io", header);
    request
}

/// An entry that the processes of this user match.
fn ours(id: &str, created: u64) -> Arc<Entry> {
    let uid = nix::unistd::geteuid();
    entry(id, created, &[&format!("unix:uid:{uid}")])
}

fn theirs(id: &str) -> Arc<Entry> {
    entry(id, 1, &["unix:uid:4000000000"])
}

fn ids(svids: &[X509svid]) -> Vec<&str> {
    svids.iter().map(|svid| svid.spiffe_id.as_str()).collect()
}

// conformance: WA-5+ WA-5- WA-6+ WA-7+ WA-15+ WA-16+ WE-7+
#[tokio::test]
async fn a_workload_is_told_all_it_may_have_and_every_change() {
    let api = Api::start().await;
    let (first, second) = (ours("first", 1), ours("second", 2));
    api.give(&[second.clone(), first.clone(), theirs("other")]);
    let mut stream = api.fetch().await.unwrap();
    let told = stream.message().await.unwrap().unwrap();
    assert_eq!(
        ids(&told.svids),
        ["spiffe://td/first", "spiffe://td/second"]
    );
    for svid in &told.svids {
        let read = X509Svid::from_der(&svid.x509_svid, &svid.x509_svid_key).unwrap();
        assert_eq!(read.id().to_string(), svid.spiffe_id);
        let bundle = TrustBundle::from_der(TD, &svid.bundle).unwrap();
        assert_eq!(bundle, api.authority.bundle("td"));
    }

    // A rotation is told whole.
    api.sign(std::slice::from_ref(&first));
    let rotated = stream.message().await.unwrap().unwrap();
    assert_eq!(
        ids(&rotated.svids),
        ["spiffe://td/first", "spiffe://td/second"]
    );
    assert_ne!(rotated.svids[0], told.svids[0]);
    assert_eq!(rotated.svids[1], told.svids[1]);

    api.give(std::slice::from_ref(&second));
    let fewer = stream.message().await.unwrap().unwrap();
    assert_eq!(ids(&fewer.svids), ["spiffe://td/second"]);

    api.cache.sync_entries([], now());
    let over = stream.message().await.unwrap_err();
    assert_eq!(over.code(), Code::PermissionDenied);
    assert_eq!(over.message(), "no identity issued");
    api.stop().await;
}

// conformance: WA-21+ WA-21- WA-25+ WA-25- WE-20+ WE-20-
#[tokio::test]
async fn who_matches_nothing_is_refused() {
    let api = Api::start().await;
    api.give(&[theirs("other")]);
    let refused = api.fetch().await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(refused.message(), "no identity issued");
    let mut client = api.client().await;
    let bundles = client.fetch_x509_bundles(secure(X509BundlesRequest {}));
    assert_eq!(bundles.await.unwrap_err().code(), Code::PermissionDenied);
    api.stop().await;
}

#[tokio::test]
async fn a_workload_that_comes_before_its_identity_waits_for_it() {
    let api = Api::start().await;
    let entry = ours("e", 1);
    let fetched = api.fetch();
    let given = async {
        // The stream is there once somebody wants something signed.
        api.cache.wanted().await;
        api.cache.sync_entries([entry.clone()], now());
        let bundle = BundleSet::from(api.authority.bundle("td"));
        api.cache.sync_bundles(bundle, now());
        assert_eq!(api.cache.work(now()).entries.len(), 1);
        api.sign(std::slice::from_ref(&entry));
    };
    let (stream, ()) = tokio::join!(fetched, given);
    let told = stream.unwrap().message().await.unwrap().unwrap();
    assert_eq!(ids(&told.svids), ["spiffe://td/e"]);
    api.stop().await;
}

// conformance: WA-6+ WA-6- WA-24+ WA-24-
#[tokio::test]
async fn bundles_are_told_once_per_change() {
    let api = Api::start().await;
    let mut federated = (*ours("e", 1)).clone();
    federated.body.federates_with = [TrustDomain::from_static("far")].into();
    let federated = Arc::new(federated);
    api.give(std::slice::from_ref(&federated));
    let mut client = api.client().await;
    let bundles = client.fetch_x509_bundles(secure(X509BundlesRequest {}));
    let mut stream = bundles.await.unwrap().into_inner();
    let told = stream.message().await.unwrap().unwrap().bundles;
    assert_eq!(told.keys().collect::<Vec<_>>(), ["spiffe://td"]);

    // A rotation is no news for those who want bundles; a new bundle is.
    api.sign(&[federated]);
    let far = Authority::new().bundle("far");
    let both = api.cache.bundles().with(far.clone());
    api.cache.sync_bundles(both, now());
    let told = stream.message().await.unwrap().unwrap().bundles;
    assert_eq!(told.len(), 2);
    let read = TrustBundle::from_der(TrustDomain::from_static("far"), &told["spiffe://far"]);
    assert_eq!(read.unwrap(), far);
    api.stop().await;
}

#[tokio::test]
async fn verifiers_without_an_identity_get_our_own_bundle_where_allowed() {
    let api = Api::with(vec![("unix", Arc::new(Unix::without_programs()))], true).await;
    api.give(&[theirs("other")]);
    let bundles = api.cache.bundles().with(Authority::new().bundle("far"));
    api.cache.sync_bundles(bundles, now());
    let mut client = api.client().await;
    let bundles = client.fetch_x509_bundles(secure(X509BundlesRequest {}));
    let mut stream = bundles.await.unwrap().into_inner();
    let told = stream.message().await.unwrap().unwrap().bundles;
    assert_eq!(told.keys().collect::<Vec<_>>(), ["spiffe://td"]);
    assert_eq!(
        api.fetch().await.unwrap_err().code(),
        Code::PermissionDenied
    );
    api.stop().await;
}

#[tokio::test]
async fn attestor_error_is_unavailable() {
    let unix: Arc<dyn WorkloadAttestor> = Arc::new(Unix::without_programs());
    let broken: Arc<dyn WorkloadAttestor> = Arc::new(Broken);
    // All of them.
    let api = Api::with(vec![("broken", broken.clone())], false).await;
    api.give(&[ours("e", 1)]);
    let refused = api.fetch().await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(refused.message(), "workload attestation failed");
    api.stop().await;

    // One of them: what the others found still counts, but that nothing matches does not.
    let api = Api::with(vec![("unix", unix), ("broken", broken)], false).await;
    api.give(&[theirs("theirs")]);
    let refused = api.fetch().await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(refused.message(), "workload attestation failed");
    api.give(&[ours("ours", 1)]);
    let mut stream = api.fetch().await.unwrap();
    stream.message().await.unwrap().unwrap();

    // What was given by selectors that were found is taken back with its entry, all the same.
    api.cache.sync_entries([], now());
    let over = stream.message().await.unwrap_err();
    assert_eq!(over.code(), Code::PermissionDenied);
    api.stop().await;
}

#[tokio::test]
async fn workloads_are_told_when_the_agent_stops_and_may_come_back() {
    let api = Api::start().await;
    api.give(&[ours("e", 1)]);
    let mut stream = api.fetch().await.unwrap();
    stream.message().await.unwrap().unwrap();
    api.stop.cancel();
    let over = stream.message().await.unwrap_err();
    assert_eq!(over.code(), Code::Unavailable);
    api.stop().await;
}

/// The code and text of a call with these headers and an empty message.
async fn call(channel: &Channel, method: &str, headers: &[(&str, &str)]) -> (Code, String) {
    use http_body_util::BodyExt;
    use tower::{Service, ServiceExt};
    let mut request = http::Request::post(format!("http://localhost/SpiffeWorkloadAPI/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = http_body_util::Full::new(bytes::Bytes::from_static(&[0; 5]));
    let request = request.body(tonic::body::Body::new(body)).unwrap();
    let mut channel = channel.clone();
    let answer = channel.ready().await.unwrap().call(request).await.unwrap();
    let headers = answer.headers().clone();
    let status = match Status::from_header_map(&headers) {
        Some(status) => status,
        None => {
            let trailers = answer.into_body().collect().await.unwrap();
            Status::from_header_map(trailers.trailers().unwrap()).unwrap()
        }
    };
    (status.code(), status.message().to_owned())
}

/// All RPCs, as the API itself describes them.
fn methods() -> Vec<String> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let service = pool.get_service_by_name("SpiffeWorkloadAPI").unwrap();
    service.methods().map(|m| m.name().to_owned()).collect()
}

// conformance: WA-2+ WA-2- WE-7- WE-18+ WE-18- WE-24-
#[tokio::test]
async fn header_required_where_decided() {
    let api = Api::start().await;
    api.give(&[ours("e", 1)]);
    let channel = api.channel().await;
    let name = "workload.spiffe.io";
    assert_eq!(methods().len(), 7, "the service is not extended");
    for method in methods() {
        for headers in [
            &[][..],
            &[(name, "True")],
            &[(name, "1")],
            &[(name, "")],
            &[(name, "true"), (name, "true")],
            &[(name, "true"), (name, "false")],
        ] {
            let (code, message) = call(&channel, &method, headers).await;
            assert_eq!(code, Code::InvalidArgument, "{method} {headers:?}");
            assert_eq!(message, "security header missing from request");
        }
    }
    api.stop().await;
}

#[tokio::test]
async fn what_is_not_served_says_so() {
    let api = Api::start().await;
    api.give(&[ours("e", 1)]);
    let channel = api.channel().await;
    for method in methods() {
        if !method.contains("X509") {
            let (code, _) = call(&channel, &method, &[("workload.spiffe.io", "true")]).await;
            assert_eq!(code, Code::Unimplemented, "{method}");
        }
    }
    api.stop().await;
}

/// One HTTP/2 frame of stream `stream`.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    [&[a, b, c, kind, flags, 0, 0, 0, stream], payload].concat()
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The headers of `FetchX509SVID`, with this authority.
fn headers(authority: &str) -> Vec<u8> {
    let literal = |name: &str, value: &str| {
        let lengths = (name.len() as u8, value.len() as u8);
        [
            &[0x40, lengths.0],
            name.as_bytes(),
            &[lengths.1],
            value.as_bytes(),
        ]
        .concat()
    };
    [
        vec![0x83, 0x86],
        literal(":path", "/SpiffeWorkloadAPI/FetchX509SVID"),
        literal(":authority", authority),
        literal("content-type", "application/grpc"),
        literal("te", "trailers"),
        literal("workload.spiffe.io", "true"),
    ]
    .concat()
}

#[tokio::test]
async fn clients_that_send_the_path_as_authority_are_served() {
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    let api = Api::start().await;
    api.give(&[ours("e", 1)]);
    for authority in ["%2Ftmp%2Fapi.sock", "/tmp/api.sock", "localhost"] {
        let mut socket = UnixStream::connect(api.path()).await.unwrap();
        let request = [
            PREFACE,
            &frame(HEADERS, 4, 1, &headers(authority)),
            &frame(0, 1, 1, &[0; 5]),
        ]
        .concat();
        socket.write_all(&request).await.unwrap();
        let answer = loop {
            let mut head = [0; 9];
            socket.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            socket.read_exact(&mut payload).await.unwrap();
            if head[8] == 1 {
                break head[3];
            }
        };
        assert_ne!(answer, RST_STREAM, "{authority}");
        assert_eq!(answer, HEADERS, "{authority}");
    }
    api.stop().await;
}

/// Sends this until the other end has had enough of it.
fn flood(path: PathBuf, again: impl Fn(u32) -> Vec<u8>) -> u32 {
    let mut socket = StdStream::connect(path).unwrap();
    socket.write_all(PREFACE).unwrap();
    (0..1_000_000)
        .find(|round| socket.write_all(&again(*round)).is_err())
        .expect("the flood goes on for ever")
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_rapid_reset() {
    let api = Api::start().await;
    api.give(&[ours("e", 1)]);
    let path = api.path();
    let flooding = tokio::task::spawn_blocking(move || {
        flood(path, |round| {
            let stream = (2 * round + 1).to_be_bytes();
            let mut both = [
                frame(1, 5, 0, &headers("localhost")),
                frame(3, 0, 0, &[0, 0, 0, 8]),
            ];
            for frame in &mut both {
                frame[5..9].copy_from_slice(&stream);
            }
            both.concat()
        })
    });
    let rounds = flooding.await.unwrap();
    assert!(rounds < 10_000, "{rounds}");
    assert!(api.fetch().await.is_ok(), "others are served");
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_continuation_flood() {
    let api = Api::start().await;
    api.give(&[ours("e", 1)]);
    let path = api.path();
    let flooding = tokio::task::spawn_blocking(move || {
        flood(path, |round| match round {
            0 => frame(1, 0, 1, &[0x84]),
            _ => frame(9, 0, 1, &[]),
        })
    });
    let rounds = flooding.await.unwrap();
    assert!(rounds < 10_000, "{rounds}");
    assert!(api.fetch().await.is_ok(), "others are served");
    api.stop().await;
}

/// Fetches an SVID and the bundles, and tells the IDs.
const PYTHON: &str = "
import sys
from spiffe import TrustDomain, WorkloadApiClient
with WorkloadApiClient(socket_path='unix://' + sys.argv[1]) as client:
    svid = client.fetch_x509_svid()
    bundles = client.fetch_x509_bundles()
    bundle = bundles.get_bundle_for_trust_domain(TrustDomain('td'))
    print(svid.spiffe_id, len(bundle.x509_authorities))
";

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::disallowed_methods,
    reason = "where Python is, only the environment knows"
)]
async fn a_client_on_grpcs_c_core_is_served() {
    let Ok(python) = std::env::var("SPIFFE_TEST_PYTHON") else {
        eprintln!("LEFT OUT: a client on gRPC's C core: SPIFFE_TEST_PYTHON is not set");
        let required = std::env::var("SPIFFE_TEST_REQUIRE_ALL").is_ok_and(|value| value == "1");
        assert!(
            !required,
            "SPIFFE_TEST_REQUIRE_ALL is set: run scripts/test"
        );
        return;
    };
    let api = Api::start().await;
    api.give(&[ours("e", 1)]);
    let path = api.path();
    let run = move || {
        let mut client = std::process::Command::new(python);
        client.args(["-c", PYTHON]).arg(path).output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert_eq!(told, "spiffe://td/e 1\n", "{complaints}");
    api.stop().await;
}

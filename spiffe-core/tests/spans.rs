//! What is told of handshakes, as spans.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use spiffe_core::authorizer::{anyone, exactly};
use spiffe_core::spiffe_id;
use spiffe_core::testing::TestAuthority;
use spiffe_core::tls::{Acceptor, Connector, SourceExt};
use tokio::io::duplex;
use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry};

/// The fields of each span.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<BTreeMap<u64, Fields>>>);

#[derive(Clone, Debug, Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let value = format!("{value:?}");
        self.0
            .insert(field.name(), value.trim_matches('"').to_owned());
    }
}

impl<S: Subscriber> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        if attributes.metadata().name() != "handshake" {
            return;
        }
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        self.0.lock().unwrap().insert(id.into_u64(), fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        if let Some(fields) = self.0.lock().unwrap().get_mut(&id.into_u64()) {
            values.record(fields);
        }
    }
}

#[tokio::test]
async fn a_handshake_is_a_span_that_tells_who_came_and_how_it_ended() {
    let spans = Spans::default();
    let _here = tracing::subscriber::set_default(Registry::default().with(spans.clone()));
    let ca = TestAuthority::new("a.test");
    let ops = exactly(spiffe_id!("spiffe://a.test/ops"));
    let (client, stranger) = (ca.source("/c"), TestAuthority::new("b.test").source("/c"));
    let shake = async |acceptor: &Acceptor, connector: &Connector| {
        let (ours, theirs) = duplex(64 * 1024);
        let _ = tokio::join!(acceptor.accept(ours), connector.connect(theirs));
    };
    let open = ca.source("/s").server(anyone()).acceptor();
    let picky = ca.source("/s").server(ops).acceptor();
    let known = client.client(anyone()).connector();
    let unknown = stranger.client(anyone()).connector();
    shake(&open, &known).await;
    shake(&picky, &known).await;
    shake(&open, &unknown).await;

    let spans = spans.0.lock().unwrap();
    let tell = |fields: &Fields| {
        let of = |name: &str| fields.0.get(name).map_or("-", String::as_str).to_owned();
        format!(
            "{}: {} {} peer {} resumed {}",
            of("side"),
            of("outcome"),
            of("reason"),
            of("peer"),
            of("resumed")
        )
    };
    let mut told: Vec<_> = spans.values().map(tell).collect();
    let mut expected = [
        "server: ok - peer spiffe://a.test/c resumed false",
        "client: ok - peer spiffe://a.test/s resumed false",
        "server: refused denied peer spiffe://a.test/c resumed false",
        "client: ok - peer spiffe://a.test/s resumed false",
        "server: failed tls peer - resumed false",
        "client: refused unknown_trust_domain peer - resumed false",
    ];
    told.sort_unstable();
    expected.sort_unstable();
    assert_eq!(told, expected);
}

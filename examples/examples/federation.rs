//! Federation between two trust domains: a shop and a bank publish their bundles, each fetches that
//! of the other, and a till of the shop calls the ledger of the bank, until the bank ends it.
//!
//! `cargo run --example federation` runs both in this process, with authorities made for it.
//!
//! `cargo run --example federation -- TRUST_DOMAIN URL` tells what a bundle endpoint with a certificate
//! of the web publishes; `-- TRUST_DOMAIN URL SPIFFE_ID BUNDLE` does so for one with an SVID, which is
//! believed by the SPIFFE bundle document in the file `BUNDLE`.
#![expect(clippy::print_stdout, reason = "an example tells what happens")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::{env, fs, future};

use spiffe_core::authorizer::exactly;
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::TestAuthority;
use spiffe_core::tls::PeerStream;
use spiffe_core::{
    BundleSet, IdentitySnapshot, SourceExt, SpiffeId, TrustBundle, TrustDomain, spiffe_id,
    with_causes,
};
use spiffe_examples::Failed;
use spiffe_hyper::federation::{
    BundleClient, BundleEndpoint, BundleServer, EndpointTls, EndpointUrl, FederatedSource,
    Relationship,
};
use spiffe_hyper::{Connector, Listener};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

type Outcome<T> = Result<T, Failed>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    tracing_subscriber::fmt().without_time().init();
    let arguments: Vec<_> = env::args().skip(1).collect();
    match &arguments[..] {
        [] => two_worlds().await,
        [domain, url] => tell(Relationship::https_web(domain.parse()?, url.parse()?)).await,
        [domain, url, id, bundle] => {
            let domain: TrustDomain = domain.parse()?;
            let first = TrustBundle::from_document(domain.clone(), &fs::read(bundle)?)?.value;
            let partner = Relationship::https_spiffe(domain, url.parse()?, id.parse()?);
            tell(partner.bootstrap(first)?).await
        }
        _ => Err("arguments: [TRUST_DOMAIN URL [SPIFFE_ID BUNDLE]]".into()),
    }
}

/// Fetches once and tells what came.
async fn tell(partner: Relationship) -> Outcome<()> {
    let fetched = BundleClient::new()
        .fetch(&partner, None, &BundleSet::default())
        .await?;
    println!("{}", fetched.held.bundle().to_document()?);
    Ok(())
}

async fn two_worlds() -> Outcome<()> {
    let (shop, bank) = (
        TestAuthority::new("shop.example"),
        TestAuthority::new("bank.example"),
    );
    // Each publishes its bundle, and proves by an SVID that it is the one who may.
    let mut servers = JoinSet::new();
    let (shop_bundles, bank_bundles) = (shop.source("/bundles"), bank.source("/bundles"));
    let shop_url = publish(&mut servers, &shop_bundles, SHOP).await?;
    let bank_url = publish(&mut servers, &bank_bundles, BANK).await?;

    // Each federates with the other, whose first bundle it has by a way that it trusts. In earnest the
    // two are programs with an `X509Source::connect().await?` each.
    let with_bank = Relationship::https_spiffe(BANK, bank_url, BANK_BUNDLES);
    let till = FederatedSource::builder(shop.source("/till"))
        .relationship(with_bank.bootstrap(bank.bundle())?)
        .start()?;
    let with_shop = Relationship::https_spiffe(SHOP, shop_url, SHOP_BUNDLES);
    let ledger_identity = bank.source("/ledger");
    let ledger = FederatedSource::builder(ledger_identity.clone())
        .relationship(with_shop.bootstrap(shop.bundle())?)
        .start()?;
    till.refresh(&BANK).await?;
    ledger.refresh(&SHOP).await?;

    let mut listener = Listener::bind("127.0.0.1:0", ledger.server(exactly(TILL))).await?;
    let client = Connector::new(till.client(exactly(LEDGER)));
    call(&client, &mut listener).await?;

    println!("the bank publishes a new authority, and uses it once all have asked");
    let next = TestAuthority::new("bank.example");
    let both = [bank.bundle(), next.bundle()].map(|bundle| bundle.x509_authorities().to_vec());
    let both = TrustBundle::new(BANK, both.concat());
    let show = |svid| IdentitySnapshot::new(vec![svid], both.clone().into());
    bank_bundles.publish(show(bank.svid("/bundles")));
    till.refresh(&BANK).await?;
    ledger_identity.publish(show(next.svid("/ledger")));
    let open = call(&client, &mut listener).await?;

    println!("the bank ends the relationship");
    ledger.end(&SHOP).await?;
    let ended = open.proof_ended().await;
    println!("  the open connection: {}", with_causes(&ended));
    // Whoever is turned away comes out of no listener.
    let address = listener.local_addr();
    tokio::select! {
        came = listener.accept() => Err(format!("{} came in", came?.peer().id()).into()),
        turned_away = knock(&client, address) => {
            println!("  a new one: {}", turned_away?);
            Ok(())
        }
    }
}

/// Serves the newest bundle of `source` from now on, and tells where.
async fn publish(
    servers: &mut JoinSet<()>,
    source: &Arc<SnapshotCell>,
    domain: TrustDomain,
) -> Outcome<EndpointUrl> {
    let tls = EndpointTls::https_spiffe(source.clone());
    let server = BundleServer::bind("127.0.0.1:0", tls).await?;
    let address = server.local_addr().ok_or("no address")?;
    let url = format!("https://{address}/").parse()?;
    let endpoint = BundleEndpoint::new(&url, source.clone(), domain);
    servers.spawn(server.serve(endpoint, future::pending()));
    Ok(url)
}

/// One call, as the ledger sees it.
async fn call(client: &Connector, listener: &mut Listener) -> Outcome<PeerStream<TcpStream>> {
    let address = listener.local_addr().ok_or("no address")?.to_string();
    let (came, called) = tokio::join!(listener.accept(), client.connect(&address));
    let (came, called) = (came?, called?);
    println!("  {} calls {}", came.peer().id(), called.peer().id());
    Ok(came)
}

/// A call of which nothing should come: tells how it ended.
async fn knock(client: &Connector, address: Option<SocketAddr>) -> Outcome<String> {
    let address = address.ok_or("no address")?.to_string();
    let mut stream = client.connect(&address).await?;
    // A client hears of it when it reads.
    match stream.read(&mut [0; 1]).await {
        Ok(_) => Err("nobody turned us away".into()),
        Err(error) => Ok(with_causes(&error)),
    }
}

const SHOP: TrustDomain = TrustDomain::from_static("shop.example");
const SHOP_BUNDLES: SpiffeId = spiffe_id!("spiffe://shop.example/bundles");
const TILL: SpiffeId = spiffe_id!("spiffe://shop.example/till");
const BANK: TrustDomain = TrustDomain::from_static("bank.example");
const BANK_BUNDLES: SpiffeId = spiffe_id!("spiffe://bank.example/bundles");
const LEDGER: SpiffeId = spiffe_id!("spiffe://bank.example/ledger");

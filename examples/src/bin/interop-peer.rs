//! Our SDK as a peer of the SDKs of others: what `interop/README.md` asks of each, on public API alone.
#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]
#![expect(clippy::print_stderr, reason = "what went wrong is told apart")]

use std::{collections::HashSet, fs, future, io, sync::Arc, time::Duration};

use spiffe_core::{
    IdentitySource, JwtSource, Peer, SourceExt, SpiffeId, TrustBundle, TrustDomain, X509Source,
    authorizer::exactly,
    clock::{Clock, SystemClock},
    delegated::{DelegatedIdentityClient, Workload},
    tls::{Acceptor, Connector},
    verify::{self, JwtRules},
    with_causes,
    workload_api::Endpoint,
    x509::Certificate,
};
use spiffe_examples::Failed;
use spiffe_hyper::federation::{
    BundleEndpoint, BundleServer, EndpointTls, FederatedSource, Relationship,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

const USAGE: &str = "usage: interop-peer (who | serve ADDRESS CLIENT-ID | call ADDRESS SERVER-ID RENEWALS \
                     | jwt-mint AUDIENCE | jwt-check AUDIENCE TOKEN \
                     | federate ADDRESS TRUST-DOMAIN URL ENDPOINT-ID BUNDLE \
                     | delegated ADMIN-SOCKET AUDIENCE (pid:NUMBER | SELECTOR...))";
const PACE: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(20);
const HELLO: &[u8] = b"hello\n";

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["who"] => {
            let snapshot = X509Source::connect().await?.snapshot();
            let svid = snapshot.svid().ok_or("the identity was withdrawn")?;
            println!("{}", svid.id());
            Ok(())
        }
        ["serve", address, client] => serve(address, client.parse()?).await,
        ["call", address, server, renewals] => {
            call(address, server.parse()?, renewals.parse()?).await
        }
        ["jwt-mint", audience] => {
            let source = JwtSource::connect().await?;
            println!("{}", source.svid([*audience]).await?.token());
            Ok(())
        }
        ["jwt-check", audience, token] => {
            let source = JwtSource::connect().await?;
            println!("{}", source.verify(token, &[audience])?.id());
            Ok(())
        }
        ["federate", address, domain, url, id, bundle] => {
            let domain: TrustDomain = domain.parse()?;
            let first = TrustBundle::from_document(domain.clone(), &fs::read(bundle)?)?.value;
            let partner = Relationship::https_spiffe(domain, url.parse()?, id.parse()?);
            federate(address, partner.bootstrap(first)?).await
        }
        ["delegated", socket, audience, of @ ..] => {
            let admin = DelegatedIdentityClient::new(Endpoint::unix(*socket)?);
            speak_for(&admin, audience, &workload(of)?).await
        }
        _ => Err(USAGE.into()),
    }
}

fn workload(named: &[&str]) -> Result<Workload, Failed> {
    if let [process] = named
        && let Some(pid) = process.strip_prefix("pid:")
    {
        return Ok(Workload::process(pid.parse()?)?);
    }
    let selectors: Result<Vec<_>, _> = named.iter().map(|text| text.parse()).collect();
    Ok(Workload::selectors(selectors?)?)
}

/// Tells whom the workload is, once its certificate was renewed and its tokens proved to be good.
async fn speak_for(
    admin: &DelegatedIdentityClient,
    audience: &str,
    of: &Workload,
) -> Result<(), Failed> {
    // The agent may have to hear of the entries first.
    let waiting = admin.x509_source(of.clone()).initial_timeout(PATIENCE);
    let source = waiting.connect().await?;
    let mut changes = source.subscribe();
    let first = source.snapshot();
    let first = first.svid().ok_or("the identity was withdrawn")?;
    let domain = first.id().trust_domain();
    loop {
        let snapshot = source.snapshot();
        let known = admin.fetch_x509_bundles().await?;
        if known.get(&domain) == snapshot.bundles().get(&domain) {
            break;
        }
        // The authorities may have been renewed between the two: then the source hears of it.
        let heard = timeout(PATIENCE, changes.changed()).await;
        heard.map_err(|_| "the bundle is another one than that of the trust domain")??;
    }
    let keys = admin.fetch_jwt_bundles().await?;
    for token in admin.fetch_jwt_svids(of, [audience]).await? {
        let now = SystemClock.now();
        let rules = JwtRules::default();
        let proven = verify::jwt(token.token(), &keys, &[audience], now, &rules)?;
        println!("a token of {}", proven.id());
    }
    loop {
        let snapshot = source.snapshot();
        let svid = snapshot.svid().ok_or("the identity was withdrawn")?;
        if svid.leaf() != first.leaf() {
            println!("{}", svid.id());
            return Ok(());
        }
        changes.changed().await?;
    }
}

/// Publishes our bundle, and fetches that of a partner again and again; tells how many X.509
/// authorities the partner has, whenever that changes.
async fn federate(address: &str, partner: Relationship) -> Result<(), Failed> {
    let source = X509Source::connect().await?;
    let snapshot = source.snapshot();
    let svid = snapshot.svid().ok_or("the identity was withdrawn")?;
    let url = format!("https://{address}/").parse()?;
    let endpoint = BundleEndpoint::new(&url, source.clone(), svid.id().trust_domain());
    let tls = EndpointTls::https_spiffe(source.clone());
    let server = BundleServer::bind(address, tls).await?;
    println!("listening");
    let domain = partner.trust_domain().clone();
    let federated = FederatedSource::builder(source)
        .relationship(partner)
        .start()?;
    let fetching = async {
        let mut last = 0;
        loop {
            federated.refresh(&domain).await?;
            let snapshot = federated.snapshot();
            let bundle = snapshot.bundles().get(&domain);
            let count = bundle.map_or(0, |bundle| bundle.x509_authorities().len());
            if count != last {
                println!("{domain} has {count}");
            }
            last = count;
            sleep(PACE).await;
        }
    };
    tokio::select! {
        () = server.serve(endpoint, future::pending()) => Err("the endpoint ended".into()),
        failed = fetching => failed,
    }
}

async fn serve(address: &str, client: SpiffeId) -> Result<(), Failed> {
    let source = X509Source::connect().await?;
    let acceptor = Arc::new(source.server(exactly(client)).acceptor());
    let listener = TcpListener::bind(address).await?;
    println!("listening");
    let mut answers = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let acceptor = Arc::clone(&acceptor);
                match accepted {
                    Ok((tcp, _)) => _ = answers.spawn(async move { answer(&acceptor, tcp).await }),
                    Err(why) => {
                        eprintln!("cannot accept: {why}");
                        sleep(PACE).await;
                    }
                }
            }
            Some(answered) = answers.join_next() => {
                if let Ok(Err(why)) = answered {
                    eprintln!("refused: {}", with_causes(&why));
                }
            }
        }
    }
}

async fn answer(acceptor: &Acceptor, tcp: TcpStream) -> io::Result<()> {
    let mut stream = acceptor.accept(tcp).await.map_err(io::Error::other)?;
    let mut said = [0; HELLO.len()];
    stream.read_exact(&mut said).await?;
    let line = format!("{} {}\n", stream.peer().id(), serial(stream.peer())?);
    stream.write_all(line.as_bytes()).await?;
    stream.shutdown().await
}

/// One connection after the other, each with a handshake of its own.
async fn call(address: &str, server: SpiffeId, renewals: usize) -> Result<(), Failed> {
    let source = X509Source::connect().await?;
    let connector = source.client(exactly(server)).connector();
    let (mut calls, mut theirs, mut ours) = (0, HashSet::new(), HashSet::new());
    loop {
        let (seen, told) = ask(&connector, address).await?;
        calls += 1;
        theirs.insert(seen);
        ours.insert(told);
        if theirs.len().min(ours.len()) > renewals {
            break;
        }
        sleep(PACE).await;
    }
    let renewed = |serials: HashSet<String>| serials.len() - 1;
    let (theirs, ours) = (renewed(theirs), renewed(ours));
    println!("{calls} calls, {theirs} renewals of theirs, {ours} of ours");
    Ok(())
}

/// What the server's certificate says, and what it says of ours.
async fn ask(connector: &Connector, address: &str) -> Result<(String, String), Failed> {
    let mut stream = connector
        .connect(TcpStream::connect(address).await?)
        .await?;
    stream.write_all(HELLO).await?;
    stream.flush().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let told = answer.trim_end();
    if told.is_empty() {
        return Err("the server said nothing".into());
    }
    Ok((serial(stream.peer())?, told.to_owned()))
}

fn serial(peer: &Peer) -> io::Result<String> {
    let leaf = peer
        .certificates()
        .first()
        .ok_or(io::ErrorKind::InvalidData)?;
    let leaf = Certificate::from_der(leaf).map_err(io::Error::other)?;
    Ok(leaf
        .serial()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

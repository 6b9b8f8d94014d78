//! What is done again and again with identities: read one, look up one's own, prove a peer's.
#![expect(clippy::unwrap_used, reason = "a failure ends the measurement")]

use std::hint::black_box;

use criterion::Criterion;
use spiffe_benches::{Authority, Signer};
use spiffe_core::{
    BundleSet, IdentitySource, SpiffeId,
    clock::{Clock, SystemClock},
    verify::{Role, x509_peer},
};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    parse(&mut criterion);
    look_up(&mut criterion);
    verify(&mut criterion);
    criterion.final_summary();
}

fn parse(criterion: &mut Criterion) {
    let text = "spiffe://prod.example.org/ns/payments/sa/ledger";
    criterion.bench_function("id/parse", |b| {
        b.iter(|| black_box(text).parse::<SpiffeId>().unwrap());
    });
}

fn look_up(criterion: &mut Criterion) {
    let source = Authority::default().source("/web");
    criterion.bench_function("snapshot/load", |b| {
        b.iter(|| black_box(&source).snapshot().generation());
    });
}

fn verify(criterion: &mut Criterion) {
    let authority = Authority::default();
    let bundles = BundleSet::from(authority.bundle());
    let now = SystemClock.now();
    let mut group = criterion.benchmark_group("verify");
    for (name, signer) in [
        ("leaf and root", Signer::Root),
        ("leaf, intermediate and root", Signer::Intermediate),
        // The null: any difference to the first is noise.
        ("leaf and root, once more", Signer::Root),
    ] {
        let svid = authority.svid("/web", signer);
        let chain: Vec<_> = svid.chain().iter().map(|c| c.der().clone()).collect();
        group.bench_function(name, |b| {
            b.iter(|| x509_peer(black_box(&chain), &bundles, Role::Client, now).unwrap());
        });
    }
    group.finish();
}

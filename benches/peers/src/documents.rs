//! Names, SVIDs and tokens: reading and judging them.

use std::hint::black_box;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use spiffe_benches::{Authority, Signer};
use spiffe_core::{
    BundleSet, SpiffeId, X509Svid,
    clock::{Clock, SystemClock},
    testing::TestAuthority,
    verify::{JwtRules, jwt},
};

use crate::harness::{Subject, compare};

const ID: &str = "spiffe://prod.example.org/ns/payments/sa/ledger-1";
const AUDIENCE: &str = "ledger";

pub(crate) fn measure() {
    compare(
        "SPIFFE ID of 50 bytes, read (must: 60 ns)",
        vec![
            Subject::new("spiffe-core", || {
                black_box(black_box(ID).parse::<SpiffeId>().unwrap());
            }),
            Subject::new("spiffe 0.19", || {
                black_box(spiffe::SpiffeId::new(black_box(ID)).unwrap());
            }),
        ],
    );
    svids();
    tokens();
}

fn svids() {
    let svid = Authority::default().svid("/web", Signer::Root);
    let (chain, key) = (svid.chain_der(), svid.key().pkcs8_der().to_vec());
    compare(
        "X.509-SVID of DER, key and certificate compared (must: 8 us)",
        vec![
            Subject::new("spiffe-core", || {
                black_box(X509Svid::from_der(black_box(&chain), &key).unwrap());
            }),
            Subject::new("spiffe 0.19 (does not compare)", || {
                black_box(spiffe::X509Svid::parse_from_der(black_box(&chain), &key).unwrap());
            }),
        ],
    );
}

/// Reads an SVID so many times.
pub(crate) fn repeat(times: u32) {
    let svid = Authority::default().svid("/web", Signer::Root);
    let (chain, key) = (svid.chain_der(), svid.key().pkcs8_der().to_vec());
    for _ in 0..times {
        black_box(X509Svid::from_der(black_box(&chain), &key).unwrap());
    }
}

fn tokens() {
    let authority = TestAuthority::new("bench.test");
    let svid = authority.jwt_svid("/web", &[AUDIENCE]);
    let token = svid.token();
    let bundles = BundleSet::from(authority.bundle());
    let jwks = authority.bundle().to_jwt_jwks().unwrap();
    let trust_domain = spiffe::TrustDomain::new("bench.test").unwrap();
    let theirs = spiffe::JwtBundle::from_jwt_authorities(trust_domain, jwks.as_bytes()).unwrap();
    let mut their_bundles = spiffe::JwtBundleSet::new();
    their_bundles.add_bundle(theirs);
    let rules = JwtRules::default();
    let now = SystemClock.now();
    jwt(token, &bundles, &[AUDIENCE], now, &rules).unwrap();

    // The signature alone, with a key that was made for it: what no reader can do without.
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    let point = point(&jwks);
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    compare(
        "JWT-SVID with ES256, verified (must: 70 us)",
        vec![
            Subject::new("spiffe-core", || {
                black_box(jwt(black_box(token), &bundles, &[AUDIENCE], now, &rules).unwrap());
            }),
            Subject::new("spiffe 0.19, aws-lc", || {
                let svid = spiffe::JwtSvid::parse_and_validate(token, &their_bundles, &[AUDIENCE]);
                black_box(svid.unwrap());
            }),
            Subject::new("aws-lc, the signature alone", || {
                key.verify(black_box(signed.as_bytes()), &signature)
                    .unwrap();
            }),
        ],
    );
}

/// The public key of a JWK Set that has one.
fn point(jwks: &str) -> Vec<u8> {
    let coordinate = |name: &str| {
        let (_, rest) = jwks.split_once(&format!("\"{name}\":\"")).unwrap();
        let (value, _) = rest.split_once('"').unwrap();
        BASE64_URL_SAFE_NO_PAD.decode(value).unwrap()
    };
    [vec![4], coordinate("x"), coordinate("y")].concat()
}

//! What requests ask for, and what of it they get.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyUsagePurpose, SanType};
use spiffe_core::x509::PublicKey;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::*;
use crate::domain::{Fault, Kind};
use crate::server::ca::csr::{self, MintRequest};

/// A request that asks for these names, and its key.
fn request(names: Vec<SanType>, is_ca: IsCa) -> (Vec<u8>, PublicKey) {
    let (key, pair) = key(KeyKind::EcP256);
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names = names;
    params.is_ca = is_ca;
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
        .distinguished_name
        .push(DnType::CommonName, "spiffe://td/spire/server");
    let request = params.serialize_request(&pair).unwrap();
    (request.der().to_vec(), key.public_key().clone())
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

/// All alternative names of a certificate.
fn names(certificate: &Certificate) -> Vec<GeneralName> {
    let parsed = parsed(certificate);
    let found = parsed.tbs_certificate().get_extension::<SubjectAltName>();
    found.unwrap().unwrap().1.0
}

#[tokio::test]
async fn csr_san_is_ignored() {
    let authority = authority(KeyKind::EcP256, CaSubject::default(), HOUR * 24).await;
    let entry = entry("/workload", &["mine.test"]);
    let (_, plain_key) = request(Vec::new(), IsCa::NoCa);
    let plain = Leaf::workload(&entry, plain_key, HOUR);
    let plain = authority.sign(&plain, now()).unwrap().remove(0);
    let server = "spiffe://td/spire/server";
    for (asked, is_ca) in [
        (vec![uri(server)], IsCa::NoCa),
        (vec![uri("spiffe://td/another")], IsCa::NoCa),
        (vec![uri("spiffe://td/workload"), uri(server)], IsCa::NoCa),
        (vec![uri("spiffe://elsewhere/workload")], IsCa::NoCa),
        (vec![dns("theirs.test"), dns("*.test")], IsCa::NoCa),
        (
            vec![uri(server), dns("theirs.test")],
            IsCa::Ca(BasicConstraints::Unconstrained),
        ),
    ] {
        let (request, key) = request(asked, is_ca);
        for taken in [csr::public_key(&request), csr::proven_public_key(&request)] {
            let taken = taken.unwrap();
            assert_eq!(taken, key);
            let leaf = Leaf::workload(&entry, taken, HOUR);
            let leaf = authority.sign(&leaf, now()).unwrap().remove(0);
            assert_eq!(leaf.leaf_id().unwrap(), entry.body.spiffe_id);
            assert_eq!(leaf.public_key(), &key);
            assert_eq!(leaf.subject_der(), plain.subject_der());
            assert_eq!(names(&leaf), names(&plain));
            assert!(!leaf.is_ca());
            assert_eq!(leaf.not_after(), plain.not_after());
        }
    }
}

#[tokio::test]
async fn csr_san_is_ignored_whatever_is_asked_for() {
    let authority = authority(KeyKind::EcP256, CaSubject::default(), HOUR * 24).await;
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..64 {
        let asked = (0..random.usize(..6)).map(|_| {
            let text: String = std::iter::repeat_with(|| random.alphanumeric())
                .take(12)
                .collect();
            match random.u8(..4) {
                0 => dns(&text),
                1 => SanType::Rfc822Name(format!("{text}@td").try_into().unwrap()),
                2 => SanType::IpAddress(std::net::Ipv4Addr::from(random.u32(..)).into()),
                _ => uri(&format!("spiffe://td/{text}")),
            }
        });
        let asked = asked.collect();
        let (request, _) = request(asked, IsCa::NoCa);
        let entry = entry("/workload", &[]);
        let key = csr::proven_public_key(&request).unwrap();
        let leaf = Leaf::workload(&entry, key, HOUR);
        let leaf = authority.sign(&leaf, now()).unwrap().remove(0);
        let [GeneralName::UniformResourceIdentifier(name)] = &names(&leaf)[..] else {
            panic!("{:?}", names(&leaf));
        };
        assert_eq!(name.as_str(), "spiffe://td/workload");
    }
}

#[test]
fn a_request_proves_the_key_with_every_kind_that_agents_have() {
    for kind in [KeyKind::EcP256, KeyKind::EcP384, KeyKind::Rsa2048] {
        let (key, pair) = key(kind);
        let params = CertificateParams::new(Vec::new()).unwrap();
        let request = params.serialize_request(&pair).unwrap();
        let taken = csr::proven_public_key(request.der()).unwrap();
        assert_eq!(&taken, key.public_key(), "{kind:?}");
    }
}

#[test]
fn a_request_with_any_bit_turned_proves_nothing() {
    let (request, _) = request(vec![uri("spiffe://td/a"), dns("a.test")], IsCa::NoCa);
    for at in 0..request.len() {
        for bit in 0..8 {
            let mut turned = request.clone();
            turned[at] ^= 1 << bit;
            let refused = csr::proven_public_key(&turned);
            assert!(refused.is_err(), "byte {at} bit {bit}");
            // Nor does it trouble those who only want the key, or the names.
            let _ = csr::public_key(&turned);
            assert!(MintRequest::from_der(&turned).is_err());
        }
        assert!(csr::proven_public_key(&request[..at]).is_err());
    }
}

#[test]
fn refusals_are_told_in_spires_words() {
    let (request, _) = request(Vec::new(), IsCa::NoCa);
    let mut forged = request.clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let mut longer = request.clone();
    longer.push(0);
    for (bytes, told) in [
        (&b""[..], "malformed CSR: "),
        (b"no request", "malformed CSR: "),
        (&longer, "malformed CSR: "),
        (&[0x30; 20_000], "malformed CSR: "),
        (&forged, "invalid CSR signature: "),
    ] {
        let refused = csr::proven_public_key(bytes).unwrap_err();
        assert!(refused.to_string().starts_with(told), "{refused}");
        assert_eq!(refused.kind(), Kind::Invalid);
    }
}

#[tokio::test]
async fn minting_takes_the_names_that_an_administrator_asks_for() {
    let (request, key) = request(
        vec![dns("b.test"), uri("spiffe://td/w"), dns("a.test")],
        IsCa::NoCa,
    );
    let asked = MintRequest::from_der(&request).unwrap();
    assert_eq!(asked.public_key, key);
    assert_eq!(asked.uri_names, ["spiffe://td/w"]);
    assert_eq!(asked.dns_names, ["b.test", "a.test"]);
    let authority = authority(KeyKind::EcP256, CaSubject::default(), HOUR * 24).await;
    let leaf = Leaf::minted("spiffe://td/w".parse().unwrap(), asked, HOUR);
    let leaf = authority.sign(&leaf, now()).unwrap().remove(0);
    let subject = parsed(&leaf).tbs_certificate().subject().to_string();
    assert_eq!(
        subject, "CN=b.test",
        "the first DNS name is the common name"
    );
    assert_eq!(names(&leaf).len(), 3);
}

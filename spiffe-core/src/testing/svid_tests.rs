//! Each flaw is the one that was asked for, and there is no other beside it.

use super::{AuthorityDraft, SvidDraft, TestAuthority};
use crate::bundle::BundleSet;
use crate::verify::{Role, VerifyError, x509_peer};
use crate::x509::X509Error;

fn judge(authority: &TestAuthority, draft: SvidDraft<'_>) -> Result<String, VerifyError> {
    let bundles = BundleSet::from(authority.bundle());
    let chain: Vec<_> = draft
        .chain_and_key()
        .0
        .iter()
        .map(|c| c.der().clone())
        .collect();
    let peer = x509_peer(&chain, &bundles, Role::Client, authority.now)?;
    Ok(peer.id().to_string())
}

#[test]
fn what_it_issues_is_believed_by_its_bundle_only() {
    let (authority, other) = (TestAuthority::new("a.test"), TestAuthority::new("a.test"));
    let web = || authority.draft("/web");
    let id = "spiffe://a.test/web".to_owned();
    assert_eq!(judge(&authority, web()), Ok(id.clone()));
    assert!(judge(&other, web()).is_err());
    for harmless in [
        web().also_dns("web.a.test"),
        web().without_purpose(),
        web().only_for(Role::Client),
    ] {
        assert_eq!(judge(&authority, harmless), Ok(id.clone()));
    }
}

// conformance: X509-1- X509-3- X509-13- X509-16- X509-17- X509-20- X509-21- X509-22- X509-23- X509-24- X509-25-
#[test]
fn flaws_of_a_leaf_are_the_ones_asked_for() {
    let authority = TestAuthority::new("a.test");
    let td = || authority.trust_domain().clone();
    let web = || authority.draft("/web");
    for (draft, why) in [
        (web().expired(), VerifyError::Expired),
        (web().not_yet_valid(), VerifyError::NotYetValid),
        (
            web().also_named("/b"),
            X509Error::UriNames { count: 2 }.into(),
        ),
        (
            web().without_name(),
            X509Error::UriNames { count: 0 }.into(),
        ),
        (web().named("spiffe://a.test"), X509Error::RootPath.into()),
        (
            web().named("https://a.test/web"),
            X509Error::Id(crate::IdError::Scheme).into(),
        ),
        (
            web().named("spiffe://b.test/web"),
            VerifyError::UnknownTrustDomain("b.test".parse().unwrap()),
        ),
        (web().as_authority(), X509Error::CaLeaf.into()),
        (web().with_cert_sign(), X509Error::SigningLeaf.into()),
        (web().with_crl_sign(), X509Error::SigningLeaf.into()),
        (
            web().without_key_usage(),
            X509Error::NoDigitalSignature.into(),
        ),
        (
            web().without_digital_signature(),
            X509Error::NoDigitalSignature.into(),
        ),
        (
            web().only_for(Role::Server),
            VerifyError::KeyPurpose { role: Role::Client },
        ),
        (
            web().signed_by_stranger(),
            VerifyError::UnknownAuthority(td()),
        ),
        (web().tampered(), VerifyError::UnknownAuthority(td())),
        (
            web().with_unknown_extension(),
            VerifyError::Chain(webpki::Error::UnsupportedCriticalExtension),
        ),
    ] {
        assert_eq!(judge(&authority, draft), Err(why));
    }
    let (chain, key) = web().with_foreign_key().chain_and_key();
    assert_ne!(chain[0].public_key(), key.public_key());
}

// conformance: X509-12+ X509-12- X509-20+ X509-20-
#[test]
fn flaws_of_an_authority_are_the_ones_asked_for() {
    let judged = |draft: AuthorityDraft<'_>| {
        let authority = draft.authority();
        judge(&authority, authority.draft("/web")).map(|_| ())
    };
    let root = || TestAuthority::root("a.test");
    let td = || "a.test".parse().unwrap();
    for (draft, verdict) in [
        (root(), Ok(())),
        (root().without_name(), Ok(())),
        (root().constrained_to("a.test"), Ok(())),
        (
            root().constrained_to("b.test"),
            Err(VerifyError::NameConstraints),
        ),
        (root().expired(), Err(VerifyError::NoAuthority(td()))),
        (
            root().without_cert_sign(),
            Err(VerifyError::NoAuthority(td())),
        ),
    ] {
        assert_eq!(judged(draft), verdict);
    }

    let above = TestAuthority::new("a.test");
    let below = || above.intermediate();
    for (draft, verdict) in [
        (below(), Ok(())),
        (below().named("spiffe://a.test/ca"), Ok(())),
        (below().expired(), Err(VerifyError::Expired)),
        (
            below().without_cert_sign(),
            Err(VerifyError::UnknownAuthority(td())),
        ),
    ] {
        assert_eq!(judged(draft), verdict);
    }
    let lowest = above.intermediate().authority();
    let lowest = lowest.intermediate().authority();
    assert_eq!(lowest.svid("/web").chain().len(), 3);
    assert!(judge(&above, lowest.draft("/web")).is_ok());
}

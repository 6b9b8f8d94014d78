//! The forms of vectors that are known, each with what judges its cases.

use std::time::SystemTime;

use serde_json::Value;
use spiffe_core::{
    BundleSet, SpiffeId, TrustBundle, TrustDomain,
    bundle::Loaded,
    verify::{JwtRules, Role, jwt, wit, x509_peer},
    x509::{Certificate, X509Error},
};

use crate::{
    file::{Case, File, FileError, counted, decoded},
    verdict::Verdict,
};

/// A kind of file, known by its name.
pub(crate) struct Form {
    pub(crate) file: &'static str,
    /// Makes what judges the cases of this file, as of this moment.
    pub(crate) open: fn(&File, SystemTime) -> Result<Judge, FileError>,
}

type Judge = Box<dyn Fn(&Case<'_>) -> Result<Verdict, FileError>>;

pub(crate) const FORMS: &[Form] = &[
    Form {
        file: "spiffeid.json",
        open: |_, _| Ok(Box::new(judge_id)),
    },
    Form {
        file: "trustdomain.json",
        open: |_, _| Ok(Box::new(judge_trust_domain)),
    },
    Form {
        file: "x509svid.json",
        open: x509_svids,
    },
    Form {
        file: "jwtsvid.json",
        open: jwt_svids,
    },
    Form {
        file: "witsvid.json",
        open: wit_svids,
    },
    Form {
        file: "spiffebundle.json",
        open: |_, _| Ok(Box::new(judge_bundle)),
    },
];

fn judge_id(case: &Case<'_>) -> Result<Verdict, FileError> {
    Ok(Verdict::of(case.text("input")?.parse::<SpiffeId>()))
}

fn judge_trust_domain(case: &Case<'_>) -> Result<Verdict, FileError> {
    let input = case.text("input")?;
    Ok(Verdict::of(TrustDomain::from_id_or_name(input)))
}

/// A chain is good if it is good for a client and for a server.
fn x509_svids(file: &File, now: SystemTime) -> Result<Judge, FileError> {
    let bundles = bundles(file, "bundles_der_b64", x509_bundle)?;
    Ok(Box::new(move |case| {
        let chain = case.bytes("chain_der_b64")?;
        let chain: Vec<_> = chain.into_iter().map(Into::into).collect();
        let judge = |role| x509_peer(&chain, &bundles, role, now);
        let judged = judge(Role::Client).and_then(|_| judge(Role::Server));
        Ok(Verdict::of(judged.map(|peer| peer.id().clone())))
    }))
}

fn jwt_svids(file: &File, now: SystemTime) -> Result<Judge, FileError> {
    let bundles = bundles(file, "bundles", |trust_domain, keys| {
        TrustBundle::from_jwt_jwks(trust_domain, keys.to_string().as_bytes()).map(kept)
    })?;
    Ok(Box::new(move |case| {
        let (token, audience) = (case.text("token")?, case.text("audience")?);
        let judged = jwt(token, &bundles, &[audience], now, &JwtRules::default());
        Ok(Verdict::of(judged.map(|token| token.id().clone())))
    }))
}

/// Whom a token is about is told only to who has seen the proof as well, and there is none here: the
/// vectors are tokens alone.
fn wit_svids(file: &File, now: SystemTime) -> Result<Judge, FileError> {
    let bundles = bundles(file, "bundles", |trust_domain, keys| {
        TrustBundle::from_wit_jwks(trust_domain, keys.to_string().as_bytes()).map(kept)
    })?;
    Ok(Box::new(move |case| {
        let judged = wit(case.text("token")?, &bundles, now, &JwtRules::default());
        Ok(match judged {
            Ok(_) => Verdict::Accept(None),
            refused => Verdict::of(refused.map(|_| "")),
        })
    }))
}

fn judge_bundle(case: &Case<'_>) -> Result<Verdict, FileError> {
    let document = case.text("document")?;
    let trust_domain = TrustDomain::from_static("example.org");
    let read = TrustBundle::from_document(trust_domain, document.as_bytes()).map(kept);
    Ok(Verdict::of(read.map(|bundle| {
        counted(
            bundle.x509_authorities().len() as u64,
            bundle.jwt_authorities().len() as u64,
            bundle.wit_authorities().len() as u64,
        )
    })))
}

/// The bundles of a file, by trust domain. One that cannot be read is one that is not there, as it
/// would be for who gets it from the Workload API.
fn bundles<E>(
    file: &File,
    member: &'static str,
    read: impl Fn(TrustDomain, &Value) -> Result<TrustBundle, E>,
) -> Result<BundleSet, FileError> {
    let bundles = file.object(member)?.iter().filter_map(|(id, value)| {
        let trust_domain = TrustDomain::from_id_or_name(id).ok()?;
        read(trust_domain, value).ok()
    });
    Ok(bundles.collect())
}

fn x509_bundle(trust_domain: TrustDomain, value: &Value) -> Result<TrustBundle, X509Error> {
    let authorities = decoded(value).ok_or(X509Error::NoCertificate)?;
    let authorities = authorities.iter().map(|der| Certificate::from_der(der));
    Ok(TrustBundle::new(
        trust_domain,
        authorities.collect::<Result<_, _>>()?,
    ))
}

fn kept(loaded: Loaded<TrustBundle>) -> TrustBundle {
    loaded.value
}

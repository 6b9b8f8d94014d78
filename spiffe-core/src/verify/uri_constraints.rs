//! Name constraints on URIs (X509-SVID section 4.2, RFC 5280 section 4.2.1.10).
//!
//! webpki does not judge them and refuses whatever stands below one. Those of an authority are
//! taken out of what webpki sees, and judged here; all others stay with webpki. What cannot be taken
//! out is refused as before: constraints that are malformed, and those of an intermediate, which
//! are part of what its issuer signed.

use std::net::IpAddr;

use rustls_pki_types::TrustAnchor;

use crate::SpiffeId;
use crate::der::{self, CONSTRUCTED, Element, SEQUENCE, Walk, context};

/// Which trust domains an authority may vouch for, as far as its certificate limits that.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct UriConstraints {
    permitted: Vec<Host>,
    excluded: Vec<Host>,
}

/// The host of a URI, which in a SPIFFE ID is the trust domain.
#[derive(Debug, PartialEq, Eq)]
enum Host {
    /// All below this one, itself not among them. Kept with the dot in front.
    Below(String),
    Exactly(String),
}

impl UriConstraints {
    /// Takes the constraints on URIs out of an anchor; the anchor stays as it is where that fails.
    pub(super) fn take_from(anchor: &mut TrustAnchor<'_>) -> Self {
        let split = anchor.name_constraints.as_deref().map(split);
        let Some(Ok((constraints, others))) = split else {
            return Self::default();
        };
        anchor.name_constraints = (!others.is_empty()).then(|| others.into());
        constraints
    }

    /// Whether they leave everything open.
    pub(super) fn is_empty(&self) -> bool {
        self.permitted.is_empty() && self.excluded.is_empty()
    }

    /// Whether `id` is among the names that may be vouched for. An address is no host name, and
    /// never passes where there is a constraint.
    pub(super) fn permit(&self, id: &SpiffeId) -> bool {
        let host = id.trust_domain_name();
        let among = |hosts: &[Host]| hosts.iter().any(|one| one.holds(host));
        self.is_empty()
            || host.parse::<IpAddr>().is_err()
                && (self.permitted.is_empty() || among(&self.permitted))
                && !among(&self.excluded)
    }
}

impl Host {
    fn read(base: &Element<'_>) -> der::Result<Self> {
        let text = str::from_utf8(base.value()).map_err(|_| base.malformed())?;
        let text = text.to_ascii_lowercase();
        let name = text.strip_prefix('.').unwrap_or(&text);
        // What is no trust domain could constrain none: a whole URI, a port, nothing at all.
        let is_host = name.parse::<crate::TrustDomain>().is_ok() && name.parse::<IpAddr>().is_err();
        if !is_host {
            return Err(base.malformed());
        }
        Ok(if text.starts_with('.') {
            Self::Below(text)
        } else {
            Self::Exactly(text)
        })
    }

    fn holds(&self, host: &str) -> bool {
        match self {
            Self::Below(domain) => host.len() > domain.len() && host.ends_with(domain.as_str()),
            Self::Exactly(name) => host == name,
        }
    }
}

/// The constraints on URIs, and the DER of all others; both from inside of the sequence.
fn split(constraints: &[u8]) -> der::Result<(UriConstraints, Vec<u8>)> {
    let mut ours = UriConstraints::default();
    let mut others = Vec::new();
    let mut lists = Walk::over(constraints);
    while !lists.is_finished() {
        let list = lists.any()?;
        let hosts = match list.tag() {
            PERMITTED => &mut ours.permitted,
            EXCLUDED => &mut ours.excluded,
            _ => return Err(list.malformed()),
        };
        let mut rest = Vec::new();
        list.inside(|subtrees| {
            while !subtrees.is_finished() {
                let subtree = subtrees.expect(SEQUENCE)?;
                match uri_base(&subtree)? {
                    Some(base) => hosts.push(Host::read(&base)?),
                    None => rest.extend_from_slice(subtree.whole()),
                }
            }
            Ok(())
        })?;
        if !rest.is_empty() {
            others.extend(der::element(list.tag(), &rest));
        }
    }
    Ok((ours, others))
}

/// The URI of one subtree, where it is one of URIs. Its minimum and maximum have to be absent, as
/// RFC 5280 demands.
fn uri_base<'a>(subtree: &Element<'a>) -> der::Result<Option<Element<'a>>> {
    // What else there is in subtrees of other names is webpki's matter.
    let base = Walk::over(subtree.value()).any()?;
    if base.tag() != context(6) {
        return Ok(None);
    }
    subtree.inside(|fields| fields.any().map(Some))
}

const PERMITTED: u8 = CONSTRUCTED | context(0);
const EXCLUDED: u8 = CONSTRUCTED | context(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_permitted_as_the_rfc_says() {
        for (permitted, excluded, inside, outside) in [
            (
                &["example.org"][..],
                &[][..],
                &["example.org"][..],
                &["a.example.org", "example.com", "xexample.org", "10.0.0.1"][..],
            ),
            (
                &[".example.org"],
                &[],
                &["a.example.org", "b.a.example.org"],
                &["example.org", ".example.org", "xexample.org"],
            ),
            (
                &["EXAMPLE.org", "b.test"],
                &[],
                &["example.org", "b.test"],
                &["c.test"],
            ),
            (
                &[],
                &["b.test", ".b.test"],
                &["a.test", "xb.test"],
                &["b.test", "a.b.test", "10.0.0.1"],
            ),
            (
                &[".a.test"],
                &["x.a.test"],
                &["y.a.test", "y.x.a.test"],
                &["x.a.test"],
            ),
        ] {
            let list = |number, hosts: &[&str]| list(number, hosts.iter().map(|host| (6, *host)));
            let der = [list(0, permitted), list(1, excluded)].concat();
            let (constraints, others) = split(&der).unwrap();
            assert_eq!(others, b"");
            let permit =
                |host: &&str| constraints.permit(&format!("spiffe://{host}/a").parse().unwrap());
            assert!(inside.iter().all(permit), "{constraints:?}");
            assert!(!outside.iter().any(permit), "{constraints:?}");
        }
        assert!(UriConstraints::default().permit(&crate::spiffe_id!("spiffe://10.0.0.1/a")));
    }

    #[test]
    fn other_constraints_stay_as_they_are() {
        let dns = list(0, [(2, "example.org")]);
        let mixed = list(0, [(6, "a.test"), (2, "example.org")]);
        for (constraints, left) in [(&dns, &dns), (&mixed, &dns)] {
            let (uris, others) = split(constraints).unwrap();
            assert_eq!(&others, left);
            assert_eq!(uris.is_empty(), constraints == left);
        }
    }

    #[test]
    fn what_is_malformed_is_not_taken_apart() {
        let with_minimum = [&[0xa0, 8, 0x30, 6, 0x86, 1, b'a', 0x80, 1, 0][..]].concat();
        let bad_hosts = ["", ".", "spiffe://a.test", "a.test:80", "10.0.0.1", "a b"];
        let bad = bad_hosts.map(|host| list(1, [(6, host)]));
        for der in [
            with_minimum,
            vec![0xa0, 1],
            vec![0xa2, 0],
            vec![0xa0, 2, 4, 0],
        ]
        .into_iter()
        .chain(bad)
        {
            assert!(split(&der).is_err(), "{der:?}");
            let mut anchor = TrustAnchor {
                subject: b"".as_slice().into(),
                subject_public_key_info: b"".as_slice().into(),
                name_constraints: Some(der.as_slice().into()),
            };
            assert!(UriConstraints::take_from(&mut anchor).is_empty());
            assert_eq!(anchor.name_constraints.as_deref(), Some(&der[..]));
        }
    }

    /// A list of subtrees, each of a kind of name and a text.
    fn list<'a>(number: u8, names: impl IntoIterator<Item = (u8, &'a str)>) -> Vec<u8> {
        let mut subtrees = Vec::new();
        for (kind, text) in names {
            let length = u8::try_from(text.len()).unwrap();
            subtrees.extend([0x30, length + 2, 0x80 | kind, length]);
            subtrees.extend(text.bytes());
        }
        if subtrees.is_empty() {
            return subtrees;
        }
        let length = u8::try_from(subtrees.len()).unwrap();
        [vec![0xa0 | number, length], subtrees].concat()
    }
}

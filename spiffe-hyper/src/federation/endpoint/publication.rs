//! A bundle as it is published: its number, its document, its tag.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::HeaderValue;
use spiffe_core::TrustBundle;
use spiffe_core::bundle::WriteError;
use spiffe_core::x509::Certificate;

use crate::federation::held::same_authorities;

/// What an endpoint publishes of one state of a bundle.
#[derive(Debug)]
pub(super) struct Publication {
    /// As it came.
    pub(super) from: TrustBundle,
    /// As it is published.
    bundle: TrustBundle,
    pub(super) sequence: u64,
    pub(super) document: Bytes,
    pub(super) entity_tag: HeaderValue,
}

impl Publication {
    /// What follows on `last`: with a number that is higher where the content is another one (SPIFFE
    /// Trust Domain and Bundle section 4.1.1), and always with a refresh hint (section 4.1.2).
    ///
    /// A number that the bundle brings along counts, unless it stays where it was though the content
    /// does not. Where it brings none, the time is one that goes on growing when a server begins anew.
    /// The first number is higher than `above` in any case: a clock may have been set back since.
    pub(super) fn following(
        last: Option<&Self>,
        above: Option<u64>,
        from: TrustBundle,
        hint: Duration,
        now: SystemTime,
    ) -> Result<Self, WriteError> {
        let authorities = worth_publishing(from.x509_authorities());
        let hint = from.refresh_hint().unwrap_or(hint);
        let bundle = from
            .clone()
            .with_x509_authorities(authorities)
            .with_refresh_hint(Some(hint));
        let (told, last) = (bundle.sequence(), last.map(|last| &last.bundle));
        let is_same = last.is_some_and(|last| {
            last.refresh_hint() == Some(hint) && same_authorities(last, &bundle)
        });
        let sequence = match last.and_then(TrustBundle::sequence) {
            Some(before) if is_same => told.map_or(before, |told| told.max(before)),
            Some(before) => told.unwrap_or(seconds(now)).max(before.saturating_add(1)),
            None => {
                let least = above.map_or(0, |above| above.saturating_add(1));
                told.unwrap_or(seconds(now)).max(least)
            }
        };
        let bundle = bundle.with_sequence(Some(sequence));
        let document = bundle.to_document()?;
        Ok(Self {
            from,
            bundle,
            sequence,
            entity_tag: tag(&document),
            document: document.into(),
        })
    }
}

/// All but the certificates of authorities that are there in a form that they signed themselves
/// (X509-SVID section 6.1).
fn worth_publishing(authorities: &[Certificate]) -> Vec<Certificate> {
    let itself = |one: &Certificate, other: &Certificate| {
        other.is_self_issued()
            && one.subject_der() == other.subject_der()
            && one.public_key().spki_der() == other.public_key().spki_der()
    };
    let needed = authorities
        .iter()
        .filter(|one| one.is_self_issued() || !authorities.iter().any(|other| itself(one, other)));
    needed.cloned().collect()
}

fn seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Equal documents have equal tags, whichever server gives them out, and of whichever build.
fn tag(document: &str) -> HeaderValue {
    let digest = digest(&SHA256, document.as_bytes());
    let hex = digest.as_ref().iter().take(TAG_LEN);
    let hex: String = hex.map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::from_str(&format!("\"{hex}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// As many bytes of a digest as tell documents apart.
const TAG_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use spiffe_core::testing::TestAuthority;

    use super::*;

    fn follow(last: Option<&Publication>, bundle: TrustBundle, now: u64) -> Publication {
        let now = UNIX_EPOCH + Duration::from_secs(now);
        Publication::following(last, None, bundle, Duration::from_secs(300), now).unwrap()
    }

    fn number(publication: &Publication) -> u64 {
        let domain = publication.from.trust_domain().clone();
        let read = TrustBundle::from_document(domain, &publication.document).unwrap();
        assert!(read.value.refresh_hint().is_some());
        read.value.sequence().unwrap()
    }

    // conformance: TB-2+ TB-2- TB-3+ TB-3- TB-4+ TB-4- TB-6+ TB-6-
    #[test]
    fn the_number_grows_with_the_content_and_with_nothing_else() {
        let new = || TestAuthority::new("a.test").bundle();
        let (one, two) = (new(), new());
        let first = follow(None, one.clone(), 1000);
        assert_eq!(number(&first), 1000, "the time, where no number is told");
        let same = follow(Some(&first), one.clone(), 1001);
        assert_eq!(number(&same), 1000, "nothing has changed");
        assert_eq!(same.entity_tag, first.entity_tag);
        let other = follow(Some(&same), two.clone(), 1002);
        assert_eq!(number(&other), 1002);
        assert_ne!(other.entity_tag, first.entity_tag);
        let soon = follow(Some(&other), one.clone(), 1002);
        assert_eq!(number(&soon), 1003, "also within one second");
        let stepped = follow(Some(&soon), two.clone(), 7);
        assert_eq!(number(&stepped), 1004, "also where the clock goes back");
        let anew = follow(None, two.clone(), 2000);
        assert!(number(&anew) > 1004, "also where a server begins anew");

        let told = follow(None, one.clone().with_sequence(Some(5)), 1000);
        assert_eq!(number(&told), 5, "a number that is told counts");
        let told = follow(Some(&told), two.clone().with_sequence(Some(8)), 1000);
        assert_eq!(number(&told), 8);
        for behind in [8, 3] {
            let bundle = one.clone().with_sequence(Some(behind));
            assert_eq!(number(&follow(Some(&told), bundle, 1000)), 9, "{behind}");
            let bundle = two.clone().with_sequence(Some(behind));
            assert_eq!(number(&follow(Some(&told), bundle, 1000)), 8, "{behind}");
        }
    }

    #[test]
    fn a_first_number_is_above_the_last_one_that_is_told() {
        let bundle = TestAuthority::new("a.test").bundle();
        for (above, told, number) in [
            (None, None, 1000),
            (Some(7), None, 1000),
            (Some(5000), None, 5001),
            (Some(5000), Some(8), 5001),
            (Some(5000), Some(9000), 9000),
            (Some(u64::MAX), None, u64::MAX),
        ] {
            let (bundle, now) = (
                bundle.clone().with_sequence(told),
                Duration::from_secs(1000),
            );
            let (hint, now) = (Duration::from_secs(300), UNIX_EPOCH + now);
            let first = Publication::following(None, above, bundle, hint, now).unwrap();
            assert_eq!(first.sequence, number, "{told:?} above {above:?}");
        }
    }

    #[test]
    fn tags_are_the_beginning_of_a_digest() {
        // As `printf '{}' | sha256sum` has it.
        assert_eq!(tag("{}"), "\"44136fa355b3678a1146ad16f7e8649e\"");
    }

    #[test]
    fn a_hint_that_is_told_counts() {
        let hint = Duration::from_secs(42);
        let bundle = TestAuthority::new("a.test").bundle();
        let untold = follow(None, bundle.clone(), 1);
        let told = follow(Some(&untold), bundle.with_refresh_hint(Some(hint)), 1);
        assert_eq!(told.bundle.refresh_hint(), Some(hint));
        assert_eq!(number(&told), 2, "which is content, too");
    }

    // conformance: X509-30+ X509-30-
    #[test]
    fn what_an_authority_signed_itself_is_published_and_no_cross_signature_of_it() {
        let params = |uri: &str| {
            let mut params = CertificateParams::default();
            let name = rcgen::DnType::CommonName;
            params.distinguished_name.push(name, uri);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let other = CertifiedIssuer::self_signed(params("old"), KeyPair::generate().unwrap());
        let other = other.unwrap();
        let key = KeyPair::generate().unwrap();
        let root = params("new").self_signed(&key).unwrap();
        let crossed = params("new").signed_by(&key, &other).unwrap();
        let alone = KeyPair::generate().unwrap();
        let alone = params("alone").signed_by(&alone, &other).unwrap();
        let [root, crossed, alone] =
            [root, crossed, alone].map(|c| Certificate::from_der(c.der()).unwrap());
        let domain = || "a.test".parse().unwrap();
        let bundle = TrustBundle::new(domain(), vec![crossed, root.clone(), alone.clone()]);
        let published = follow(None, bundle, 1);
        let read = TrustBundle::from_document(domain(), &published.document).unwrap();
        // Of the last there is no other form, and whoever it signed is to be believed.
        assert_eq!(read.value.x509_authorities(), [root, alone]);
    }
}

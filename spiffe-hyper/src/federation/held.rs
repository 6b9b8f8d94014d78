//! What is held of another trust domain, and whether what is offered takes its place.

use spiffe_core::TrustBundle;
use spiffe_core::bundle::Skipped;

use super::EndpointUrl;

/// The bundle of another trust domain, and what its endpoint said to ask for a newer one by.
#[derive(Debug, Clone)]
pub struct Held {
    bundle: TrustBundle,
    pub(super) validators: Option<Validators>,
}

impl Held {
    pub(super) fn new(bundle: TrustBundle, validators: Option<Validators>) -> Self {
        Self { bundle, validators }
    }

    /// The bundle.
    #[must_use]
    pub fn bundle(&self) -> &TrustBundle {
        &self.bundle
    }
}

/// A bundle that comes from elsewhere: a file, a store, an administrator.
impl From<TrustBundle> for Held {
    fn from(bundle: TrustBundle) -> Self {
        Self::new(bundle, None)
    }
}

/// By what a server tells whether there is anything newer (RFC 9110 section 8.8): its own words, given
/// back to it.
#[derive(Debug, Clone)]
pub(super) struct Validators {
    /// Whose words they are: another URL has others, also where one leads to the other.
    pub(super) url: EndpointUrl,
    pub(super) entity_tag: Option<http::HeaderValue>,
    pub(super) last_modified: Option<http::HeaderValue>,
}

/// What came of a fetch.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Fetched {
    /// What is held from now on.
    pub held: Held,
    /// Whether that is another bundle than before.
    pub replaced: bool,
    /// The keys of it that are of no use and were left out.
    pub skipped: Vec<Skipped>,
}

/// How a bundle that is offered stands to the one that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// It takes its place.
    Newer,
    /// It is the same one.
    Same,
    /// It takes its place, and its publisher gave other content the same number.
    SameNumber,
    /// It takes its place, and its publisher has left off numbering.
    Unnumbered,
    /// It is an older one (SPIFFE Federation section 4.2).
    Rollback { held: u64, offered: u64 },
}

impl Order {
    /// Without a number the one that came last is the newest (SPIFFE Federation section 4.2).
    pub(super) fn of(held: &TrustBundle, offered: &TrustBundle) -> Self {
        let numbers = (held.sequence(), offered.sequence());
        if same_authorities(held, offered) {
            // Servers side by side may count differently, and say the same.
            let is_same = held == offered || numbers.1 < numbers.0;
            return if is_same { Self::Same } else { Self::Newer };
        }
        match numbers {
            (Some(held), Some(offered)) if offered < held => Self::Rollback { held, offered },
            (Some(held), Some(offered)) if offered == held => Self::SameNumber,
            (Some(_), None) => Self::Unnumbered,
            _ => Self::Newer,
        }
    }
}

/// Whether they believe the same, in whatever order.
pub(super) fn same_authorities(one: &TrustBundle, other: &TrustBundle) -> bool {
    let other = other
        .clone()
        .with_sequence(one.sequence())
        .with_refresh_hint(one.refresh_hint());
    same(one.x509_authorities(), other.x509_authorities())
        && same(one.jwt_authorities(), other.jwt_authorities())
        // All the rest, whatever that is: there are keys that only some builds know.
        && *one
            == other
                .with_x509_authorities(one.x509_authorities().to_vec())
                .with_jwt_authorities(one.jwt_authorities().to_vec())
}

fn same<T: PartialEq>(one: &[T], other: &[T]) -> bool {
    one == other
        || (one.len() == other.len()
            && one.iter().all(|key| other.contains(key))
            && other.iter().all(|key| one.contains(key)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use spiffe_core::testing::TestAuthority;

    use super::*;

    // conformance: FD-7+ FD-7- FD-8+ FD-8- TB-3+
    #[test]
    fn the_number_says_which_is_newer_and_without_one_the_last_is() {
        let (one, two) = (TestAuthority::new("b.test"), TestAuthority::new("b.test"));
        let (one, two) = (one.bundle(), two.bundle());
        let at = |bundle: &TrustBundle, number| bundle.clone().with_sequence(number);
        for (held, offered, order) in [
            (Some(2), Some(3), Order::Newer),
            (Some(2), Some(u64::MAX), Order::Newer),
            (Some(2), Some(2), Order::SameNumber),
            (
                Some(2),
                Some(1),
                Order::Rollback {
                    held: 2,
                    offered: 1,
                },
            ),
            (None, Some(1), Order::Newer),
            (None, None, Order::Newer),
            (Some(2), None, Order::Unnumbered),
        ] {
            let judged = Order::of(&at(&one, held), &at(&two, offered));
            assert_eq!(judged, order, "{held:?} and then {offered:?}");
        }
    }

    #[test]
    fn equal_content_is_no_news_in_any_order_and_never_a_step_back() {
        let (one, two) = (TestAuthority::new("b.test"), TestAuthority::new("b.test"));
        let both = |first: &TestAuthority, second: &TestAuthority| {
            let keys = |bundle: TrustBundle| bundle.x509_authorities().to_vec();
            let all = [keys(first.bundle()), keys(second.bundle())].concat();
            first.x509_bundle().with_x509_authorities(all)
        };
        let held = both(&one, &two).with_sequence(Some(5));
        let turned = both(&two, &one);
        for (offered, order) in [
            (turned.clone().with_sequence(Some(4)), Order::Same),
            (held.clone(), Order::Same),
            (turned.clone().with_sequence(Some(6)), Order::Newer),
            (
                held.clone().with_refresh_hint(Some(Duration::from_secs(9))),
                Order::Newer,
            ),
        ] {
            assert_eq!(Order::of(&held, &offered), order, "{offered:?}");
        }
        let fewer = one.x509_bundle().with_sequence(Some(5));
        assert_eq!(Order::of(&held, &fewer), Order::SameNumber);
    }
}

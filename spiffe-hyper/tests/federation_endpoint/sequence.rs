//! The number of a bundle, through new starts and clocks that are set.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use spiffe_core::clock::Clock;
use spiffe_core::testing::{TestAuthority, TestClock};
use spiffe_hyper::federation::BundleEndpoint;

use crate::federated::url;
use crate::{ask, get, read};

// conformance: TB-3+ TB-3-
#[tokio::test]
async fn the_number_goes_on_growing_where_a_server_begins_anew() {
    let (old, new) = (TestAuthority::new("a.test"), TestAuthority::new("a.test"));
    let mut last = 0;
    for (authority, hour) in [(&old, 1), (&new, 2), (&old, 3)] {
        let now = UNIX_EPOCH + Duration::from_secs(3600 * hour);
        let bundle = authority.bundle();
        let endpoint = BundleEndpoint::by(&url("https://a.test/"), move || Some(bundle.clone()));
        let clock: Arc<dyn Clock> = Arc::new(TestClock::at(now));
        let (_, body) = ask(&endpoint.clock(clock), get("/")).await;
        let number = read(authority, &body).sequence().unwrap();
        assert!(number > last, "{number} after {last}");
        last = number;
    }
}

// conformance: TB-3+ TB-3-
#[tokio::test]
async fn the_number_stays_above_the_last_one_also_where_the_clock_was_set_back() {
    let (old, new) = (TestAuthority::new("a.test"), TestAuthority::new("a.test"));
    let at = |authority: &TestAuthority, hour: u64| {
        let bundle = authority.bundle();
        let endpoint = BundleEndpoint::by(&url("https://a.test/"), move || Some(bundle.clone()));
        endpoint.clock(Arc::new(TestClock::at(
            UNIX_EPOCH + Duration::from_secs(3600 * hour),
        )))
    };
    let before = at(&old, 9);
    assert_eq!(before.sequence(), None);
    ask(&before, get("/")).await;
    let last = before.sequence().unwrap();
    let after = at(&new, 1).sequence_above(last);
    let (_, body) = ask(&after, get("/")).await;
    assert_eq!(read(&new, &body).sequence(), Some(last + 1));
    assert_eq!(after.clone().sequence(), Some(last + 1));
}

//! The health service of the public socket.

use std::convert::Infallible;
use std::sync::Arc;

use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::health_reporter;

use super::cache::Cache;

/// The service, and the work that keeps it true.
///
/// The agent is well once it knows what there is to serve, and stays so: that the server is away, or
/// its own SVID expired, does not keep it from serving what is valid, and must not get it restarted.
pub(super) fn service(
    cache: Arc<Cache>,
) -> (
    impl Future<Output = Infallible> + Send,
    HealthServer<impl Health>,
) {
    let (reporter, service) = health_reporter();
    let reporting = async move {
        reporter
            .set_service_status("", ServingStatus::NotServing)
            .await;
        cache.synced().await;
        reporter
            .set_service_status("", ServingStatus::Serving)
            .await;
        std::future::pending().await
    };
    (reporting, service)
}

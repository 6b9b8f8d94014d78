//! Ways to reach it.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use spiffe_core::with_causes;
use spiffe_core::workload_api::{Endpoint, WorkloadApiClient, WorkloadApiError};
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::world;

#[tokio::test(start_paused = true)]
async fn an_endpoint_can_be_reached_in_a_way_of_ones_own() {
    let (authority, api, _) = world();
    api.publish(&authority.snapshot("/web"));
    let dialled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&dialled);
    let (near, far) = tokio::io::duplex(1024);
    drop(far);
    let once = Mutex::new(Some(near));
    let endpoint = Endpoint::custom("over there", move || {
        count.fetch_add(1, Ordering::Relaxed);
        let io = once.lock().unwrap().take();
        std::future::ready(io.ok_or(io::Error::from(io::ErrorKind::HostUnreachable)))
    });
    assert_eq!(endpoint.to_string(), "over there");
    let client = WorkloadApiClient::new(endpoint);
    let why = client.fetch_x509().await.unwrap_err();
    assert!(
        !matches!(why, WorkloadApiError::Unreachable { .. }),
        "{why}"
    );
    let why = client.fetch_x509().await.unwrap_err();
    assert_eq!(
        with_causes(&why),
        "cannot connect to over there: host unreachable"
    );
    assert_eq!(dialled.load(Ordering::Relaxed), 2);

    let hangs = Endpoint::custom("far away", || {
        std::future::pending::<io::Result<DuplexStream>>()
    });
    let begin = Instant::now();
    let why = WorkloadApiClient::new(hangs)
        .fetch_x509()
        .await
        .unwrap_err();
    assert!(matches!(why, WorkloadApiError::Unreachable { .. }), "{why}");
    assert_eq!(begin.elapsed(), Duration::from_secs(10));
}

#[tokio::test]
async fn tcp_is_spoken_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let client = WorkloadApiClient::new(endpoint.parse().unwrap());
    let greeting = async {
        let (mut io, _) = listener.accept().await.unwrap();
        let mut preface = [0; 24];
        io.read_exact(&mut preface).await.unwrap();
        preface
    };
    let (fetched, preface) = tokio::join!(client.fetch_x509(), greeting);
    assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(fetched.is_err());
}

//! From a host's name to a TCP connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};

/// Connects to the first address of a host where someone answers.
pub(crate) async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    let found = timeout_at(deadline, lookup_host((host, port)));
    let addresses = found.await.unwrap_or_else(|_| Err(late()))?.collect();
    first_of(addresses, deadline, TcpStream::connect).await
}

/// Tries one after the other; none takes the time of those after it.
async fn first_of<T, F>(
    addresses: Vec<SocketAddr>,
    deadline: Instant,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for address in addresses {
        let share = deadline.saturating_duration_since(Instant::now()) / left.max(1);
        left = left.saturating_sub(1);
        match timeout(share, connect(address))
            .await
            .unwrap_or_else(|_| Err(late()))
        {
            Ok(connected) => return Ok(connected),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn late() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

/// How long to wait for someone to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn addresses_are_tried_in_turn_and_a_silent_one_takes_no_others_time() {
        let [silent, refuses, answers] =
            [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let connect = async |address| match address {
            one if one == silent => pending().await,
            one if one == refuses => Err(io::ErrorKind::ConnectionRefused.into()),
            other => Ok(other),
        };
        let begun = Instant::now();
        let deadline = begun + CONNECT_TIMEOUT;
        let found = first_of(vec![silent, refuses, answers], deadline, connect).await;
        assert_eq!(found.unwrap(), answers);
        assert_eq!(begun.elapsed().as_secs(), (CONNECT_TIMEOUT / 3).as_secs());

        for (addresses, kind) in [
            (vec![], io::ErrorKind::NotFound),
            (vec![refuses], io::ErrorKind::ConnectionRefused),
            (vec![refuses, silent], io::ErrorKind::TimedOut),
        ] {
            let found = first_of(addresses, Instant::now() + CONNECT_TIMEOUT, connect).await;
            assert_eq!(found.unwrap_err().kind(), kind);
        }
    }
}

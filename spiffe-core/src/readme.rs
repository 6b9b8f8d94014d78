//! The example of `README.md`, compiled.
//!
//! ```no_run
//! # async fn example(tcp: tokio::net::TcpStream) -> Result<(), Box<dyn std::error::Error>> {
//! use spiffe_core::authorizer::exactly;
//! use spiffe_core::{SourceExt, X509Source};
//!
//! let source = X509Source::connect().await?;           // SPIFFE_ENDPOINT_SOCKET
//! let database = exactly("spiffe://example.org/database".parse()?);
//! let connector = source.client(database).connector();
//! let stream = connector.connect(tcp).await?;
//! println!("this is {}", stream.peer().id());
//! # Ok(()) }
//! ```

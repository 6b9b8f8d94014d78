//! From a file to typed values, with every fault reported at once.
//!
//! HCL version 1, JSON and TOML are read into one tree, [`Node`], that remembers where everything
//! stood. A part of the program then asks its table for the keys it knows:
//!
//! ```
//! use spiffe_issuer::config::{self, Issues, Node, duration, port, text};
//! use std::time::Duration;
//!
//! struct Listen { address: String, port: u16, idle: Duration }
//!
//! fn listen(node: &Node, issues: &mut Issues) -> Option<Listen> {
//!     node.fields(issues, |fields| {
//!         let address = fields.required("bind_address", text);
//!         let port = fields.or("bind_port", port, 8081);
//!         let idle = fields.or("idle", duration, Duration::from_secs(60));
//!         Some(Listen { address: address?, port, idle })
//!     })
//! }
//!
//! let file = config::parse("server.conf", "bind_prot = 8081\nidle = \"1 hour\"")?;
//! let mut issues = Issues::default();
//! assert!(listen(&file, &mut issues).is_none());
//! assert_eq!(issues.to_string(), "\
//! server.conf:1:1: bind_address: is missing
//! server.conf:1:1: bind_prot: is not a setting; did you mean `bind_port`?
//! server.conf:2:8: idle: `1 hour` is not a duration such as 30s, 10m or 1h30m");
//! # Ok::<(), Issues>(())
//! ```

mod fields;
mod go_duration;
mod go_integer;
mod hcl;
mod issues;
mod json;
mod load;
mod node;
mod readers;
mod scan;
mod suggest;
mod toml;

pub use fields::Fields;
pub use go_duration::{DurationError, GoDuration};
pub use go_integer::{GoInteger, IntegerError};
pub use issues::{Checked, Issue, Issues};
pub use load::{ReadError, env, load, parse, read_file};
pub use node::{Entry, Node, Place, Table, Value};
pub use readers::{
    any, boolean, duration, list, parsed, path, placed, port, secret, socket_path, text, whole,
};
pub use suggest::suggest;

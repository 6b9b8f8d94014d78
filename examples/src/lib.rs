//! What the programs of the examples share: the greeter's protocol, the lines they print, and how
//! they end where they fail.

mod failed;
pub mod lines;
pub mod proto;
mod tell;

pub use failed::Failed;
pub use tell::tell_identities;

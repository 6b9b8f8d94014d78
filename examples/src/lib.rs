//! What the programs of the examples share: the greeter's protocol, and the lines they print.

pub mod lines;
pub mod proto;
mod tell;

pub use tell::tell_identities;

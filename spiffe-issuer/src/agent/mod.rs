//! The agent.

pub mod h2_authority;

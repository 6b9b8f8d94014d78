//! The authorities above ours that there are.

pub mod disk;

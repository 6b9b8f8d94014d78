//! `bundle ...`: what identities are verified with, ours and those of other trust domains.

mod count;
mod delete;
mod list;
mod parse;
mod set;
mod show;

pub(super) use count::Count;
pub(super) use delete::Delete;
pub(super) use list::List;
pub(super) use parse::{ParseError, parse};
pub(super) use set::Set;
pub(super) use show::{BundleFormat, Show};

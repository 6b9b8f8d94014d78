//! From messages to what they mean: what holds is taken, what does not leaves the old in place.

mod bundles;
mod tokens;
mod x509;

pub(super) use bundles::bundles;
#[cfg(feature = "incubating-wit")]
pub(super) use bundles::wit_keys;
pub(crate) use bundles::{Bundles, ReadBundle, jwt_keys, x509_authorities};
#[cfg(feature = "incubating-wit")]
pub(super) use tokens::wit;
pub(crate) use tokens::{Wanted, jwt};
pub(super) use x509::x509;

use super::Flaw;

/// A message, read.
#[derive(Debug)]
pub(crate) struct Decoded<T> {
    /// What is known from now on.
    pub(crate) value: T,
    /// What was left out of it, and why.
    pub(crate) flaws: Vec<Flaw>,
}

fn kept<T>(read: Result<T, Flaw>, flaws: &mut Vec<Flaw>) -> Option<T> {
    read.map_err(|flaw| flaws.push(flaw)).ok()
}

/// Of those with the same hint the first one counts (SPIFFE Workload API sections 5.2.1, 6.2.1 and
/// 7.2.1); an empty one tells nothing apart.
fn told_apart<T>(messages: &[T], hint_of: impl Fn(&T) -> &str) -> impl Iterator<Item = &T> {
    let mut hints = std::collections::HashSet::new();
    messages.iter().filter(move |message| {
        let hint = short(hint_of(message));
        hint.is_empty() || hints.insert(hint.to_owned())
    })
}

/// A hint, unless it is longer than hints are (SPIFFE Workload API section 8): then there is none.
fn short(hint: &str) -> &str {
    if hint.len() <= MAX_HINT { hint } else { "" }
}

/// How long a hint may be; longer ones are ignored.
const MAX_HINT: usize = 1024;

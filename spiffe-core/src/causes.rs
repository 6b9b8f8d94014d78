//! Telling an error with all that caused it.

use std::error::Error;

/// An error and what caused it, in one line: `no secure connection: the peer is not verified: …`.
///
/// The errors of these crates say their own part only, and the rest is their
/// [`source`](Error::source). What was told already is not told again: many an error of others
/// repeats the words of its cause.
#[must_use]
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let told = cause.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Link(&'static str, #[source] Option<Box<Self>>);

    fn chain(links: &[&'static str]) -> Option<Box<Link>> {
        let (first, rest) = links.split_first()?;
        Some(Box::new(Link(first, chain(rest))))
    }

    #[test]
    fn each_cause_is_told_once() {
        for (links, told) in [
            (&["a"][..], "a"),
            (&["outer", "middle", "inner"], "outer: middle: inner"),
            (&["away: refused", "refused"], "away: refused"),
            (
                &["away: refused", "transport", "away: refused", "refused"],
                "away: refused: transport",
            ),
        ] {
            assert_eq!(with_causes(&*chain(links).unwrap()), told);
        }
    }
}

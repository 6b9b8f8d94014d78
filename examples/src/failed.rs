//! How a program ends that could not do what it was for: by saying why, in words.

use std::{error::Error, fmt};

use spiffe_core::with_causes;

/// What `main` returns in place of an error. Rust prints the `Debug` of it, and this one's is the error
/// as it is meant to be read, with all that caused it.
pub struct Failed(Box<dyn Error>);

impl<E: Into<Box<dyn Error>>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&with_causes(&*self.0))
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot serve")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_failure_is_told_with_its_causes() {
        let failed = Failed::from(Outer(io::Error::other("the port is taken")));
        assert_eq!(format!("{failed:?}"), "cannot serve: the port is taken");
        assert_eq!(format!("{:?}", Failed::from("usage: it")), "usage: it");
    }
}

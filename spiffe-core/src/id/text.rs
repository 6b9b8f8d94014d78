//! The text of an ID: static for constants, shared for what is read.

use alloc::sync::Arc;

#[derive(Clone)]
pub(super) enum Text {
    Shared(Arc<str>),
    Static(&'static str),
}

impl Text {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Shared(text) => text,
            Self::Static(text) => text,
        }
    }
}

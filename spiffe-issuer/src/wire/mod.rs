//! Between the messages of the wire and what the issuer speaks of, in both directions.
//!
//! Server, agent and command line all read and write their messages here. What a message says
//! wrong is told with the path of the field; what it ought to say is for the nouns to decide.

pub mod authorities;
pub mod bundle;
pub mod entry;
#[cfg(feature = "server")]
pub mod federation;
mod field;
mod instant;
mod mask;
pub mod node;
mod parts;
pub mod query;
mod status;

pub use field::{Field, FieldError, FieldFault};
pub use mask::Masked;
pub use parts::{
    id_from_message, id_in, id_to_message, seconds, selectors_from_messages, selectors_to_messages,
    trust_domain, whole_seconds,
};
pub use status::{denial, item, ok, retry_after, status};

//! What the issuer speaks of: selectors, registration entries, nodes, and why things fail.

mod bundle;
mod entry;
mod error;
mod node;
mod query;
mod selector;
mod trust;

pub use bundle::{AuthorityList, Bundle, Dissolve, TokenAuthority, X509Authority};
pub use entry::{Entry, EntryId, EntryIdError, Hint, NewEntry, Revision};
pub use error::{Denial, Fault, Kind};
pub use node::{AgentName, AgentNameError, AttestedNode, JoinToken, NodeSvid, Serial, TokenHash};
pub use query::{Cursor, CursorError, EntryFilter, Match, Matching, NodeFilter, Page, Paged};
pub use selector::{Selector, SelectorError, SelectorSet};
pub use trust::{AuthorityId, AuthorityKind, EndpointProfile, Relationship, Standing};

//! Certificate requests: a public key, and whether the caller holds its private half.
//!
//! Whatever else a request says is not read: names, lifetimes and uses come from the registration
//! entry. Only `MintX509SVID`, which administrators call, asks for the names as well.

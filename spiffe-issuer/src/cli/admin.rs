//! The commands of `spiffe-server` that ask a running server.

use super::connect::ask;
use super::tree::Command;
use super::{agents, bundle, entry, federation, health, token};

/// All of them.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        words: "agent ban",
        about: "Bans an attested agent",
        run: ask::<agents::Ban>,
    },
    Command {
        words: "agent count",
        about: "Counts attested agents",
        run: ask::<agents::Count>,
    },
    Command {
        words: "agent evict",
        about: "Forgets an attested agent, which may attest again",
        run: ask::<agents::Evict>,
    },
    Command {
        words: "agent list",
        about: "Lists attested agents",
        run: ask::<agents::List>,
    },
    Command {
        words: "agent show",
        about: "Shows an attested agent",
        run: ask::<agents::Show>,
    },
    Command {
        words: "bundle count",
        about: "Counts bundles, our own among them",
        run: ask::<bundle::Count>,
    },
    Command {
        words: "bundle delete",
        about: "Deletes the bundle of another trust domain",
        run: ask::<bundle::Delete>,
    },
    Command {
        words: "bundle list",
        about: "Prints the bundles of other trust domains",
        run: ask::<bundle::List>,
    },
    Command {
        words: "bundle set",
        about: "Takes in the bundle of another trust domain",
        run: ask::<bundle::Set>,
    },
    Command {
        words: "bundle show",
        about: "Prints what the server's identities are verified with",
        run: ask::<bundle::Show>,
    },
    Command {
        words: "entry count",
        about: "Counts registration entries",
        run: ask::<entry::Count>,
    },
    Command {
        words: "entry create",
        about: "Creates registration entries",
        run: ask::<entry::Create>,
    },
    Command {
        words: "entry delete",
        about: "Deletes registration entries",
        run: ask::<entry::Delete>,
    },
    Command {
        words: "entry show",
        about: "Shows registration entries",
        run: ask::<entry::Show>,
    },
    Command {
        words: "entry update",
        about: "Updates registration entries",
        run: ask::<entry::Update>,
    },
    Command {
        words: "federation create",
        about: "Federates with other trust domains",
        run: ask::<federation::Create>,
    },
    Command {
        words: "federation delete",
        about: "Ends the federation with another trust domain",
        run: ask::<federation::Delete>,
    },
    Command {
        words: "federation list",
        about: "Lists those we federate with, and how that goes",
        run: ask::<federation::List>,
    },
    Command {
        words: "federation refresh",
        about: "Fetches the bundle of another trust domain now",
        run: ask::<federation::Refresh>,
    },
    Command {
        words: "federation show",
        about: "Shows how the federation with another trust domain goes",
        run: ask::<federation::Show>,
    },
    Command {
        words: "federation update",
        about: "Changes how bundles of other trust domains are fetched",
        run: ask::<federation::Update>,
    },
    Command {
        words: "healthcheck",
        about: "Tells whether the server is healthy",
        run: ask::<health::Server>,
    },
    Command {
        words: "token generate",
        about: "Generates a join token",
        run: ask::<token::Generate>,
    },
];

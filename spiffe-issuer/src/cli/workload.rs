//! The commands of `spiffe-agent` that ask a running agent.

use super::connect::ask;
use super::tree::Command;
use super::{fetch, health};

/// All of them.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        words: "api fetch",
        about: "Fetches the X509-SVIDs of this process",
        run: ask::<fetch::Fetch>,
    },
    // SPIRE's takes any word here; scripts use this one to see the bundles that come along.
    Command {
        words: "api fetch bundles",
        about: "",
        run: ask::<fetch::Fetch>,
    },
    Command {
        words: "api fetch x509",
        about: "Fetches the X509-SVIDs of this process",
        run: ask::<fetch::Fetch>,
    },
    Command {
        words: "api watch",
        about: "Prints the X509-SVIDs of this process whenever they change",
        run: ask::<fetch::Watch>,
    },
    Command {
        words: "healthcheck",
        about: "Tells whether the agent is healthy",
        run: ask::<health::Agent>,
    },
];

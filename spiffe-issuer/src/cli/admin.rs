//! The commands of `spiffe-server` that ask a running server.

use super::connect::ask;
use super::tree::Command;
use super::{agents, authority, bundle, entry, federation, health, token};

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
        words: "localauthority jwt activate",
        about: "Lets the prepared JWT authority sign from now on",
        run: ask::<authority::jwt::Activate>,
    },
    Command {
        words: "localauthority jwt prepare",
        about: "Prepares a new JWT authority: makes its key and publishes it in the bundle",
        run: ask::<authority::jwt::Prepare>,
    },
    Command {
        words: "localauthority jwt revoke",
        about: "Takes the tainted JWT authority out of the bundle",
        run: ask::<authority::jwt::Revoke>,
    },
    Command {
        words: "localauthority jwt show",
        about: "Shows the local JWT authorities",
        run: ask::<authority::jwt::Show>,
    },
    Command {
        words: "localauthority jwt taint",
        about: "Marks the JWT authority that signed before as tainted: what it signed is replaced",
        run: ask::<authority::jwt::Taint>,
    },
    Command {
        words: "localauthority jwt usage",
        about: "Tells who still uses a JWT authority",
        run: ask::<authority::jwt::Usage>,
    },
    Command {
        words: "localauthority x509 activate",
        about: "Lets the prepared X.509 authority sign from now on",
        run: ask::<authority::x509::Activate>,
    },
    Command {
        words: "localauthority x509 prepare",
        about: "Prepares a new X.509 authority: makes its key and publishes it in the bundle",
        run: ask::<authority::x509::Prepare>,
    },
    Command {
        words: "localauthority x509 revoke",
        about: "Takes the tainted X.509 authority out of the bundle",
        run: ask::<authority::x509::Revoke>,
    },
    Command {
        words: "localauthority x509 show",
        about: "Shows the local X.509 authorities",
        run: ask::<authority::x509::Show>,
    },
    Command {
        words: "localauthority x509 taint",
        about: "Marks the X.509 authority that signed before as tainted: what it signed is replaced",
        run: ask::<authority::x509::Taint>,
    },
    Command {
        words: "localauthority x509 usage",
        about: "Tells who still uses an X.509 authority",
        run: ask::<authority::x509::Usage>,
    },
    Command {
        words: "token generate",
        about: "Generates a join token",
        run: ask::<token::Generate>,
    },
    Command {
        words: "upstreamauthority revoke",
        about: "Takes a tainted root above the server out of the bundle",
        run: ask::<authority::RevokeUpstream>,
    },
    Command {
        words: "upstreamauthority taint",
        about: "Marks a root above the server as tainted: what was signed below it is replaced",
        run: ask::<authority::TaintUpstream>,
    },
];

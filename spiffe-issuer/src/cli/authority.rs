//! `localauthority x509|jwt|wit show|prepare|activate|taint|revoke|usage` and
//! `upstreamauthority taint|revoke`: what the server signs with.

use std::fmt::Write as _;

use tonic::transport::Channel;

use super::connect::{Ask, ConnectError, Socket, Whom};
use super::flags::Flags;
use super::output::{self, Format};
use super::rpc::RpcError;
use super::text;
use super::tree::{Io, Outcome};
use super::usage;
use crate::proto::server::authorities::get_usage_request::Kind;
use crate::proto::server::localauthority as proto;
use crate::proto::server::localauthority::AuthorityState;
use crate::proto::server::localauthority::local_authority_client::LocalAuthorityClient;

/// What was asked for; why it was not done is told behind it.
#[derive(Debug, thiserror::Error)]
#[error("could not {what}")]
struct Failed {
    what: String,
    source: RpcError,
}

/// A flag that has to be there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Missing(&'static str);

async fn client(socket: &Socket) -> Result<LocalAuthorityClient<Channel>, ConnectError> {
    Ok(LocalAuthorityClient::new(socket.connect().await?))
}

fn failed(what: &str, kind: &str) -> impl Fn(tonic::Status) -> Failed {
    move |status| Failed {
        what: format!("{what} {kind}"),
        source: status.into(),
    }
}

/// What is told of an authority. Only those of certificates can have something above them.
fn block(text: &mut String, state: &AuthorityState, kind: &str) {
    // A `String` takes all that is written to it.
    let _ = writeln!(text, "  Authority ID: {}", state.authority_id);
    let _ = writeln!(text, "  Expires at: {}", text::seconds(state.expires_at));
    match &*state.upstream_authority_subject_key_id {
        _ if kind != "X.509" => {}
        "" => text.push_str("  Upstream authority ID: No upstream authority\n"),
        id => {
            let _ = writeln!(text, "  Upstream authority Subject Key ID: {id}");
        }
    }
}

fn shown(states: [Option<&AuthorityState>; 3], kind: &str) -> String {
    let mut text = String::new();
    for (name, state) in ["Active", "Prepared", "Old"].into_iter().zip(states) {
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = writeln!(text, "{name} {kind} authority:");
        match state {
            Some(state) => block(&mut text, state, kind),
            None => {
                let name = name.to_ascii_lowercase();
                let _ = writeln!(text, "  No {name} {kind} authority found");
            }
        }
    }
    text
}

fn done(what: &str, state: Option<&AuthorityState>, kind: &str) -> Result<String, Missing> {
    let state = state.ok_or(Missing("internal error: the server told of no authority"))?;
    let mut text = format!("{what} {kind} authority:\n");
    block(&mut text, state, kind);
    Ok(text)
}

/// The commands about one kind of authority: they differ in nothing but names.
macro_rules! commands {
    ($module:ident, $words:literal, $kind:literal,
     $show:ident($shown:ident), $prepare:ident($prepared:ident),
     $activate:ident($activated:ident), $taint:ident($tainted:ident),
     $revoke:ident($revoked:ident), $asked:ident) => {
        pub(super) mod $module {
            use super::*;

            #[derive(Debug, Default)]
            pub(in crate::cli) struct Show(Format);

            impl Ask for Show {
                const NAME: &'static str = concat!("localauthority ", $words, " show");
                const WHOM: Whom = Whom::SERVER;

                fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
                    flags.flag(output::FLAG, output::USAGE, &mut self.0)
                }

                async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
                    let asked = client(socket).await?.$show(proto::$shown {}).await;
                    let what = concat!($kind, " authorities");
                    let states = asked.map_err(failed("get", what))?.into_inner();
                    text::print(io, self.0, &states, || {
                        let all = [&states.active, &states.prepared, &states.old];
                        shown(all.map(Option::as_ref), $kind)
                    })
                }
            }

            #[derive(Debug, Default)]
            pub(in crate::cli) struct Prepare(Format);

            impl Ask for Prepare {
                const NAME: &'static str = concat!("localauthority ", $words, " prepare");
                const WHOM: Whom = Whom::SERVER;

                fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
                    flags.flag(output::FLAG, output::USAGE, &mut self.0)
                }

                async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
                    let asked = client(socket).await?.$prepare(proto::$prepared {}).await;
                    let what = concat!($kind, " authority");
                    let answer = asked.map_err(failed("prepare", what))?.into_inner();
                    let told = done("Prepared", answer.prepared_authority.as_ref(), $kind)?;
                    text::print(io, self.0, &answer, || told)
                }
            }

            commands!(@named $words, $kind, Activate, "activate", $activate($activated),
                activated_authority, "Activated");
            commands!(@named $words, $kind, Taint, "taint", $taint($tainted),
                tainted_authority, "Tainted");

            #[derive(Debug, Default)]
            pub(in crate::cli) struct Revoke {
                named: Named,
                only_if_unused: bool,
            }

            impl Ask for Revoke {
                const NAME: &'static str = concat!("localauthority ", $words, " revoke");
                const WHOM: Whom = Whom::SERVER;

                fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
                    let usage = concat!("The `ID` of the ", $kind, " authority to revoke");
                    let only = "Do nothing while something that it signed is still in use";
                    let flags = self.named.flags(flags, usage);
                    flags.flag("onlyIfUnused", only, &mut self.only_if_unused)
                }

                async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
                    let authority_id = self.named.id()?;
                    usage::before_revoking(
                        socket,
                        io,
                        (Kind::$asked, $words),
                        &authority_id,
                        self.only_if_unused,
                    )
                    .await?;
                    let request = proto::$revoked { authority_id };
                    let asked = client(socket).await?.$revoke(request).await;
                    let what = concat!($kind, " authority");
                    let answer = asked.map_err(failed("revoke", what))?.into_inner();
                    let told = done("Revoked", answer.revoked_authority.as_ref(), $kind)?;
                    text::print(io, self.named.output, &answer, || told)
                }
            }

            #[derive(Debug, Default)]
            pub(in crate::cli) struct Usage(Named);

            impl Ask for Usage {
                const NAME: &'static str = concat!("localauthority ", $words, " usage");
                const WHOM: Whom = Whom::SERVER;

                fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
                    let usage = concat!("The `ID` of the ", $kind, " authority to ask about");
                    self.0.flags(flags, usage)
                }

                async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
                    let used = usage::of(socket, Kind::$asked, self.0.id()?).await;
                    let what = concat!("the users of the ", $kind, " authority");
                    let used = used?.map_err(failed("get", what))?;
                    text::print(io, self.0.output, &used, || usage::told(&used, $kind))
                }
            }
        }
    };
    (@named $words:literal, $kind:literal, $name:ident, $verb:literal, $rpc:ident($request:ident),
     $field:ident, $told:literal) => {
        #[derive(Debug, Default)]
        pub(in crate::cli) struct $name(Named);

        impl Ask for $name {
            const NAME: &'static str = concat!("localauthority ", $words, " ", $verb);
            const WHOM: Whom = Whom::SERVER;

            fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
                let usage = concat!("The `ID` of the ", $kind, " authority to ", $verb);
                self.0.flags(flags, usage)
            }

            async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
                let authority_id = self.0.id()?;
                let request = proto::$request { authority_id };
                let asked = client(socket).await?.$rpc(request).await;
                let what = concat!($kind, " authority");
                let answer = asked.map_err(failed($verb, what))?.into_inner();
                let told = done($told, answer.$field.as_ref(), $kind)?;
                text::print(io, self.0.output, &answer, || told)
            }
        }
    };
}

commands!(
    x509,
    "x509",
    "X.509",
    get_x509_authority_state(GetX509AuthorityStateRequest),
    prepare_x509_authority(PrepareX509AuthorityRequest),
    activate_x509_authority(ActivateX509AuthorityRequest),
    taint_x509_authority(TaintX509AuthorityRequest),
    revoke_x509_authority(RevokeX509AuthorityRequest),
    X509
);
commands!(
    jwt,
    "jwt",
    "JWT",
    get_jwt_authority_state(GetJwtAuthorityStateRequest),
    prepare_jwt_authority(PrepareJwtAuthorityRequest),
    activate_jwt_authority(ActivateJwtAuthorityRequest),
    taint_jwt_authority(TaintJwtAuthorityRequest),
    revoke_jwt_authority(RevokeJwtAuthorityRequest),
    Jwt
);

/// What names an authority on the command line.
#[derive(Debug, Default)]
struct Named {
    authority_id: String,
    output: Format,
}

impl Named {
    fn flags<'f>(&'f mut self, flags: Flags<'f>, usage: &'static str) -> Flags<'f> {
        flags
            .flag("authorityID", usage, &mut self.authority_id)
            .flag(output::FLAG, output::USAGE, &mut self.output)
    }

    fn id(&self) -> Result<String, Missing> {
        match &*self.authority_id {
            "" => Err(Missing("an authority ID is required")),
            id => Ok(id.to_owned()),
        }
    }
}

/// What names a root above the server on the command line.
#[derive(Debug, Default)]
struct Upstream {
    subject_key_id: String,
    output: Format,
}

impl Upstream {
    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        let usage = "The subject key `ID` of the upstream authority's root certificate";
        flags
            .flag("subjectKeyID", usage, &mut self.subject_key_id)
            .flag(output::FLAG, output::USAGE, &mut self.output)
    }

    fn id(&self) -> Result<String, Missing> {
        match &*self.subject_key_id {
            "" => Err(Missing(
                "the Subject Key ID of the X.509 upstream authority is required",
            )),
            id => Ok(id.to_owned()),
        }
    }
}

/// `upstreamauthority taint`
#[derive(Debug, Default)]
pub(super) struct TaintUpstream(Upstream);

impl Ask for TaintUpstream {
    const NAME: &'static str = "upstreamauthority taint";
    const WHOM: Whom = Whom::SERVER;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        self.0.flags(flags)
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        let subject_key_id = self.0.id()?;
        let request = proto::TaintX509UpstreamAuthorityRequest { subject_key_id };
        let mut client = client(socket).await?;
        let asked = client.taint_x509_upstream_authority(request).await;
        let answer = asked.map_err(failed("taint", UPSTREAM))?.into_inner();
        let id = &answer.upstream_authority_subject_key_id;
        let told = format!("Tainted {UPSTREAM}:\n  Subject Key ID: {id}\n");
        text::print(io, self.0.output, &answer, || told)
    }
}

/// `upstreamauthority revoke`
#[derive(Debug, Default)]
pub(super) struct RevokeUpstream(Upstream);

impl Ask for RevokeUpstream {
    const NAME: &'static str = "upstreamauthority revoke";
    const WHOM: Whom = Whom::SERVER;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        self.0.flags(flags)
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        let subject_key_id = self.0.id()?;
        let request = proto::RevokeX509UpstreamAuthorityRequest { subject_key_id };
        let mut client = client(socket).await?;
        let asked = client.revoke_x509_upstream_authority(request).await;
        let answer = asked.map_err(failed("revoke", UPSTREAM))?.into_inner();
        let id = &answer.upstream_authority_subject_key_id;
        let told = format!("Revoked {UPSTREAM}:\n  Subject Key ID: {id}\n");
        text::print(io, self.0.output, &answer, || told)
    }
}

const UPSTREAM: &str = "X.509 upstream authority";

#[cfg(test)]
mod tests {
    use super::*;

    fn state(id: &str, upstream: &str) -> AuthorityState {
        AuthorityState {
            authority_id: id.to_owned(),
            expires_at: 1_900_000_000,
            upstream_authority_subject_key_id: upstream.to_owned(),
        }
    }

    #[test]
    fn authorities_are_shown_as_scripts_know_them() {
        let (active, old) = (state("aa", ""), state("bb", "cc"));
        assert_eq!(
            shown([Some(&active), None, Some(&old)], "X.509"),
            "Active X.509 authority:\n  Authority ID: aa\n  Expires at: 2030-03-17 17:46:40 +0000 UTC\n  \
             Upstream authority ID: No upstream authority\n\n\
             Prepared X.509 authority:\n  No prepared X.509 authority found\n\n\
             Old X.509 authority:\n  Authority ID: bb\n  Expires at: 2030-03-17 17:46:40 +0000 UTC\n  \
             Upstream authority Subject Key ID: cc\n"
        );
        assert_eq!(
            done("Tainted", Some(&active), "JWT").unwrap(),
            "Tainted JWT authority:\n  Authority ID: aa\n  Expires at: 2030-03-17 17:46:40 +0000 UTC\n"
        );
        assert!(done("Tainted", None, "JWT").is_err());
    }

    #[test]
    fn what_has_to_be_named_is_asked_for() {
        let none = Named::default().id().unwrap_err();
        assert_eq!(none.to_string(), "an authority ID is required");
        let none = Upstream::default().id().unwrap_err();
        let text = "the Subject Key ID of the X.509 upstream authority is required";
        assert_eq!(none.to_string(), text);
    }

    #[test]
    fn a_failed_call_says_what_was_asked_for() {
        let status = tonic::Status::invalid_argument("unexpected authority ID");
        assert_eq!(
            spiffe_core::with_causes(&failed("taint", "X.509 authority")(status)),
            "could not taint X.509 authority: rpc error: code = InvalidArgument desc = unexpected \
             authority ID"
        );
    }
}

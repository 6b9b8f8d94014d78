//! `federation create` and `federation update`.

use super::block::block;
use super::client;
use super::file::{self, Said};
use crate::cli::connect::{Ask, Socket, Whom};
use crate::cli::flags::Flags;
use crate::cli::output::{self, Format, Printable};
use crate::cli::rpc::{self, Failed};
use crate::cli::text;
use crate::cli::tree::{Io, Outcome};
use crate::proto::server::trustdomain::{
    BatchCreateFederationRelationshipRequest, BatchUpdateFederationRelationshipRequest,
};
use crate::proto::types::{self, FederationRelationship};
use crate::runtime::telemetry::quoted;

/// What both commands take.
#[derive(Debug)]
struct Wanted {
    data: String,
    said: Said,
    output: Format,
}

impl Default for Wanted {
    fn default() -> Self {
        let said = Said {
            bundle_format: PEM.to_owned(),
            ..Said::default()
        };
        Self {
            data: String::new(),
            said,
            output: Format::default(),
        }
    }
}

impl Wanted {
    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        let said = &mut self.said;
        flags
            .flag(
                "bundleEndpointProfile",
                "How the endpoint proves who it is: https_web or https_spiffe",
                &mut said.profile,
            )
            .flag(
                "bundleEndpointURL",
                "The https `URL` where the other trust domain serves its bundle",
                &mut said.url,
            )
            .flag(
                "data",
                "A `file` with relationships as JSON, - for the input",
                &mut self.data,
            )
            .flag(
                "endpointSpiffeID",
                "The SPIFFE ID of an endpoint with the profile https_spiffe",
                &mut said.endpoint_id,
            )
            .flag(output::FLAG, output::USAGE, &mut self.output)
            .flag(
                "trustDomain",
                "The name of the trust domain to federate with",
                &mut said.trust_domain,
            )
            .flag(
                "trustDomainBundleFormat",
                "How the bundle is written: pem or spiffe",
                &mut said.bundle_format,
            )
            .flag(
                "trustDomainBundlePath",
                "A `file` with the bundle of the other trust domain, to begin with",
                &mut said.bundle_path,
            )
    }

    fn relationships(
        self,
        io: &mut Io<'_>,
    ) -> Result<Vec<FederationRelationship>, Box<dyn std::error::Error + Send + Sync>> {
        let said = &self.said;
        let texts = [
            &said.trust_domain,
            &said.url,
            &said.profile,
            &said.endpoint_id,
            &said.bundle_path,
        ];
        let is_bare = texts.iter().all(|text| text.is_empty()) && said.bundle_format == PEM;
        match (&*self.data, is_bare) {
            ("", _) => Ok(vec![self.said.message()?]),
            (path, true) => Ok(file::relationships(path, io.input)?),
            (_, false) => Err(
                "cannot use other flags to specify relationship fields when 'data' flag is set"
                    .into(),
            ),
        }
    }
}

/// `federation create`
#[derive(Debug, Default)]
pub(in crate::cli) struct Create(Wanted);

impl Ask for Create {
    const NAME: &'static str = "federation create";
    const WHOM: Whom = Whom::SERVER;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        self.0.flags(flags)
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        let output = self.0.output;
        let asked = self.0.relationships(io)?;
        let request = BatchCreateFederationRelationshipRequest {
            federation_relationships: asked.clone(),
            output_mask: None,
        };
        let mut client = client(socket).await?;
        let created = client.batch_create_federation_relationship(request).await;
        let created = created.map_err(Failed::to("request failed"))?.into_inner();
        let results = created.results.iter();
        let results = results.map(|r| (r.status.as_ref(), r.federation_relationship.as_ref()));
        told(io, output, "create", &created, results, &asked)
    }
}

/// `federation update`
#[derive(Debug, Default)]
pub(in crate::cli) struct Update(Wanted);

impl Ask for Update {
    const NAME: &'static str = "federation update";
    const WHOM: Whom = Whom::SERVER;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        self.0.flags(flags)
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        let output = self.0.output;
        let asked = self.0.relationships(io)?;
        let request = BatchUpdateFederationRelationshipRequest {
            federation_relationships: asked.clone(),
            ..Default::default()
        };
        let mut client = client(socket).await?;
        let updated = client.batch_update_federation_relationship(request).await;
        let updated = updated.map_err(Failed::to("request failed"))?.into_inner();
        let results = updated.results.iter();
        let results = results.map(|r| (r.status.as_ref(), r.federation_relationship.as_ref()));
        told(io, output, "update", &updated, results, &asked)
    }
}

/// Tells what became of each. In JSON the answer says itself what failed, and the command succeeds, as
/// SPIRE's does.
fn told<'a>(
    io: &mut Io<'_>,
    output: Format,
    verb: &str,
    answer: &dyn Printable,
    results: impl Iterator<
        Item = (
            Option<&'a types::Status>,
            Option<&'a FederationRelationship>,
        ),
    >,
    asked: &[FederationRelationship],
) -> Outcome {
    if output == Format::Json {
        return text::print(io, output, answer, String::new);
    }
    let mut failures = Vec::new();
    for ((status, relationship), asked) in results.zip(asked) {
        match status.filter(|status| status.code != 0) {
            None => {
                let block = relationship.map(block).unwrap_or_default();
                write!(io.out, "\n{block}")?;
            }
            Some(status) => failures.push((status, block(asked))),
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    for (status, block) in failures {
        writeln!(io.out)?;
        let (code, why) = (rpc::name(status.code.into()), quoted(&status.message));
        write!(
            io.err,
            "Failed to {verb} the following federation relationship (code: {code}, msg: {why}):\n\
             {block}"
        )?;
    }
    Err(format!("failed to {verb} one or more federation relationships").into())
}

const PEM: &str = "pem";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::server::trustdomain::BatchCreateFederationRelationshipResponse as Created;
    use crate::proto::server::trustdomain::batch_create_federation_relationship_response as created;

    fn wanted(args: &[&str], input: &str) -> Result<Vec<FederationRelationship>, String> {
        let mut create = Create::default();
        let flags = create.flags(Flags::of(""));
        flags.parse(args.iter().copied()).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut io = Io {
            input: &mut input.as_bytes(),
            out: &mut out,
            err: &mut err,
        };
        create
            .0
            .relationships(&mut io)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn flags_and_a_file_do_not_go_together() {
        let flags = [
            "-trustDomain",
            "b.test",
            "-bundleEndpointURL",
            "https://h.test",
            "-bundleEndpointProfile",
            "https_web",
        ];
        assert_eq!(wanted(&flags, "").unwrap()[0].trust_domain, "b.test");
        let none = wanted(&["-data", "-"], r#"{"federationRelationships": []}"#);
        assert_eq!(none, Ok(vec![]));
        let both = [&flags[..], &["-data", "-"]].concat();
        let why = wanted(&both, "").unwrap_err();
        assert_eq!(
            why,
            "cannot use other flags to specify relationship fields when 'data' flag is set"
        );
        assert_eq!(wanted(&[], "").unwrap_err(), "trust domain is required");
    }

    #[test]
    fn what_failed_is_told_among_the_errors_and_in_json_by_the_answer() {
        let named = |name: &str| FederationRelationship {
            trust_domain: name.to_owned(),
            ..Default::default()
        };
        let result = |code, relationship| created::Result {
            status: Some(types::Status {
                code,
                message: "no".to_owned(),
            }),
            federation_relationship: relationship,
        };
        let answer = Created {
            results: vec![result(0, Some(named("good.test"))), result(6, None)],
        };
        let asked = ["good.test", "bad.test"].map(named);
        let tell = |format| {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut io = Io {
                input: &mut std::io::empty(),
                out: &mut out,
                err: &mut err,
            };
            let results = answer.results.iter();
            let results = results.map(|r| (r.status.as_ref(), r.federation_relationship.as_ref()));
            let ended = told(&mut io, format, "create", &answer, results, &asked);
            let text = |bytes| String::from_utf8(bytes).unwrap();
            (
                ended.map_err(|error| error.to_string()),
                text(out),
                text(err),
            )
        };
        let (ended, out, err) = tell(Format::Pretty);
        let why = "failed to create one or more federation relationships";
        assert_eq!(ended, Err(why.to_owned()));
        assert!(
            out.starts_with("\nTrust domain              : good.test\n"),
            "{out}"
        );
        let told = "Failed to create the following federation relationship (code: AlreadyExists, \
                    msg: \"no\"):\nTrust domain              : bad.test\n";
        assert!(err.starts_with(told), "{err}");

        let (ended, out, err) = tell(Format::Json);
        assert_eq!((ended, &*err), (Ok(()), ""));
        let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(answer["results"][1]["status"]["code"], 6);
        assert!(
            answer["results"][0]["federation_relationship"]
                .get("status")
                .is_none()
        );
    }
}

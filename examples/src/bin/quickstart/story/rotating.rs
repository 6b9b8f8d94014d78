//! New certificates for both sides while they talk, and the end.

use spiffe_examples::lines::{Identity, Line};
use tokio::time::Instant;

use super::{FLOW, SOON, Service, Story, TTL, short};
use crate::{account::Step, processes::Handle, trouble::Trouble};

impl Story<'_> {
    pub(super) async fn rotate(&mut self, service: &mut Service) -> Result<(), Trouble> {
        let step = self
            .account
            .step("Both sides get new certificates while RPCs flow");
        // It may have got a new one already.
        for line in self.processes.lines(service.process)? {
            if let Ok(Line::Identity(identity)) = line.parse() {
                service.identity = identity;
            }
        }
        let begun = Instant::now();
        let client = self.client(service, &["flow", &FLOW.as_secs().to_string()])?;
        let first = self.identity(client, &step).await?;
        step.fact(
            "flow",
            format_args!(
                "{} s; SVIDs are good for {} s",
                FLOW.as_secs(),
                TTL.as_secs()
            ),
        );
        self.see_renewals(&step, (client, &first), service, begun)
            .await?;

        let flow = |line: &str| match line.parse() {
            Ok(Line::Flow { sent, failed }) => Some((sent, failed)),
            _ => None,
        };
        let limit = FLOW + SOON;
        let (sent, failed) = self
            .processes
            .line(client, "the end of the flow", limit, flow)
            .await?;
        step.fact("RPCs", format_args!("{sent} sent, {failed} failed"));
        if sent == 0 || failed != 0 {
            return Err(Trouble::unexpected(
                "RPCs that all succeed",
                format!("{sent} sent, {failed} failed"),
            ));
        }
        self.ended_well(client).await?;
        step.done();
        Ok(())
    }

    /// Waits until both sides have new certificates and the handler was called with the client's.
    async fn see_renewals(
        &mut self,
        step: &Step<'_>,
        (client, first): (Handle, &Identity),
        service: &Service,
        begun: Instant,
    ) -> Result<(), Trouble> {
        let of_client = self.renewed(client, first).await?;
        let renewal = |old: &Identity, new: &Identity| {
            format!(
                "serial {} -> {}, seen {:.1} s into the flow",
                short(&old.serial),
                short(&new.serial),
                begun.elapsed().as_secs_f64()
            )
        };
        step.fact("client", renewal(first, &of_client));

        // The server tells of two things, in whichever order they come.
        let (mut of_server, mut handler) = (None, None);
        let both = |line: &str| {
            match line.parse() {
                Ok(Line::Identity(new)) if new.renews(&service.identity) => {
                    of_server.get_or_insert_with(|| renewal(&service.identity, &new));
                }
                Ok(Line::Greeted { caller, serial })
                    if caller == first.id && serial == of_client.serial =>
                {
                    handler = Some(format!(
                        "saw a call by serial {}, {:.1} s into the flow",
                        short(&serial),
                        begun.elapsed().as_secs_f64()
                    ));
                }
                _ => {}
            }
            of_server.clone().zip(handler.clone())
        };
        let what = "a new certificate, and a call with the client's new one";
        let (of_server, handler) = self
            .processes
            .line(service.process, what, FLOW, both)
            .await?;
        step.fact("server", of_server);
        step.fact("handler", handler);
        Ok(())
    }

    /// Waits until a workload tells that it has another certificate for the same name.
    async fn renewed(&mut self, of: Handle, old: &Identity) -> Result<Identity, Trouble> {
        let find = |line: &str| match line.parse() {
            Ok(Line::Identity(new)) if new.renews(old) => Some(new),
            _ => None,
        };
        self.processes
            .line(of, "a new certificate", FLOW, find)
            .await
    }

    pub(super) async fn stop(&mut self) -> Result<(), Trouble> {
        let step = self.account.step("Everything stops");
        for name in self.processes.end().await? {
            step.fact("ended", name);
        }
        step.done();
        Ok(())
    }
}

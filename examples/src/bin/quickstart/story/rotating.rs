//! New certificates for both sides while they talk, and the end.

use spiffe_examples::lines::{Identity, Line};
use tokio::time::Instant;

use super::{FLOW, SOON, Service, Story, TTL, short};
use crate::{processes::Handle, trouble::Trouble};

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
        for (name, process, old) in [
            ("client", client, &first),
            ("server", service.process, &service.identity),
        ] {
            let new = self.renewed(process, old).await?;
            step.fact(
                name,
                format_args!(
                    "serial {} -> {}, seen {:.1} s into the flow",
                    short(&old.serial),
                    short(&new.serial),
                    begun.elapsed().as_secs_f64()
                ),
            );
        }

        let seen = |line: &str| match line.parse() {
            Ok(Line::Greeted { caller, serial })
                if caller == first.id && serial != first.serial =>
            {
                Some(serial)
            }
            _ => None,
        };
        let serial = self
            .processes
            .line(
                service.process,
                "a call with the new certificate",
                FLOW,
                seen,
            )
            .await?;
        step.fact(
            "handler",
            format_args!(
                "saw a call by serial {}, {:.1} s into the flow",
                short(&serial),
                begun.elapsed().as_secs_f64()
            ),
        );

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

    /// Waits until a workload tells that it has another certificate for the same name.
    async fn renewed(&mut self, of: Handle, old: &Identity) -> Result<Identity, Trouble> {
        let find = |line: &str| match line.parse() {
            Ok(Line::Identity(new)) if new.id == old.id && new.serial != old.serial => Some(new),
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

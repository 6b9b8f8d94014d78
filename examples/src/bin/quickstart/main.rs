//! The whole stack on one machine in one minute: a server, an agent, and workloads that prove to
//! each other who they are. Built and started by `scripts/quickstart`.
//!
//! Everything it starts it ends, and everything it writes it removes. The exit code is 0 if each
//! step went as expected, and 1 otherwise.

mod account;
mod domain;
mod processes;
mod programs;
mod story;
mod trouble;

use std::{io, process::ExitCode};

use tokio::signal::unix::{SignalKind, signal};

use account::Account;
use domain::Domain;
use processes::Processes;
use programs::Programs;
use trouble::Trouble;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let account = Account::new();
    match run(&account).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            account.failed(&trouble);
            ExitCode::FAILURE
        }
    }
}

async fn run(account: &Account) -> Result<(), Trouble> {
    let programs = Programs::beside_this_one()?;
    let folder = tempfile::Builder::new()
        .prefix("spiffe-quickstart-")
        .tempdir()
        .map_err(|source| Trouble::io("making a temporary directory", source))?;
    let domain = Domain::new(&programs, folder.path())?;
    let mut processes = Processes::in_folder(folder.path());

    let told = tokio::select! {
        told = story::tell(account, &programs, &domain, &mut processes) => told,
        trouble = interrupted() => Err(trouble),
    };
    if told.as_ref().is_err_and(Trouble::is_for_the_logs) {
        account.logs(&processes.last_words());
    }
    // Whatever happened, nothing is left running, and only then does its folder go.
    let ended = processes.end().await;
    folder
        .close()
        .map_err(|source| Trouble::io("removing the temporary directory", source))?;
    told?;
    ended?;
    account.finished();
    Ok(())
}

/// Waits for someone who wants us gone.
async fn interrupted() -> Trouble {
    let wait = async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        Ok::<(), io::Error>(())
    };
    match wait.await {
        Ok(()) => Trouble::Interrupted,
        Err(source) => Trouble::io("listening for signals", source),
    }
}

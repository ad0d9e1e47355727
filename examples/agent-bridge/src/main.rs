//! Runs the service desk on real sockets until Ctrl-C.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this program's output is its progress"
)]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use agent_bridge::desk::Desk;
use agent_bridge::settings::{Arguments, Settings};
use clap::Parser;
use sidetone::engine::config::Config;
use sidetone::face::engine::Engine;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("agent-bridge: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let settings = settings(arguments)?;
    // Better now than when the first caller should be recorded.
    std::fs::create_dir_all(&settings.recordings)
        .map_err(|error| format!("{}: {error}", settings.recordings.display()))?;
    let desk = Arc::new(Desk::new(&settings, Arc::new(|line| println!("{line}")))?);
    let engine = Engine::start(Config::on(settings.address).sip_port(settings.port)).await?;
    // UDP and TCP share an address as a rule.
    let mut addresses = engine.listening().to_vec();
    addresses.dedup();
    for address in addresses {
        println!("listening on {address}");
    }
    tokio::select! {
        () = desk.serve(&engine) => {}
        () = interrupted() => {
            println!("stopping: no new calls; calls in progress may go on for 30 s (Ctrl-C ends them)");
            tokio::select! {
                () = engine.shutdown(Duration::from_secs(30)) => {}
                () = interrupted() => engine.shutdown(Duration::ZERO).await,
            }
        }
    }
    println!("stopped");
    Ok(())
}

/// The settings of the command line and of the file that it names; an error tells which file.
fn settings(arguments: Arguments) -> Result<Settings, String> {
    let path = arguments.config.clone().unwrap_or_default();
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = arguments.config.as_ref().map(std::fs::read_to_string);
    let file = file.transpose().map_err(|error| told(&error))?;
    let settings = Settings::new(arguments, file.as_deref()).map_err(|error| told(&error))?;
    settings.check()?;
    Ok(settings)
}

/// Waits for Ctrl-C or, where there is such a thing, for SIGTERM.
async fn interrupted() {
    #[cfg(unix)]
    if let Ok(mut terminate) =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
    {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        return;
    }
    // Without a signal to wait for, the program runs until it is killed.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}

//! Runs the service desk on real sockets until Ctrl-C.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "this program's output is its progress")]

use std::sync::Arc;
use std::time::Duration;

use agent_bridge::desk::Desk;
use agent_bridge::settings::{Arguments, Settings};
use clap::Parser;
use sidetone::engine::config::Config;
use sidetone::face::engine::Engine;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let file = arguments
        .config
        .as_ref()
        .map(std::fs::read_to_string)
        .transpose()?;
    let settings = Settings::new(arguments, file.as_deref())?;
    let desk = Arc::new(Desk::new(&settings, Arc::new(|line| println!("{line}")))?);
    let engine = Engine::start(Config::on(settings.address).sip_port(settings.port)).await?;
    for address in engine.listening() {
        println!("listening on {address}");
    }
    tokio::select! {
        () = desk.serve(&engine) => {}
        _ = tokio::signal::ctrl_c() => {
            println!("stopping: no new calls; calls in progress may go on for 30 s (Ctrl-C ends them)");
            tokio::select! {
                () = engine.shutdown(Duration::from_secs(30)) => {}
                _ = tokio::signal::ctrl_c() => engine.shutdown(Duration::ZERO).await,
            }
        }
    }
    println!("stopped");
    Ok(())
}

//! Runs the IVR on real sockets until Ctrl-C.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this program's output is its progress"
)]

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use ivr::flow::Ivr;
use sidetone::engine::config::Config;
use sidetone::face::engine::Engine;
use sidetone::sdp::negotiate::security::MediaSecurity;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    about = "An IVR: a menu, opening hours, and an order number that is read back",
    version
)]
struct Arguments {
    /// The address for SIP and media.
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    /// The SIP port; 0 lets the system choose.
    #[arg(long, default_value_t = 5060)]
    port: u16,
    /// Encrypts calls by SRTP where the caller can; the keys travel readable over UDP and TCP.
    #[arg(long)]
    srtp: bool,
    /// A directory with WAV files that take the place of the embedded prompts of the same names.
    #[arg(long, value_name = "DIR")]
    prompts: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ivr: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(directory) = arguments.prompts.as_deref().filter(|path| !path.is_dir()) {
        return Err(format!("{} is no directory of prompts", directory.display()).into());
    }
    let progress = Arc::new(|line| println!("{line}"));
    let ivr = Arc::new(Ivr::new(arguments.prompts.as_deref(), progress)?);
    let mut config = Config::on(arguments.address).sip_port(arguments.port);
    if arguments.srtp {
        config.media_security = MediaSecurity::BestEffort;
        config.sdes_in_clear = true;
    }
    let engine = Engine::start(config).await?;
    // UDP and TCP share an address as a rule.
    let mut addresses = engine.listening().to_vec();
    addresses.dedup();
    for address in addresses {
        println!("listening on {address}");
    }
    tokio::select! {
        () = ivr.serve(&engine) => {}
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

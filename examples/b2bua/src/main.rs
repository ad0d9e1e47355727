//! Runs the back-to-back user agent on real sockets until Ctrl-C.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this program's output is its progress"
)]

use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use b2bua::router::{Progress, Router};
use clap::Parser;
use ipnet::IpNet;
use sidetone::b2bua::plan::Policy;
use sidetone::b2bua::trunk::{Address, Trunk};
use sidetone::engine::config::Config;
use sidetone::face::engine::Engine;
use sidetone::sip::transport::trust::TrustDomain;

/// The command line.
#[derive(Debug, Parser)]
#[command(about = "Connects every caller to SIP addresses or a trunk", version)]
struct Arguments {
    /// The address for SIP and media.
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    /// The SIP port; 0 lets the system choose.
    #[arg(long, default_value_t = 5060)]
    port: u16,
    /// A SIP URI to dial; several ring at once. Without a user part it gets the dialled number.
    #[arg(long = "to", value_name = "URI")]
    places: Vec<String>,
    /// Dials one after the other, each for so many seconds.
    #[arg(long, value_name = "SECONDS")]
    hunt: Option<u64>,
    /// An address of the trunk, such as `sip:192.0.2.7`; several are tried in their order.
    #[arg(long = "trunk", value_name = "URI")]
    trunk: Vec<String>,
    /// Calls at once over the trunk.
    #[arg(long, value_name = "CALLS")]
    trunk_calls: Option<usize>,
    /// Passes media descriptions on: the two sides send their sound to each other.
    #[arg(long)]
    no_media: bool,
    /// A network that is trusted, such as 192.0.2.0/24: what its peers assert is believed and handed on, and
    /// they are told who calls.
    #[arg(long = "trusted", value_name = "NETWORK")]
    trusted: Vec<IpNet>,
    /// Calls at once.
    #[arg(long, default_value_t = 2_000)]
    max_calls: usize,
    /// Says nothing of single calls.
    #[arg(long)]
    quiet: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("b2bua: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::start(config(&arguments)).await?;
    let trunk = match arguments.trunk.is_empty() {
        true => None,
        false => Some(engine.add_trunk(trunk(&arguments)).await?),
    };
    let mut policy = Policy::default();
    if !arguments.trusted.is_empty() {
        policy.to_target = policy.to_target.trusting();
        policy.to_caller = policy.to_caller.trusting();
    }
    let quiet = arguments.quiet;
    let progress: Progress = Arc::new(move |line| {
        if !quiet {
            println!("{line}");
        }
    });
    let router = Arc::new(Router {
        places: arguments.places,
        trunk,
        hunt: arguments.hunt.map(Duration::from_secs),
        policy: Arc::new(policy),
        progress,
    });
    // UDP and TCP share an address as a rule.
    let mut addresses = engine.listening().to_vec();
    addresses.dedup();
    for address in addresses {
        println!("listening on {address}");
    }
    tokio::select! {
        () = router.serve(&engine) => {}
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

fn config(arguments: &Arguments) -> Config {
    let mut config = Config::on(arguments.address).sip_port(arguments.port);
    config.max_calls = arguments.max_calls;
    let domain = arguments.trusted.iter().copied();
    config.trust = domain.fold(TrustDomain::default(), TrustDomain::network);
    for listener in &mut config.listeners {
        listener.passes_media = arguments.no_media;
    }
    config
}

fn trunk(arguments: &Arguments) -> Trunk {
    let ranked = (0..).zip(&arguments.trunk);
    let addresses = ranked.map(|(rank, uri)| Address::new(uri).ranked(rank, 1));
    let trunk = Trunk::new("trunk", addresses);
    match arguments.trunk_calls {
        Some(calls) => trunk.max_calls(calls),
        None => trunk,
    }
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

//! What `answer` and `srs` have in common: a program that serves callers until it has served enough.

use std::process::ExitCode;

use sidetone::face::engine::Engine;
use tokio::sync::mpsc;

use crate::line::{complain, say};

/// Runs `serve` to its end: exit code 2 where it fails.
pub(crate) fn run(serve: impl Future<Output = Result<(), String>>) -> ExitCode {
    // Call flows wait most of their time; the engine has threads of its own.
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(serve));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(2)
        }
    }
}

/// Says where an engine listens.
pub(crate) fn announce(engine: &Engine) {
    // UDP and TCP share an address as a rule.
    let mut addresses = engine.listening().to_vec();
    addresses.dedup();
    for address in addresses {
        say(&format!("listening on {address}"));
    }
}

/// Ends when the program is told to stop, by Ctrl-C or by SIGTERM as service managers do; listens from the call on,
/// not from when it is first waited for.
pub(crate) fn stopped() -> impl Future<Output = ()> {
    #[cfg(unix)]
    let terminate = {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::terminate())
    };
    async move {
        #[cfg(unix)]
        if let Ok(mut terminate) = terminate {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
        // Where nothing can be heard of it, the system ends the program by itself.
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// Waits until as many calls have ended as were asked for.
pub(crate) async fn enough(count: Option<u64>, mut ended: mpsc::UnboundedReceiver<()>) {
    let mut left = count.unwrap_or(u64::MAX);
    while left > 0 && ended.recv().await.is_some() {
        left -= 1;
    }
}

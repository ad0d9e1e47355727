//! `sidetone answer`: answers calls and reports how each went.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use sidetone::engine::config::{Authentication, Config};
use sidetone::engine::event::{CallError, CallEvent};
use sidetone::face::call::Call;
use sidetone::face::engine::Engine;
use sidetone::face::prompt::Prompt;
use sidetone::sip::auth::digest::Algorithm;
use sidetone::sip::auth::server::VerifierConfig;
use sidetone::sip::auth::store::UserTable;
use sidetone::sip::transport::access::{AccessList, Admission};
use sidetone::sip::transport::tls::Tls;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::account::{AccountArguments, Given};
use crate::codecs::CodecArguments;
use crate::digits::DigitArguments;
use crate::line::{Outcome, SoundArguments, complain, say};
use crate::srtp::SrtpArguments;
use crate::tls::{ListenArguments, TlsArguments};

/// Answers calls: plays a file or tone to each caller, records, reports loss, jitter and delay.
///
/// Runs until Ctrl-C, or until as many calls as asked for have ended. Exits with 0, or with 2 where
/// it could not start.
#[derive(Debug, Clone, Args)]
pub(crate) struct Answer {
    #[command(flatten)]
    sound: SoundArguments,
    #[command(flatten)]
    srtp: SrtpArguments,
    #[command(flatten)]
    tls: TlsArguments,
    #[command(flatten)]
    listen: ListenArguments,
    #[command(flatten)]
    codecs: CodecArguments,
    #[command(flatten)]
    keys: DigitArguments,
    /// Records each call into DIR/call-N.wav, stereo: left the caller, right what is sent.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Rings this many seconds before it answers.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    ring: f64,
    /// Hangs up this many seconds after the answer; by default the caller does.
    #[arg(long, value_name = "SECONDS")]
    duration: Option<f64>,
    /// Refuses every call with this status instead of answering.
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(300..700))]
    reject: Option<u16>,
    /// Stops after this many calls.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Callers have to sign in as this user; by default anybody may call.
    #[command(flatten)]
    account: AccountArguments,
    /// The digest algorithms that callers may sign in by, best first: sha-512-256, sha-256, md5. Some
    /// phones read only the first.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "sha-256,md5",
        value_parser = algorithm
    )]
    digest: Vec<Algorithm>,
    /// The own address for SIP and media.
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST.into())]
    address: IpAddr,
    /// The own SIP port; 0 lets the system choose.
    #[arg(long, default_value_t = 5060)]
    port: u16,
    /// Prints each report as one JSON object.
    #[arg(long)]
    json: bool,
}

/// A validated set of arguments with its sound loaded.
struct Desk {
    arguments: Answer,
    sound: Option<Prompt>,
    ring: Duration,
    duration: Option<Duration>,
    done: mpsc::UnboundedSender<()>,
}

impl Answer {
    pub(crate) fn run(self) -> ExitCode {
        let served = tokio::runtime::Runtime::new()
            .map_err(|error| error.to_string())
            .and_then(|runtime| runtime.block_on(self.serve()));
        match served {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&error);
                ExitCode::from(2)
            }
        }
    }

    async fn serve(self) -> Result<(), String> {
        let seconds = |value: f64| {
            Duration::try_from_secs_f64(value).map_err(|_| format!("{value} is no time in seconds"))
        };
        let (done, mut ended) = mpsc::unbounded_channel();
        let desk = Arc::new(Desk {
            sound: self.sound.load().map_err(|error| error.to_string())?,
            ring: seconds(self.ring)?,
            duration: self.duration.map(seconds).transpose()?,
            arguments: self.clone(),
            done,
        });
        let mut config = Config::on(self.address).sip_port(self.port);
        let tls = self.listen.apply(&self.tls, &mut config)?;
        if let Some(given) = self.account.load()? {
            ask_for(&mut config, given, &self.digest);
        }
        self.srtp.apply(&mut config);
        config.codecs.clone_from(&self.codecs.codecs);
        let engine = Engine::start(config)
            .await
            .map_err(|error| error.to_string())?;
        // UDP and TCP share an address as a rule.
        let mut addresses = engine.listening().to_vec();
        addresses.dedup();
        for address in addresses {
            say(&format!("listening on {address}"));
        }
        let serving = engine.serve(|call| {
            let desk = Arc::clone(&desk);
            async move { desk.handle(call).await }
        });
        let enough = async {
            let mut left = self.count.unwrap_or(u64::MAX);
            while left > 0 && ended.recv().await.is_some() {
                left -= 1;
            }
        };
        tokio::select! {
            () = serving => {}
            () = enough => {}
            () = self.renew(&tls) => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        engine.shutdown(Duration::ZERO).await;
        Ok(())
    }
}

impl Answer {
    /// Reads the certificates again each time that the process gets SIGHUP; calls go on.
    async fn renew(&self, tls: &Tls) {
        let Ok(mut asked) = signal(SignalKind::hangup()) else {
            return std::future::pending().await;
        };
        while asked.recv().await.is_some() {
            let settings = self.tls.load(self.listen.clients());
            let renewed =
                settings.and_then(|settings| tls.reload(settings).map_err(|e| e.to_string()));
            match renewed {
                Ok(()) => say("certificates read again"),
                Err(error) => complain(&error),
            }
        }
    }
}

fn algorithm(token: &str) -> Result<Algorithm, String> {
    Algorithm::from_token(Some(token)).ok_or_else(|| format!("{token} is no digest algorithm"))
}

/// Lets in only who signs in as `given`, by one of `algorithms`.
fn ask_for(config: &mut Config, given: Given, algorithms: &[Algorithm]) {
    let Given {
        user,
        realm,
        secret,
    } = given;
    config.authentication = Some(Authentication {
        challenge: VerifierConfig {
            algorithms: algorithms.to_vec(),
            ..VerifierConfig::new(&realm)
        },
        users: Arc::new(UserTable::new(realm).user(user, secret)),
    });
    for listener in &mut config.listeners {
        listener.access = AccessList::all(Admission::Authenticate);
    }
}

impl Desk {
    async fn handle(&self, call: Call) -> Result<(), CallError> {
        let from = call
            .caller()
            .map(|caller| caller.from())
            .unwrap_or_default();
        self.say(&call, &format!("incoming from {from}"));
        tokio::select! {
            // How a call ends is told by its report.
            _ = self.talk(&call) => {}
            () = self.tell(&call) => {}
        }
        // It fails only where the call is over already.
        let _over = call.hang_up().await;
        let end = call.ended().await?;
        Outcome::new(&end).print(self.arguments.json);
        // The receiver is gone where enough calls have ended already.
        let _enough = self.done.send(());
        Ok(())
    }

    async fn talk(&self, call: &Call) -> Result<(), CallError> {
        if let Some(status) = self.arguments.reject {
            return call.reject(status).await;
        }
        if !self.ring.is_zero() {
            call.ring().await?;
            call.unless_ended(call.engine().sleep(self.ring)).await?;
        }
        call.answer().await?;
        call.set_digits(self.arguments.keys.policy()).await?;
        if let Some(directory) = &self.arguments.record {
            call.record(directory.join(format!("call-{}.wav", call.id())))
                .await?;
        }
        let playing = match &self.sound {
            Some(prompt) if self.arguments.sound.looped => {
                Some(call.play(prompt).looped().start().await?)
            }
            Some(prompt) => Some(call.play(prompt).start().await?),
            None => None,
        };
        match self.duration {
            Some(duration) => call.unless_ended(call.engine().sleep(duration)).await?,
            None => drop(call.ended().await?),
        }
        drop(playing);
        Ok(())
    }

    /// Tells what happens, one line an event, until the call is over.
    async fn tell(&self, call: &Call) {
        while let Some(event) = call.next_event().await {
            match event {
                CallEvent::Answered => self.say(call, "answered"),
                CallEvent::MediaStarted => self.say(call, "sound arrives"),
                CallEvent::Digit { digit, .. } => self.say(call, &format!("digit {digit}")),
                CallEvent::Held => self.say(call, "held"),
                CallEvent::Resumed => self.say(call, "resumed"),
                CallEvent::RecordingFailed { error, .. } => complain(&error.to_string()),
                _ => {}
            }
        }
    }

    fn say(&self, call: &Call, what: &str) {
        if !self.arguments.json {
            say(&format!("call {}: {what}", call.id()));
        }
    }
}

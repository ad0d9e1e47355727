//! `sidetone call`: places one call and reports how it went.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use sidetone::call::redirect::RedirectPolicy;
use sidetone::engine::config::Config;
use sidetone::engine::event::{CallError, CallEvent};
use sidetone::face::call::Call as Line;
use sidetone::face::engine::{Dial, Engine};
use sidetone::face::prompt::Prompt;
use sidetone::face::registration::Registration;
use sidetone::media::leg::digits::DigitString;
use sidetone::sip::uri::Uri;

use crate::account::AccountArguments;
use crate::codecs::CodecArguments;
use crate::course::CourseArguments;
use crate::digits::DigitArguments;
use crate::line::{Outcome, SoundArguments, complain, local_address_towards, say};
use crate::register::{self, RegisterArguments};
use crate::sip::SipArguments;
use crate::srtp::SrtpArguments;
use crate::tls::TlsArguments;

/// Calls a SIP URI: plays a file or tone, records what comes back, reports loss, jitter and delay.
///
/// Exits with 0 where the call was answered and sound came back, 1 where it was not answered or
/// nothing came back, 2 where it could not be placed.
#[derive(Debug, Args)]
pub(crate) struct Call {
    /// Whom to call, such as sip:1001@192.0.2.7 or sip:desk@example.com;transport=tcp.
    uri: String,
    #[command(flatten)]
    sound: SoundArguments,
    #[command(flatten)]
    srtp: SrtpArguments,
    #[command(flatten)]
    tls: TlsArguments,
    #[command(flatten)]
    codecs: CodecArguments,
    #[command(flatten)]
    keys: DigitArguments,
    /// Records the call into this stereo WAV file: left what comes back, right what is sent.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,

    /// Record only what the other party says: left and right where it speaks in stereo.
    #[arg(long, requires = "record")]
    party_alone: bool,
    /// Sends these digits after the answer.
    #[arg(long, value_name = "DIGITS")]
    digits: Option<DigitString>,
    /// Waits this many seconds after the answer before it sends the digits.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    digits_after: f64,
    /// Hangs up this many seconds after the answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    duration: f64,
    /// Gives up when nobody has answered after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    ring: f64,
    /// The URI shown as the caller's.
    #[arg(long, value_name = "URI")]
    from: Option<String>,
    /// Sends the request through this proxy, such as "sip:proxy.example.com;lr".
    #[arg(long, value_name = "URI")]
    via: Option<String>,
    #[command(flatten)]
    account: AccountArguments,
    #[command(flatten)]
    register: RegisterArguments,
    #[command(flatten)]
    course: CourseArguments,
    #[command(flatten)]
    sip: SipArguments,
    /// Follows redirections (3xx) to this host; may stand several times. By default none is followed.
    #[arg(long, value_name = "HOST")]
    redirects_to: Vec<String>,
    /// The own address for SIP and media; by default the one that reaches the called host.
    #[arg(long)]
    address: Option<IpAddr>,
    /// The own SIP port; by default the system chooses.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Prints the report as one JSON object.
    #[arg(long)]
    json: bool,
}

/// What the arguments say, validated, with its sound loaded.
struct Plan {
    sound: Option<Prompt>,
    ring: Duration,
    digits_after: Duration,
    duration: Duration,
}

impl Call {
    pub(crate) fn run(self) -> ExitCode {
        let placed = tokio::runtime::Runtime::new()
            .map_err(|error| error.to_string())
            .and_then(|runtime| runtime.block_on(self.place()));
        match placed {
            Ok(outcome) => {
                let heard = outcome
                    .media
                    .as_ref()
                    .is_some_and(|media| media.received > 0);
                ExitCode::from(u8::from(!(outcome.answered && heard)))
            }
            Err(error) => {
                complain(&error);
                ExitCode::from(2)
            }
        }
    }

    async fn place(&self) -> Result<Outcome, String> {
        if let Some(file) = self.record.as_ref().filter(|file| file.exists()) {
            return Err(format!("{} exists already", file.display()));
        }
        let plan = self.plan()?;
        let engine = Engine::start(self.configure()?)
            .await
            .map_err(|error| error.to_string())?;
        let outcome = self.go(&engine, &plan).await;
        engine.shutdown(Duration::ZERO).await;
        outcome
    }

    fn plan(&self) -> Result<Plan, String> {
        let seconds = |value: f64| {
            Duration::try_from_secs_f64(value).map_err(|_| format!("{value} is no time in seconds"))
        };
        Ok(Plan {
            sound: self.sound.load().map_err(|error| error.to_string())?,
            ring: seconds(self.ring)?,
            digits_after: seconds(self.digits_after)?,
            duration: seconds(self.duration)?,
        })
    }

    fn configure(&self) -> Result<Config, String> {
        let address = self.address.unwrap_or_else(|| {
            local_address_towards(Uri::parse(&self.uri).ok().and_then(|uri| uri.host_ip()))
        });
        let mut config = Config::on(address).sip_port(self.port);
        self.srtp.apply(&mut config);
        self.tls.apply(&mut config)?;
        self.sip.apply(&mut config);
        config.redirects = RedirectPolicy::to_hosts(&self.redirects_to);
        config.codecs.clone_from(&self.codecs.codecs);
        Ok(config)
    }

    /// Registers where that is asked for, and calls.
    async fn go(&self, engine: &Engine, plan: &Plan) -> Result<Outcome, String> {
        let registration = self.register.start(engine).await?;
        let outcome = async {
            if let Some(registration) = &registration {
                let registered = registration.registered().await;
                registered.map_err(|error| format!("not registered: {error}"))?;
                say("registered");
            }
            let dial = self.dial(engine, registration.as_ref(), plan.ring)?;
            let call = dial.start().await.map_err(|error| error.to_string())?;
            self.converse(call, plan).await
        };
        let outcome = outcome.await;
        register::take_back(registration).await;
        outcome
    }

    fn dial(
        &self,
        engine: &Engine,
        registration: Option<&Registration>,
        ring: Duration,
    ) -> Result<Dial, String> {
        let mut dial = match registration {
            Some(registration) => registration.dial(&self.uri),
            None => engine.dial(&self.uri),
        };
        dial = dial.ring_timeout(ring);
        if let Some(from) = &self.from {
            dial = dial.from(from);
        }
        if let Some(via) = &self.via {
            dial = dial.via(via);
        }
        if let Some(account) = self.account.load()? {
            dial = dial.account(account);
        }
        Ok(dial)
    }

    /// Has the call, and those that take its place where the other party may transfer it.
    async fn converse(&self, mut call: Line, plan: &Plan) -> Result<Outcome, String> {
        loop {
            let moved = tokio::select! {
                // How a call ends is told by its report.
                _ = self.talk(&call, plan) => None,
                moved = self.tell(&call) => moved,
                _ = tokio::signal::ctrl_c() => None,
            };
            if let Some(next) = moved {
                say("goes on with another call");
                let patience = Duration::from_secs(5);
                let _patient = call.engine().timeout(patience, call.ended()).await;
                call = next;
                continue;
            }
            // It fails only where the call is over already.
            let _over = call.hang_up().await;
            let end = call.ended().await.map_err(|error| error.to_string())?;
            let outcome = Outcome::new(&end);
            outcome.print(self.json);
            return Ok(outcome);
        }
    }

    async fn talk(&self, call: &Line, plan: &Plan) -> Result<(), CallError> {
        call.answered().await?;
        call.set_digits(self.keys.policy()).await?;
        // Of a call that took the place of another there is a file already.
        if let Some(file) = self.record.as_ref().filter(|file| !file.exists()) {
            if self.party_alone {
                call.record_party_alone(file).await?;
            } else {
                call.record(file).await?;
            }
        }
        let playing = match &plan.sound {
            Some(prompt) if self.sound.looped => Some(call.play(prompt).looped().start().await?),
            Some(prompt) => Some(call.play(prompt).start().await?),
            None => None,
        };
        let press = async {
            let Some(digits) = &self.digits else {
                return Ok(());
            };
            call.engine().sleep(plan.digits_after).await;
            call.send_digits(&digits.to_string()).await
        };
        let course = self.course.run(call, Some(plan.duration));
        let (ran, pressed) = tokio::join!(course, press);
        drop(playing);
        ran.and(pressed)
    }

    /// Tells what happens, one line an event, until the call is over; gives the call that takes its
    /// place where the other party transfers it.
    async fn tell(&self, call: &Line) -> Option<Line> {
        while let Some(event) = call.next_event().await {
            if let CallEvent::TransferRequested(wish) = &event
                && let Some(new) = self.course.follow(call, wish).await
            {
                return Some(new);
            }
            if self.json {
                continue;
            }
            match event {
                CallEvent::Progress { status } => say(&format!("progress {status}")),
                CallEvent::EarlyMedia => say("early media"),
                CallEvent::Answered => say("answered"),
                CallEvent::MediaStarted => say("sound arrives"),
                CallEvent::Digit { digit, .. } => say(&format!("digit {digit}")),
                CallEvent::DigitsSent => say("digits sent"),
                CallEvent::Held => say("held"),
                CallEvent::Resumed => say("resumed"),
                CallEvent::RecordingFailed { error, .. } => complain(&error.to_string()),
                _ => {}
            }
        }
        None
    }
}

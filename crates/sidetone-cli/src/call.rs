//! `sidetone call`: places one call and reports how it went.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use sidetone::engine::config::Config;
use sidetone::engine::event::{CallError, CallEvent};
use sidetone::face::call::Call as Line;
use sidetone::face::engine::Engine;
use sidetone::face::prompt::Prompt;
use sidetone::media::leg::digits::DigitString;
use sidetone::sip::auth::client::Account;
use sidetone::sip::uri::Uri;

use crate::account::{AccountArguments, Given};
use crate::codecs::CodecArguments;
use crate::digits::DigitArguments;
use crate::line::{Outcome, SoundArguments, complain, local_address_towards, say};
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
        let seconds = |value: f64| {
            Duration::try_from_secs_f64(value).map_err(|_| format!("{value} is no time in seconds"))
        };
        let (ring, digits_after) = (seconds(self.ring)?, seconds(self.digits_after)?);
        let duration = seconds(self.duration)?;
        let sound = self.sound.load().map_err(|error| error.to_string())?;
        if let Some(file) = self.record.as_ref().filter(|file| file.exists()) {
            return Err(format!("{} exists already", file.display()));
        }
        let address = self.address.unwrap_or_else(|| {
            local_address_towards(Uri::parse(&self.uri).ok().and_then(|uri| uri.host_ip()))
        });
        let mut config = Config::on(address).sip_port(self.port);
        self.srtp.apply(&mut config);
        self.tls.apply(&mut config)?;
        config.codecs.clone_from(&self.codecs.codecs);
        let engine = Engine::start(config)
            .await
            .map_err(|error| error.to_string())?;
        let mut dial = engine.dial(&self.uri).ring_timeout(ring);
        if let Some(from) = &self.from {
            dial = dial.from(from);
        }
        if let Some(via) = &self.via {
            dial = dial.via(via);
        }
        if let Some(Given {
            user,
            realm,
            secret,
        }) = self.account.load()?
        {
            dial = dial.account(Account::new(realm, user, secret));
        }
        let call = dial.start().await.map_err(|error| error.to_string())?;
        let talk = self.talk(&call, sound, digits_after, duration);
        tokio::select! {
            // How a call ends is told by its report.
            _ = talk => {}
            () = self.tell(&call) => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        // It fails only where the call is over already.
        let _over = call.hang_up().await;
        let end = call.ended().await.map_err(|error| error.to_string())?;
        engine.shutdown(Duration::ZERO).await;
        let outcome = Outcome::new(&end);
        outcome.print(self.json);
        Ok(outcome)
    }

    async fn talk(
        &self,
        call: &Line,
        sound: Option<Prompt>,
        digits_after: Duration,
        duration: Duration,
    ) -> Result<(), CallError> {
        call.answered().await?;
        call.set_digits(self.keys.policy()).await?;
        if let Some(file) = &self.record {
            call.record(file).await?;
        }
        let playing = match &sound {
            Some(prompt) if self.sound.looped => Some(call.play(prompt).looped().start().await?),
            Some(prompt) => Some(call.play(prompt).start().await?),
            None => None,
        };
        let press = async {
            let Some(digits) = &self.digits else {
                return Ok(());
            };
            call.engine().sleep(digits_after).await;
            call.send_digits(&digits.to_string()).await
        };
        let engine = call.engine();
        let ((), pressed) = tokio::join!(engine.sleep(duration), press);
        drop(playing);
        pressed
    }

    /// Tells what happens, one line an event, until the call is over.
    async fn tell(&self, call: &Line) {
        while let Some(event) = call.next_event().await {
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
    }
}

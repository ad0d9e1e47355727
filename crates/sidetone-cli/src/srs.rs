//! `sidetone srs`: a session recording server.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use sidetone::engine::config::Config;
use sidetone::engine::event::{CallError, CallEvent};
use sidetone::engine::recording::RecordingPlan;
use sidetone::face::call::Call;
use sidetone::face::engine::Engine;
use sidetone::media::recorder::track::{Track, Tracks};
use sidetone::sip::siprec::metadata::{Metadata, Participant};
use tokio::sync::mpsc;

use crate::codecs::CodecArguments;
use crate::delete::signing_key;
use crate::line::{complain, say};
use crate::serving;
use crate::sip::SipArguments;
use crate::srtp::SrtpArguments;
use crate::tls::{ListenArguments, TlsArguments};
use crate::upload::UploadArguments;

/// Records what session border controllers and other exchanges send (SIPREC, RFC 7866).
///
/// Every recording session becomes DIR/session-N.wav with a track for each stream, and a sealed record
/// beside it (`sidetone verify`). Other callers are refused with 488. Runs until Ctrl-C or SIGTERM, or until
/// as many sessions as asked for have ended; recordings that run are closed then. Exits with 0, or with 2 where it could not start.
#[derive(Debug, Clone, Args)]
pub(crate) struct Srs {
    /// Where recordings are written.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// What signs the records: a name, and a file with an Ed25519 key in PKCS #8 (DER).
    #[arg(long, value_name = "NAME=FILE")]
    sign: Option<String>,
    /// How many tracks a file has: a session with more streams shares the last.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=5))]
    tracks: u8,
    #[command(flatten)]
    upload: UploadArguments,
    #[command(flatten)]
    srtp: SrtpArguments,
    #[command(flatten)]
    tls: TlsArguments,
    #[command(flatten)]
    listen: ListenArguments,
    #[command(flatten)]
    codecs: CodecArguments,
    #[command(flatten)]
    sip: SipArguments,
    /// Stops after this many sessions.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// The own address for SIP and media.
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST.into())]
    address: IpAddr,
    /// The own SIP port; 0 lets the system choose.
    #[arg(long, default_value_t = 5060)]
    port: u16,
}

impl Srs {
    pub(crate) fn run(self) -> ExitCode {
        serving::run(self.serve())
    }

    async fn serve(self) -> Result<(), String> {
        let engine = Engine::start(self.configure()?)
            .await
            .map_err(|error| error.to_string())?;
        let stop = serving::stopped();
        serving::announce(&engine);
        let (done, ended) = mpsc::unbounded_channel();
        let server = Arc::new(self);
        let sessions = engine.serve(|call| {
            let (server, done) = (Arc::clone(&server), done.clone());
            async move {
                let recorded = server.record(call).await;
                // The receiver is gone where enough sessions have ended already.
                let _enough = done.send(());
                recorded
            }
        });
        tokio::select! {
            () = sessions => {}
            () = serving::enough(server.count, ended) => {}
            () = server.upload.watch(&engine) => {}
            () = stop => {}
        }
        engine.shutdown(Duration::ZERO).await;
        Ok(())
    }

    fn configure(&self) -> Result<Config, String> {
        let mut config = Config::on(self.address).sip_port(self.port);
        self.listen.apply(&self.tls, &mut config)?;
        for listener in &mut config.listeners {
            listener.records = true;
        }
        self.sip.apply(&mut config);
        self.srtp.apply(&mut config);
        config.codecs.clone_from(&self.codecs.codecs);
        config.recording.sealed = true;
        self.upload.apply(&self.directory, &mut config)?;
        config.recording.key = self.sign.as_deref().map(signing_key).transpose()?;
        Ok(config)
    }

    async fn record(&self, call: Call) -> Result<(), CallError> {
        let caller = call.caller();
        let Some(metadata) = caller.and_then(|caller| caller.recorded()).cloned() else {
            return call.reject(488).await;
        };
        let id = call.id();
        let from = caller.map(|caller| caller.from()).unwrap_or_default();
        say(&format!("[{id}] session from {from}: {}", names(&metadata)));
        call.answer().await?;
        let file = self.directory.join(format!("session-{id}.wav"));
        let tracks = [
            Track::Caller,
            Track::Agent,
            Track::Agent2,
            Track::Agent3,
            Track::Agent4,
        ];
        let tracks = Tracks::new(&tracks[..usize::from(self.tracks)]);
        let plan = RecordingPlan::conversation(&file, tracks.unwrap_or(Tracks::STEREO));
        let recording = call.record_as(plan).await?;
        while let Some(event) = call.next_event().await {
            match event {
                CallEvent::Recorded(metadata) => say(&format!("[{id}] now {}", names(&metadata))),
                CallEvent::Ended(end) => say(&format!("[{id}] ended: {}", end.reason)),
                _ => {}
            }
        }
        match recording.closed().await {
            Ok(report) => say(&format!("[{id}] {}: {report:?}", file.display())),
            Err(error) => complain(&format!("[{id}] {error}")),
        }
        Ok(())
    }
}

/// Those who are recorded.
fn names(metadata: &Metadata) -> String {
    let names = metadata.participants.iter().filter_map(Participant::shown);
    let names: Vec<&str> = names.collect();
    match names.is_empty() {
        true => "nobody is named".to_owned(),
        false => names.join(", "),
    }
}

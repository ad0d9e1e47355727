//! Recordings of simulated calls as evidence: sealed, masked, paused, and disks that hang.

use std::future::Future;
use std::io::Cursor;
use std::time::Duration;

use sidetone::engine::config::Config;
use sidetone::engine::event::{CallError, CallEvent};
use sidetone::face::call::Call;
use sidetone::face::engine::Engine;
use sidetone::media::codec::g711::Law;
use sidetone::media::recorder::journal::JournalConfig;
use sidetone::media::recorder::note::Note;
use sidetone::media::recorder::seal::SigningKey;
use sidetone::media::recorder::verify::{Cause, Verdict, VerifyingKey, verify};
use sidetone::media::wav::Encoding;
use sidetone_sim::peer::sip::SipPeer;
use sidetone_sim::peer::sound::Sound;
use sidetone_sim::sim::Sim;

const SECOND: Duration = Duration::from_secs(1);

fn key() -> SigningKey {
    SigningKey::from_seed("branch-7", &[1; 32]).expect("a key")
}

fn config() -> Config {
    let mut config = Config::default();
    config.recording.journal = Some(JournalConfig::new("journal"));
    config.recording.sealed = true;
    config.recording.key = Some(key());
    config
}

fn serve<F, T>(sim: &Sim, engine: &Engine, flow: F)
where
    F: Fn(Call) -> T + 'static,
    T: Future<Output = Result<(), CallError>> + Send + 'static,
{
    let engine = engine.clone();
    sim.spawn(async move { engine.serve(flow).await });
}

fn judge(audio: &[u8], seal: &[u8]) -> Verdict {
    let public = VerifyingKey {
        id: "branch-7".into(),
        bytes: key().public().try_into().expect("32 bytes"),
    };
    verify(&mut Cursor::new(audio), seal, &[public]).expect("memory")
}

#[test]
fn what_is_masked_or_paused_is_silent_and_the_timeline_says_so() {
    for encoding in [Encoding::Pcm16, Encoding::G711(Law::A)] {
        let sim = Sim::seeded(3);
        let mut config = config();
        config.recording.encoding = encoding;
        let (engine, machine) = sim.machine("engine", config).expect("an engine");
        serve(&sim, &engine, move |call| async move {
            call.answer().await?;
            let recording = call.record("a.wav").await?;
            let engine = call.engine();
            engine.sleep(SECOND * 2).await;
            recording.mask("card number").await?;
            engine.sleep(SECOND * 2).await;
            recording.unmask().await?;
            recording.mark("agreed").await?;
            engine.sleep(SECOND).await;
            recording.pause().await?;
            engine.sleep(SECOND).await;
            recording.resume().await?;
            engine.sleep(SECOND * 2).await;
            assert!(recording.stop().await.is_ok());
            let mut noted = Vec::new();
            call.hang_up().await?;
            while let Some(event) = call.next_event().await {
                if let CallEvent::RecordingNoted { note, .. } = event {
                    noted.push(note);
                }
            }
            let masked = Note::Masked("card number".into());
            assert_eq!(noted, [masked, Note::Unmasked, Note::Paused, Note::Resumed]);
            Ok(())
        });
        let alice = SipPeer::open(&sim, "alice").expect("a peer");
        sim.block_on(async {
            let call = alice.call("sip:100@engine").await.expect("an answer");
            call.media().speak(&Sound::speech(1, SECOND * 9)).await;
            call.ended().await;
        });
        let (audio, seal) = (
            machine.disk().read("a.wav"),
            machine.disk().read("a.wav.seal"),
        );
        let verdict = judge(&audio.expect("a file"), &seal.expect("a record"));
        assert!(verdict.is_intact(), "{:?}", verdict.findings);
        assert_eq!(verdict.cause, Some(Cause::Closed));
        let spans: Vec<_> = verdict
            .silenced
            .iter()
            .map(|span| {
                assert!(span.is_proven);
                let length = span.samples.end - span.samples.start;
                (span.reason.as_deref(), (length + 80) / 160 * 20)
            })
            .collect();
        assert_eq!(spans, [(Some("card number"), 2_000), (None, 1_000)]);
        let marks: Vec<_> = verdict
            .timeline
            .iter()
            .filter(|n| n.kind == "mark")
            .collect();
        assert_eq!(marks.len(), 1);
        assert_eq!(marks[0].text, "agreed");
    }
}

#[test]
fn a_disk_that_hangs_keeps_no_engine_from_stopping() {
    let sim = Sim::seeded(4);
    let (engine, machine) = sim.machine("engine", config()).expect("an engine");
    let disk = machine.disk();
    serve(&sim, &engine, move |call| async move {
        call.answer().await?;
        let _recording = call.record("a.wav").await?;
        call.ended().await?;
        Ok(())
    });
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    sim.block_on(async {
        let _call = alice.call("sip:100@engine").await.expect("an answer");
        sim.sleep(SECOND * 3).await;
        disk.stall(true);
        sim.sleep(SECOND * 3).await;
        let before = sim.now();
        engine.shutdown(Duration::ZERO).await;
        let waited = sim.now() - before;
        assert!(waited <= SECOND * 10, "{waited:?}");
    });
}

//! Recordings of simulated calls as evidence: sealed, masked, paused, and disks that hang.

use std::io::Cursor;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sidetone::engine::config::Config;
use sidetone::engine::event::{CallEvent, StorageNews};
use sidetone::media::codec::g711::Law;
use sidetone::media::recorder::crypt::age::{Identity, Recipient};
use sidetone::media::recorder::export::source::Source;
use sidetone::media::recorder::export::wav;
use sidetone::media::recorder::journal::JournalConfig;
use sidetone::media::recorder::layout::{Format, Packets};
use sidetone::media::recorder::note::Note;
use sidetone::media::recorder::seal::SigningKey;
use sidetone::media::recorder::verify::{
    Cause, Reading, Verdict, VerifyingKey, data_key, verify, verify_as,
};
use sidetone::media::wav::{Encoding, Header};
use sidetone_opus::codec::Opus;
use sidetone_sim::disk::Disk;
use sidetone_sim::peer::sip::SipPeer;
use sidetone_sim::peer::sound::Sound;
use sidetone_sim::sim::Sim;

use crate::stage::{SECOND, serve};

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

fn judge(audio: &[u8], seal: &[u8]) -> Verdict {
    let public = VerifyingKey {
        id: "branch-7".into(),
        bytes: key().public().try_into().expect("32 bytes"),
    };
    verify(&mut Cursor::new(audio), seal, &[public]).expect("memory")
}

#[test]
fn what_is_masked_or_paused_is_silent_and_the_timeline_says_so() {
    let alaw = Format::Wav(Encoding::G711(Law::A));
    for format in [
        Format::Wav(Encoding::Pcm16),
        alaw,
        Format::Flac,
        Format::Opus(Packets::Encoded),
    ] {
        let sim = Sim::seeded(3);
        let mut config = config();
        config.codecs.push(Arc::new(Opus::new()));
        config.recording.format = format;
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

/// Files by their names.
type Files = Vec<(String, Vec<u8>)>;

/// What an engine leaves of a call that is masked and marked: all files of its disk during the call and after it.
fn call_of(recipients: Vec<Recipient>) -> (Files, Vec<u8>, Vec<u8>) {
    let sim = Sim::seeded(9);
    let mut config = config();
    config.recording.recipients = recipients;
    let (engine, machine) = sim.machine("engine", config).expect("an engine");
    serve(&sim, &engine, move |call| async move {
        call.answer().await?;
        let recording = call.record("a.wav").await?;
        let engine = call.engine();
        engine.sleep(SECOND * 2).await;
        recording.mask("card number").await?;
        engine.sleep(SECOND).await;
        recording.unmask().await?;
        recording.mark("agreed to the terms").await?;
        engine.sleep(SECOND * 3).await;
        assert!(recording.stop().await.is_ok());
        call.hang_up().await
    });
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    let disk = machine.disk();
    let mut files = Vec::new();
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        call.media().say(&Sound::speech(1, SECOND * 8));
        sim.sleep(SECOND * 4).await;
        let all = |disk: &Disk| {
            let read = |path| Some((format!("{path:?}"), disk.read(&path)?));
            disk.paths()
                .into_iter()
                .filter_map(read)
                .collect::<Vec<_>>()
        };
        files.extend(all(&disk));
        call.ended().await;
        sim.sleep(SECOND).await;
        files.extend(all(&disk));
    });
    let (audio, seal) = (disk.read("a.wav"), disk.read("a.wav.seal"));
    (files, audio.expect("a file"), seal.expect("a record"))
}

#[test]
fn nothing_is_on_the_disk_in_the_clear_where_recordings_are_encrypted() {
    let reader = "AGE-SECRET-KEY-1GCCGTZ0MYV0LG8WAFD79FGC4Y4SG5W0TQZCLPWJRK3RJ25ZGZMRQTRJ5Q5";
    let reader = Identity::parse(reader).expect("a key");
    let (clear_files, clear, _) = call_of(Vec::new());
    let (files, audio, seal) = call_of(vec![reader.recipient().expect("a key")]);
    assert!(files.iter().any(|(name, _)| name.contains("journal")));
    // Loud places of the sound, and words.
    let mut needles: Vec<&[u8]> = vec![b"card number", b"card", b"agreed", b"terms", b"RIFF"];
    let loud = |part: &&[u8]| part.iter().filter(|b| **b != 0).count() > 24;
    let parts = clear[Header::LEN..].chunks_exact(64).filter(loud);
    needles.extend(parts.step_by(11));
    assert!(needles.len() > 15, "{} places", needles.len());
    let holds = |files: &[(String, Vec<u8>)], needle: &[u8]| {
        let in_file =
            |(_, file): &(String, Vec<u8>)| file.windows(needle.len()).any(|w| w == needle);
        files.iter().any(in_file)
    };
    for needle in needles {
        let is_sound = needle.len() == 64;
        assert!(
            !is_sound || holds(&clear_files, needle),
            "the search finds nothing"
        );
        assert!(
            !holds(&files, needle),
            "{:?}",
            String::from_utf8_lossy(needle)
        );
    }
    // Proven by whom it is not for, and read by whom it is for.
    let public = VerifyingKey {
        id: "branch-7".into(),
        bytes: key().public().try_into().expect("32 bytes"),
    };
    let judge = |identity| {
        let mut audio = Cursor::new(&audio);
        verify_as(&mut audio, &seal, std::slice::from_ref(&public), identity).expect("memory")
    };
    let verdict = judge(None);
    assert!(verdict.is_intact(), "{:?}", verdict.findings);
    assert_eq!(verdict.reading, Reading::Encrypted);
    assert!(!verdict.silenced[0].is_proven);
    let verdict = judge(Some(&reader));
    assert!(verdict.is_intact(), "{:?}", verdict.findings);
    assert_eq!(verdict.reading, Reading::Decrypted);
    assert!(verdict.silenced[0].is_proven);
    assert_eq!(verdict.silenced[0].reason.as_deref(), Some("card number"));
    assert!(
        verdict
            .timeline
            .iter()
            .any(|noted| noted.text == "agreed to the terms")
    );
    let secret = data_key(&seal, &reader).expect("a key");
    let mut source =
        Source::with_key(Cursor::new(&audio), Some(secret), None).expect("a recording");
    let mut back = Vec::new();
    wav::write(&mut source, &mut back).expect("memory");
    assert!(back == clear, "not what was recorded");
    // Altered where it is encrypted.
    let mut altered = audio.clone();
    altered[Header::LEN + 40_000] ^= 1;
    let verdict = verify_as(
        &mut Cursor::new(&altered),
        &seal,
        std::slice::from_ref(&public),
        None,
    );
    assert!(!verdict.expect("memory").is_intact());
}

#[test]
fn little_room_stops_new_recordings_and_not_those_that_run() {
    let sim = Sim::seeded(11);
    let mut config = config();
    config.recording.journal = None;
    config.recording.least_free = 200_000;
    let (engine, machine) = sim.machine("engine", config).expect("an engine");
    let disk = machine.disk();
    disk.set_capacity(300_000);
    let told = Arc::new(Mutex::new(Vec::new()));
    let (news, watching) = (told.clone(), engine.clone());
    sim.spawn(async move {
        let mut watch = watching.watch_storage().await.expect("an engine");
        while let Some(piece) = watch.next().await {
            news.lock().expect("one thread").push(piece);
        }
    });
    let room = disk.clone();
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    let seen = outcomes.clone();
    let (flow, handle) = (engine.clone(), sim.handle());
    sim.block_on(async move {
        let alice = SipPeer::open(&handle, "alice").expect("a peer");
        handle.spawn(async move {
            let call = alice.call("sip:100@engine").await.expect("an answer");
            call.media().say(&Sound::speech(1, SECOND * 20));
            call.ended().await;
        });
        let call = flow.incoming().await.expect("a caller");
        call.answer().await.expect("media");
        // 32 kB a second: after four seconds less than 200 kB are free.
        let first = call.record("a.wav").await.expect("a recording");
        flow.sleep(SECOND * 5).await;
        let report = first.stop().await;
        let refused = call.record("b.wav").await.expect("a try").closed().await;
        room.set_capacity(1_000_000);
        let again = call.record("c.wav").await.expect("a try");
        flow.sleep(SECOND * 2).await;
        let again = again.stop().await;
        let all = [report.is_ok(), refused.is_ok(), again.is_ok()];
        seen.lock().expect("one thread").extend(all);
        call.hang_up().await.expect("an end");
    });
    assert_eq!(*outcomes.lock().expect("one thread"), [true, false, true]);
    assert_eq!(disk.read("b.wav"), None);
    let told = told.lock().expect("one thread");
    let words: Vec<_> = told
        .iter()
        .map(|news| matches!(news, StorageNews::LowSpace { .. }))
        .collect();
    assert_eq!(words, [true, false], "{told:?}");
}

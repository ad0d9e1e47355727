//! `sidetone verify` and `sidetone export` as their users run them, on recordings that were tampered with, cut off
//! or still grow; other programs play what is exported.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::Value;
use sidetone::id::RecordingId;
use sidetone::media::codec::g711::Law;
use sidetone::media::frame::{Frame, SampleRate};
use sidetone::media::recorder::crypt::age::{Identity, Recipient};
use sidetone::media::recorder::digest::Digest;
use sidetone::media::recorder::journal::SegmentWriter;
use sidetone::media::recorder::layout::{Format, Packets};
use sidetone::media::recorder::note::Note;
use sidetone::media::recorder::retention::Label;
use sidetone::media::recorder::scribe::{Scribe, ScribeConfig};
use sidetone::media::recorder::seal::SigningKey;
use sidetone::media::recorder::storage::{Sealing, StorageCommand};
use sidetone::media::recorder::track::{Track, Tracks};
use sidetone::media::recorder::{DEFAULT_QUEUE, recording};
use sidetone::media::wav::{Encoding, Header};
use sidetone::net::disk::FileSystem;
use sidetone::time::{Duration, Instant, WallTime};
use sidetone_opus::codec::Opus;
use sidetone_sim::peer::sound::Sound;

const RATE: SampleRate = SampleRate::HZ_8000;
const SECONDS: u64 = 6;
const BYTES_A_SECOND: usize = 4 * 8_000;

/// A directory of its own for a test, removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("sidetone-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed("branch-7", &[seed; 32]).expect("a key")
}

/// Records `SECONDS` of speech on two tracks, masked from the third second to the fourth, sealed.
fn record(path: &Path, number: u64, encoding: Encoding) -> [Vec<i16>; 2] {
    record_for(path, number, Format::Wav(encoding), Vec::new(), None)
}

/// The same, encrypted for these.
fn record_for(
    path: &Path,
    number: u64,
    format: Format,
    recipients: Vec<Recipient>,
    label: Option<Label>,
) -> [Vec<i16>; 2] {
    let mut scribe = Scribe::new(ScribeConfig::default(), FileSystem);
    let mut segment = SegmentWriter::new(FileSystem);
    let (mut tap, feed) = recording(RATE, DEFAULT_QUEUE);
    scribe.handle_command(StorageCommand::Open {
        recording: RecordingId(number),
        path: path.to_owned(),
        tracks: Tracks::STEREO,
        format,
        opus: Some(Arc::new(Opus::new())),
        sealing: Some(Box::new(Sealing {
            digest: Digest::Sha256,
            id: number.into(),
            started: WallTime::from_unix_nanos(1_790_000_000_000_000_000),
            label,
            recipients,
            key: Some(key(1)),
        })),
        feed: Box::new(feed),
    });
    let length = Duration::from_secs(SECONDS);
    let sides = [2 * number, 2 * number + 1].map(|voice| Sound::speech(voice, length));
    let mut now = Instant::ZERO;
    for n in 0..SECONDS as usize * 50 {
        now += Duration::from_millis(20);
        for (track, sound) in Track::STEREO.into_iter().zip(&sides) {
            let samples = &sound.samples()[n * 160..][..160];
            tap.push(track, n as i64 * 160, &Frame::from_samples(RATE, samples));
        }
        if n == 150 {
            tap.note(3 * 8_000, Note::Masked("card".into()))
                .expect("room");
        }
        if n == 200 {
            tap.note(4 * 8_000, Note::Unmasked).expect("room");
        }
        if n % 5 == 4 {
            scribe.round(now);
        }
        if n == 249 {
            std::fs::copy(path, growing(path)).expect("a copy");
        }
    }
    drop(tap);
    scribe.round(now);
    while let Some(job) = scribe.poll_job() {
        let done = job.run(&FileSystem, &mut segment);
        scribe.handle_done(now, done);
    }
    assert!(scribe.is_idle());
    sides.map(|sound| {
        let mut samples = sound.samples().to_vec();
        samples[3 * 8_000..4 * 8_000].fill(0);
        samples
    })
}

/// A recording as it was when five of its seconds had been spoken.
fn growing(path: &Path) -> PathBuf {
    let ending = path.extension().expect("an ending");
    let mut name = std::ffi::OsString::from("growing.");
    name.push(ending);
    path.with_extension(name)
}

fn sidetone(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidetone"));
    command.args(words).output().expect("the program")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a name")
}

/// What `sidetone verify` says: its exit status, and its words.
fn verdict(path: &Path, with: &SigningKey) -> (bool, Value) {
    let public: String = with.public().iter().map(|b| format!("{b:02x}")).collect();
    let named = format!("branch-7={public}");
    let said = sidetone(&["verify", text(path), "--key", &named, "--json"]);
    let json = serde_json::from_slice(&said.stdout);
    (said.status.success(), json.expect("what it says"))
}

fn found(verdict: &Value) -> Vec<(String, f64, f64)> {
    let findings = verdict["findings"].as_array().expect("a list");
    let at = |finding: &Value, name: &str| finding[name].as_f64().unwrap_or(-1.0);
    findings
        .iter()
        .map(|f| {
            let what = f["what"].as_str().expect("a word").to_owned();
            (what, at(f, "from_seconds"), at(f, "to_seconds"))
        })
        .collect()
}

/// What was done, the file and its record afterwards, and what must be found at about which second.
type Case = (&'static str, Vec<u8>, Vec<u8>, (&'static str, f64));

#[test]
fn every_kind_of_tampering_is_found_and_an_intact_file_is_intact() {
    let dir = Dir::new("tampered");
    let (path, other) = (dir.path("a.wav"), dir.path("b.wav"));
    record(&path, 1, Encoding::Pcm16);
    record(&other, 2, Encoding::Pcm16);
    let seal = |path: &Path| PathBuf::from(format!("{}.seal", text(path)));
    let (audio, sealed) = (std::fs::read(&path), std::fs::read(seal(&path)));
    let (audio, sealed) = (audio.expect("a file"), sealed.expect("a record"));
    let (other_audio, other_sealed) = (std::fs::read(&other), std::fs::read(seal(&other)));
    let (other_audio, other_sealed) = (
        other_audio.expect("a file"),
        other_sealed.expect("a record"),
    );
    let (intact, said) = verdict(&path, &key(1));
    assert!(intact, "{said}");
    assert_eq!(said["silenced"][0]["reason"], "card");
    assert_eq!(said["silenced"][0]["proven"], true);
    let words = sidetone(&["verify", text(&path)]);
    assert!(!words.status.success(), "intact by no key");
    assert!(!verdict(&path, &key(2)).0, "intact by another's key");

    let at = |second: usize| Header::LEN + second * BYTES_A_SECOND;
    let mut cases: Vec<Case> = Vec::new();
    let mut flipped = audio.clone();
    flipped[at(2) + 77] ^= 1;
    cases.push(("a bit", flipped, sealed.clone(), ("altered", 2.0)));
    let cut = audio[..at(4) + 1_000].to_vec();
    cases.push(("truncated", cut, sealed.clone(), ("truncated", 4.03125)));
    let mut spliced = audio[..at(1)].to_vec();
    spliced.extend_from_slice(&audio[at(2)..]);
    cases.push(("cut out", spliced, sealed.clone(), ("altered", 1.0)));
    let mut swapped = audio.clone();
    swapped.copy_within(at(1)..at(2), at(0));
    swapped[at(1)..at(2)].copy_from_slice(&audio[at(0)..at(1)]);
    cases.push(("swapped", swapped, sealed.clone(), ("altered", 0.0)));
    let mut inserted = audio.clone();
    inserted[at(5)..].copy_from_slice(&other_audio[at(5)..]);
    cases.push(("of another", inserted, sealed.clone(), ("altered", 5.0)));
    let mut longer = audio.clone();
    longer.extend_from_slice(&audio[at(0)..at(1)]);
    cases.push(("longer", longer, sealed.clone(), ("extended", 6.0)));
    // Another recording's file and record, whole, in the place of this one's sound.
    cases.push(("replayed", other_audio, sealed.clone(), ("altered", 0.0)));
    cases.push(("its record", audio.clone(), other_sealed, ("altered", 0.0)));
    let half = sealed.len() / 2;
    cases.push((
        "half a record",
        audio.clone(),
        sealed[..half].to_vec(),
        ("truncated", 2.0),
    ));
    for (name, audio, record, (what, from)) in cases {
        let place = dir.path("case.wav");
        std::fs::write(&place, audio).expect("written");
        std::fs::write(seal(&place), record).expect("written");
        let (intact, said) = verdict(&place, &key(1));
        assert!(!intact, "{name}: {said}");
        let found = found(&said);
        let finds = found
            .iter()
            .any(|(w, at, _)| w == what && (at - from).abs() < 1.01);
        assert!(finds, "{name}: {found:?}");
    }
    // A timeline that says something else.
    let forged = String::from_utf8(sealed)
        .expect("text")
        .replace("card", "pins");
    std::fs::write(seal(&path), forged).expect("written");
    let (intact, said) = verdict(&path, &key(1));
    assert!(!intact && found(&said)[0].0 == "record altered", "{said}");
}

/// The samples that a program makes of a file, or `None` where there is no such program.
fn played(words: &[&str]) -> Option<Vec<i16>> {
    let Ok(output) = Command::new(words[0]).args(&words[1..]).output() else {
        let missing = format!("skipped: there is no {} to play with\n", words[0]);
        // Where standard error is closed nobody reads it.
        let _ = std::io::stderr().write_all(missing.as_bytes());
        return None;
    };
    assert!(output.status.success(), "{words:?}: {output:?}");
    let samples = output.stdout.as_chunks::<2>().0.iter();
    Some(samples.map(|&s| i16::from_le_bytes(s)).collect())
}

fn by_ffmpeg(path: &Path) -> Option<Vec<i16>> {
    let file = text(path);
    played(&[
        "ffmpeg", "-v", "error", "-i", file, "-ar", "8000", "-f", "s16le", "-",
    ])
}

fn by_sox(path: &Path) -> Option<Vec<i16>> {
    let file = text(path);
    played(&[
        "sox", "-V1", file, "-r", "8000", "-b", "16", "-e", "signed", "-t", "raw", "-",
    ])
}

/// How alike two sounds are when the second is late by so many samples.
fn likeness(a: &[i16], b: &[i16], late: usize) -> f64 {
    let (mut both, mut one, mut other) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(&b[late.min(b.len())..]) {
        let (x, y) = (f64::from(*x), f64::from(*y));
        both += x * y;
        one += x * x;
        other += y * y;
    }
    both / f64::sqrt(one * other).max(1.0)
}

#[test]
fn flac_is_without_loss_by_ffmpeg_and_sox() {
    let dir = Dir::new("flac");
    for (name, encoding) in [("pcm", Encoding::Pcm16), ("alaw", Encoding::G711(Law::A))] {
        let path = dir.path(&format!("{name}.wav"));
        record(&path, 3, encoding);
        let out = dir.path(&format!("{name}.flac"));
        let said = sidetone(&["export", text(&path), text(&out)]);
        assert!(said.status.success(), "{said:?}");
        for by in [by_ffmpeg, by_sox] {
            if let (Some(before), Some(after)) = (by(&path), by(&out)) {
                assert_eq!(before.len(), 2 * 8_000 * SECONDS as usize);
                assert!(before == after, "{name}");
            }
        }
        let small = std::fs::metadata(&out).expect("a file").len();
        assert!(small < 2 * 2 * 8_000 * SECONDS * 8 / 10, "{small} bytes");
        let again = sidetone(&["export", text(&path), text(&out)]);
        assert!(!again.status.success(), "a file was overwritten");
    }
}

#[test]
fn ogg_opus_plays_each_track_on_its_own_channel_in_its_place() {
    let dir = Dir::new("opus");
    let path = dir.path("a.wav");
    let sides = record(&path, 4, Encoding::Pcm16);
    let out = dir.path("a.opus");
    let said = sidetone(&["export", text(&path), text(&out)]);
    assert!(said.status.success(), "{said:?}");
    // Debian's sox has no Opus.
    if let Some(samples) = by_ffmpeg(&out) {
        let length = samples.len() / 2;
        assert!(length.abs_diff(8_000 * SECONDS as usize) <= 2, "{length}");
        for (channel, side) in sides.iter().enumerate() {
            let heard: Vec<i16> = samples.iter().skip(channel).step_by(2).copied().collect();
            let place = (0..40)
                .max_by(|a, b| likeness(side, &heard, *a).total_cmp(&likeness(side, &heard, *b)));
            let place = place.expect("a place");
            assert!(place <= 8, "{place} samples late");
            assert!(likeness(side, &heard, place) > 0.9);
            let masked = &heard[3 * 8_000 + 400..4 * 8_000 - 400];
            assert!(masked.iter().all(|s| s.unsigned_abs() < 100), "not silent");
        }
    }
    // A file that was cut off anywhere plays up to its last page.
    let whole = std::fs::read(&out).expect("a file");
    let cut = dir.path("cut.opus");
    std::fs::write(&cut, &whole[..whole.len() / 2]).expect("written");
    if let Some(samples) = by_ffmpeg(&cut) {
        assert!(
            samples.len() > 8_000 * SECONDS as usize * 2 / 3,
            "{}",
            samples.len()
        );
    }
}

#[test]
fn a_recording_that_still_grows_is_exported_as_far_as_it_is() {
    let dir = Dir::new("growing");
    let path = dir.path("a.wav");
    record(&path, 5, Encoding::Pcm16);
    let mut file = std::fs::read(&path).expect("a file");
    file.truncate(Header::LEN + 3 * BYTES_A_SECOND + 3);
    std::fs::write(&path, file).expect("written");
    for name in ["a.flac", "a.opus"] {
        let out = dir.path(name);
        let said = sidetone(&["export", text(&path), text(&out), "--stereo"]);
        assert!(said.status.success(), "{said:?}");
        if let Some(samples) = by_ffmpeg(&out) {
            assert!(
                (samples.len() / 2).abs_diff(3 * 8_000) <= 2,
                "{}",
                samples.len()
            );
        }
    }
    let said = sidetone(&["export", text(&path), text(&dir.path("a.mp3"))]);
    assert!(!said.status.success());
}

#[test]
fn what_is_flac_or_opus_from_the_start_plays_while_it_grows_and_is_evidence() {
    let dir = Dir::new("live");
    let reader = Identity::parse(SECRET).expect("a key");
    let readers = [Vec::new(), vec![reader.recipient().expect("a key")]];
    let keys = dir.path("key.txt");
    std::fs::write(&keys, SECRET).expect("written");
    for (format, readers) in [Format::Flac, Format::Opus(Packets::Encoded)]
        .into_iter()
        .flat_map(|format| readers.clone().map(|readers| (format, readers)))
    {
        let is_encrypted = !readers.is_empty();
        let path = dir.path(&format!("{is_encrypted}.{}", format.extension()));
        let sides = record_for(&path, 8, format, readers, None);
        let (intact, said) = verdict(&path, &key(1));
        assert!(intact, "{format:?}: {said}");
        assert_eq!(said["silenced"][0]["proven"], !is_encrypted);
        let mut plain = path.clone();
        if is_encrypted {
            plain = dir.path(&format!("plain.{}", format.extension()));
            let words = [
                "export",
                text(&path),
                text(&plain),
                "--identity",
                text(&keys),
            ];
            assert!(!sidetone(&words[..3]).status.success(), "without the key");
            let said = sidetone(&words);
            assert!(said.status.success(), "{said:?}");
        } else {
            let heard = by_ffmpeg(&growing(&path)).map(|it| it.len() / 2);
            let heard = heard.unwrap_or(5 * 8_000);
            assert!(
                (4 * 8_000..=5 * 8_000).contains(&heard),
                "{format:?}: {heard}"
            );
        }
        let sox = match format {
            Format::Flac => by_sox(&plain),
            _ => None,
        };
        for samples in [by_ffmpeg(&plain), sox].into_iter().flatten() {
            let length = samples.len() / 2;
            let off = length.abs_diff(8_000 * SECONDS as usize);
            assert!(off <= 2, "{format:?} {is_encrypted}: {length}");
            for (channel, side) in sides.iter().enumerate() {
                let heard: Vec<i16> = samples.iter().skip(channel).step_by(2).copied().collect();
                if format == Format::Flac {
                    assert!(heard == *side, "not without loss");
                    continue;
                }
                let alike = |late: &usize| likeness(side, &heard, *late);
                let place = (0..40).max_by(|a, b| alike(a).total_cmp(&alike(b)));
                let place = place.expect("a place");
                assert!(place <= 8 && alike(&place) > 0.9, "{place}");
                let masked = &heard[3 * 8_000 + 400..4 * 8_000 - 400];
                assert!(masked.iter().all(|s| s.unsigned_abs() < 100), "not silent");
            }
        }
        let mut altered = std::fs::read(&path).expect("a file");
        let middle = altered.len() / 2;
        altered[middle] ^= 1;
        std::fs::write(&path, altered).expect("written");
        let (intact, said) = verdict(&path, &key(1));
        assert!(!intact && found(&said)[0].0 == "altered", "{said}");
    }
}

/// A key pair that age-keygen made.
const SECRET: &str = "AGE-SECRET-KEY-1GCCGTZ0MYV0LG8WAFD79FGC4Y4SG5W0TQZCLPWJRK3RJ25ZGZMRQTRJ5Q5";
const ANOTHER: &str = "AGE-SECRET-KEY-10YMRUQVAQ004E6E2X4F4N8RGM2QWJL9Q69K3945QS0KHM8M6UTVQ2N3ACL";

/// What a program makes of its input, or `None` where there is no such program.
fn piped(dir: &Dir, words: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let path = dir.path("input");
    std::fs::write(&path, input).expect("written");
    let input = std::fs::File::open(&path).expect("a file");
    let mut command = Command::new(words[0]);
    let Ok(output) = command.args(&words[1..]).stdin(input).output() else {
        let missing = format!("skipped: there is no {} to decrypt with\n", words[0]);
        // Where standard error is closed nobody reads it.
        let _ = std::io::stderr().write_all(missing.as_bytes());
        return None;
    };
    assert!(output.status.success(), "{words:?}: {output:?}");
    Some(output.stdout)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn an_encrypted_recording_is_read_by_age_and_openssl_and_by_nobody_else() {
    let dir = Dir::new("encrypted");
    let (path, clear) = (dir.path("a.wav"), dir.path("clear.wav"));
    let reader = Identity::parse(SECRET).expect("a key");
    let other = Identity::parse(ANOTHER).expect("a key");
    let readers = [&other, &reader].map(|it| it.recipient().expect("a key"));
    record(&clear, 6, Encoding::Pcm16);
    record_for(
        &path,
        6,
        Format::Wav(Encoding::Pcm16),
        readers.to_vec(),
        None,
    );
    let plain = std::fs::read(&clear).expect("a file");
    let stored = std::fs::read(&path).expect("a file");
    let record = std::fs::read_to_string(format!("{}.seal", text(&path))).expect("a record");
    let keys = dir.path("key.txt");
    std::fs::write(&keys, format!("# a reader\n{SECRET}\n")).expect("written");

    // Without the key it is proven to be what was recorded, and nothing of it is seen.
    let (intact, said) = verdict(&path, &key(1));
    assert!(intact && said["contents"] == "encrypted", "{said}");
    assert_eq!(said["silenced"][0]["proven"], false);
    assert!(!record.contains("card"));
    assert!(stored.windows(64).all(|part| {
        // Anything that sounds would do; this is the loudest second's beginning.
        part != &plain[Header::LEN + 40_000..][..64]
    }));
    // With it all of it is.
    let public = hex(key(1).public());
    let named = format!("branch-7={public}");
    let identity = text(&keys);
    let words = [
        "verify",
        text(&path),
        "--key",
        &named,
        "--json",
        "--identity",
        identity,
    ];
    let said = sidetone(&words);
    assert!(said.status.success(), "{said:?}");
    let said: Value = serde_json::from_slice(&said.stdout).expect("what it says");
    assert_eq!(said["contents"], "decrypted");
    assert_eq!(said["silenced"][0]["reason"], "card");
    assert_eq!(said["silenced"][0]["proven"], true);

    let out = dir.path("back.wav");
    let said = sidetone(&["export", text(&path), text(&out), "--identity", identity]);
    assert!(said.status.success(), "{said:?}");
    assert!(
        std::fs::read(&out).expect("a file") == plain,
        "not what was recorded"
    );
    let said = sidetone(&["export", text(&path), text(&dir.path("none.flac"))]);
    assert!(!said.status.success(), "exported without the key");

    // The same by other programs alone.
    let envelope = record
        .split(" age=")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let envelope = piped(
        &dir,
        &["base64", "-d"],
        envelope.expect("an envelope").as_bytes(),
    );
    let opened = envelope.and_then(|file| piped(&dir, &["age", "-d", "-i", identity], &file));
    let Some(data_key) = opened else { return };
    assert_eq!(data_key.len(), 32);
    let (data_key, zero) = (hex(&data_key), "0".repeat(32));
    let words = [
        "openssl",
        "enc",
        "-d",
        "-aes-256-ctr",
        "-K",
        &data_key,
        "-iv",
        &zero,
    ];
    if let Some(samples) = piped(&dir, &words, &stored[Header::LEN..]) {
        assert!(
            samples == plain[Header::LEN..],
            "openssl reads something else"
        );
    }
}

#[test]
fn a_recording_is_deleted_when_its_time_has_come_and_not_before() {
    let dir = Dir::new("deleted");
    // PKCS #8 (RFC 8410) around a seed.
    let mut document = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    document.extend([1; 32]);
    let signer = dir.path("key.der");
    std::fs::write(&signer, document).expect("written");
    let named = format!("branch-7={}", hex(key(1).public()));
    let sign = format!("branch-7={}", text(&signer));
    let delete = |path: &Path| {
        let words = ["delete", text(path), "--reason", "time is over"];
        sidetone(&[&words[..], &["--key", &named, "--sign", &sign]].concat())
    };
    let (old, new) = (dir.path("old.wav"), dir.path("new.wav"));
    for (path, until) in [(&old, 1_000), (&new, u64::MAX)] {
        let label = Label {
            name: "five years".into(),
            not_before: WallTime::from_unix_nanos(until),
        };
        record_for(
            path,
            7,
            Format::Wav(Encoding::Pcm16),
            Vec::new(),
            Some(label),
        );
    }
    let kept = delete(&new);
    assert_eq!(kept.status.code(), Some(1), "{kept:?}");
    assert!(verdict(&new, &key(1)).0);
    let gone = delete(&old);
    assert!(gone.status.success(), "{gone:?}");
    assert!(!old.exists() && !PathBuf::from(format!("{}.seal", text(&old))).exists());
    let proof = dir.path("old.wav.deleted");
    let said = sidetone(&["verify", text(&proof), "--key", &named]);
    assert!(said.status.success(), "{said:?}");
    let words = String::from_utf8(said.stdout).expect("text");
    assert!(
        words.contains("time is over") && words.contains("five years"),
        "{words}"
    );
    let forged = std::fs::read_to_string(&proof)
        .expect("a proof")
        .replace("time", "crime");
    std::fs::write(&proof, forged).expect("written");
    assert!(
        !sidetone(&["verify", text(&proof), "--key", &named])
            .status
            .success()
    );
}

#[test]
fn a_stamp_by_openssl_is_verified_and_that_of_another_recording_is_not() {
    let dir = Dir::new("stamped");
    let (path, other) = (dir.path("a.wav"), dir.path("b.wav"));
    record(&path, 1, Encoding::Pcm16);
    record(&other, 2, Encoding::Pcm16);
    let openssl = |words: &str| {
        let mut command = Command::new("openssl");
        let done = command.args(words.split(' ')).current_dir(&dir.0).output();
        let done = done.expect("openssl");
        let told = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{told}");
    };
    let settings = "[req]\ndistinguished_name = dn\n[dn]\n[stamps]\n\
        extendedKeyUsage = critical, timeStamping\n[tsa]\ndefault_tsa = main\n[main]\nserial = serial\n\
        signer_digest = sha256\ndefault_policy = 1.2.3.4.1\ndigests = sha256\ness_cert_id_alg = sha256\n";
    std::fs::write(dir.path("settings"), settings).expect("a file");
    std::fs::write(dir.path("serial"), "01\n").expect("a file");
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config settings";
    for name in ["root", "stranger"] {
        openssl(&format!(
            "req -x509 {new} -keyout {name}.key -out {name}.pem -subj /CN={name} -addext basicConstraints=critical,CA:TRUE"
        ));
    }
    openssl(&format!(
        "req {new} -keyout clock.key -out clock.csr -subj /CN=Clock"
    ));
    openssl(
        "x509 -req -in clock.csr -CA root.pem -CAkey root.key -set_serial 2 -extfile settings \
         -extensions stamps -out clock.pem",
    );
    assert!(sidetone(&["stamp", text(&path)]).status.success());
    openssl(
        "ts -reply -config settings -section main -queryfile a.wav.seal.tsq -signer clock.pem \
         -inkey clock.key -out answer.tsr",
    );
    let (root, stranger) = (dir.path("root.pem"), dir.path("stranger.pem"));
    let answer = dir.path("answer.tsr");
    let put = |audio: &Path, authority: &Path| {
        let (answer, authority) = (text(&answer), text(authority));
        let words = [
            "stamp",
            text(audio),
            "--answer",
            answer,
            "--authority",
            authority,
        ];
        sidetone(&words).status.code()
    };
    assert_eq!(put(&path, &stranger), Some(1));
    assert_eq!(put(&other, &root), Some(1), "a stamp of another recording");
    let public: String = key(1).public().iter().map(|b| format!("{b:02x}")).collect();
    let named = format!("branch-7={public}");
    let verify = |authority: &Path| {
        let (path, authority) = (text(&path), text(authority));
        let said = sidetone(&[
            "verify",
            path,
            "--key",
            &named,
            "--authority",
            authority,
            "--json",
        ]);
        let json: Value = serde_json::from_slice(&said.stdout).expect("what it says");
        (said.status.success(), json["stamp"].clone())
    };
    let (proven, stamp) = verify(&root);
    assert!(!proven && stamp["worth"] == "missing", "{stamp}");
    assert_eq!(put(&path, &root), Some(0));
    let (proven, stamp) = verify(&root);
    assert!(proven && stamp["worth"] == "valid", "{stamp}");
    assert_eq!(stamp["authority"], "CN=Clock");
    assert!(stamp["unix_nanos"].as_u64() > Some(1_700_000_000_000_000_000));
    let (proven, stamp) = verify(&stranger);
    assert!(!proven && stamp["worth"] == "wrong", "{stamp}");
    // Without an authority it is named only, and the signature is as good as before.
    let (intact, said) = verdict(&path, &key(1));
    assert!(intact && said["stamp"]["worth"] == "by an unknown authority");
    let mut altered = std::fs::read(&answer).expect("a stamp");
    let at = altered.len() - 20;
    altered[at] ^= 1;
    std::fs::write(dir.path("a.wav.seal.tsr"), altered).expect("a file");
    let (proven, stamp) = verify(&root);
    assert!(!proven && stamp["worth"] == "wrong", "{stamp}");
}

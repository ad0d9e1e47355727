//! Recording processes killed at random moments, on the real file system: what is left of their recordings.

use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use sidetone::media::frame::Frame;
use sidetone::media::recorder::Tap;
use sidetone::media::recorder::crypt::age::{Identity, Recipient};
use sidetone::media::recorder::disk::Disk;
use sidetone::media::recorder::export::clear;
use sidetone::media::recorder::journal::JournalConfig;
use sidetone::media::recorder::recovery::recover;
use sidetone::media::recorder::scribe::seal_path;
use sidetone::media::recorder::track::Track;
use sidetone::media::recorder::verify::{Reading, data_key, verify_as};
use sidetone::net::disk::FileSystem;
use sidetone::net::storage::{StorageConfig, StorageThread};
use sidetone::rng::Rng;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use crate::spool::{Killed, RATE, Spool, key, open, public, start};

const CALLS: u64 = 4;
/// Processes at once, and how often so many are killed.
const PROCESSES: u64 = 10;
const ROUNDS: u64 = 4;
/// The byte that says that a frame has been recorded.
const FRAME: u8 = 1;
const SPOOL: &str = "SIDETONE_KILLED_SPOOL";
const TEST: &str = "killed::a_process_killed_at_any_moment_loses_at_most_a_second";
/// Set where recordings are encrypted.
const ENCRYPTED: &str = "SIDETONE_KILLED_ENCRYPTED";

/// Who can read what is encrypted.
fn reader() -> Identity {
    Identity::parse("AGE-SECRET-KEY-1GCCGTZ0MYV0LG8WAFD79FGC4Y4SG5W0TQZCLPWJRK3RJ25ZGZMRQTRJ5Q5")
        .expect("a key")
}

fn recipients() -> Vec<Recipient> {
    let is_encrypted = std::env::var_os(ENCRYPTED).is_some();
    let reader = is_encrypted.then(|| reader().recipient().expect("a key"));
    reader.into_iter().collect()
}

/// Each call is recorded in a file of another kind.
fn path(spool: &Path, number: u64) -> PathBuf {
    let ending = match number % 3 {
        0 => "wav",
        1 => "flac",
        _ => "opus",
    };
    spool.join(format!("{number}.{ending}"))
}

/// What runs in the process that is killed: calls that are recorded, until the end.
///
/// After each frame it says so.
async fn record(spool: &Path) {
    let config = StorageConfig {
        journal: Some(JournalConfig {
            segment_bytes: 200_000,
            ..JournalConfig::new(spool.join("journal"))
        }),
        key: Some(key()),
        ..StorageConfig::default()
    };
    let (mut thread, _) = StorageThread::start(config, &Arc::new(Notify::new())).expect("threads");
    let mut taps: Vec<Tap> = (0..CALLS)
        .map(|number| {
            let (tap, open) = open(number, &path(spool, number), recipients());
            assert!(thread.send(open).is_ok());
            tap
        })
        .collect();
    let mut rng = Rng::new(1);
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    // Where the machine is busy, time passes more slowly here: nothing is made up for.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut progress = std::io::stdout();
    for n in 0.. {
        tick.tick().await;
        for tap in &mut taps {
            for track in Track::STEREO {
                let sound: Vec<i16> = (0..160).map(|_| rng.next_u32() as i16).collect();
                tap.push(track, n * 160, &Frame::from_samples(RATE, &sound));
            }
            tap.extend_to(n as u64 * 160 + 160);
        }
        progress.write_all(&[FRAME]).expect("a reader");
        progress.flush().expect("a reader");
    }
}

/// A process that records, in a directory of its own.
fn begin(name: &str, is_encrypted: bool) -> (Spool, Killed) {
    let spool = Spool::new(name);
    let encrypted = is_encrypted.then_some((ENCRYPTED, Path::new("yes")));
    let environment = [Some((SPOOL, spool.0.as_path())), encrypted];
    let environment: Vec<_> = environment.into_iter().flatten().collect();
    let killed = start(TEST, &environment);
    (spool, killed)
}

/// Kills a process when it has recorded so many frames; returns how many it has said in all.
fn kill(mut killed: Killed, frames: u64) -> u64 {
    let said = killed.0.stdout.take().expect("a pipe");
    let mut said = BufReader::new(said).bytes();
    let mut count = 0;
    while count < frames {
        let byte = said.next().expect("it ended by itself").expect("a pipe");
        count += u64::from(byte == FRAME);
    }
    drop(killed);
    count + said.filter(|byte| matches!(byte, Ok(FRAME))).count() as u64
}

#[tokio::test]
async fn a_process_killed_at_any_moment_loses_at_most_a_second() {
    if let Some(spool) = std::env::var_os(SPOOL) {
        return record(Path::new(&spool)).await;
    }
    let seed = u64::from(std::process::id());
    let mut rng = Rng::new(seed);
    let mut worst = Duration::ZERO;
    for round in 0..ROUNDS {
        let name = |n| format!("killed-{round}-{n}");
        let mut running: Vec<_> = (0..PROCESSES)
            .map(|n| (rng.below(120), n % 2 == 1, begin(&name(n), n % 2 == 1)))
            .collect();
        running.sort_by_key(|(frames, ..)| *frames);
        for (frames, is_encrypted, (spool, killed)) in running {
            let frames = kill(killed, frames);
            worst = worst.max(check(&spool.0, frames, is_encrypted, seed));
        }
    }
    assert!(
        worst <= Duration::from_secs(1),
        "seed {seed}: {worst:?} lost"
    );
}

/// Whether ordinary programs play a file, and for how long.
fn play(path: &Path, length: Duration) {
    if length.is_zero() {
        // Killed before anything was due to be written.
        return;
    }
    let file = path.to_str().expect("a name");
    let seconds = |words: &[&str]| {
        let Ok(output) = Command::new(words[0]).args(&words[1..]).output() else {
            let missing = format!("skipped: there is no {} to play {file}\n", words[0]);
            // Where standard error is closed nobody reads it.
            let _ = std::io::stderr().write_all(missing.as_bytes());
            return None;
        };
        assert!(output.status.success(), "{words:?}: {output:?}");
        let text = String::from_utf8(output.stdout).expect("a number");
        Some(text.trim().parse::<f64>().expect("seconds"))
    };
    // Debian's sox has no Opus.
    let sox = (!file.ends_with(".opus")).then(|| seconds(&["soxi", "-D", file]));
    for length_of in [
        sox.flatten(),
        seconds(&[
            "ffprobe",
            "-v",
            "error",
            "-of",
            "csv=p=0",
            "-show_entries",
            "format=duration",
            file,
        ]),
    ] {
        let off = length_of.map_or(0.0, |s| (s - length.as_secs_f64()).abs());
        assert!(off < 0.01, "{file}: {length_of:?} s for {length:?}");
    }
}

/// A copy of a recording that is not encrypted.
fn decrypt(path: &Path, record: &[u8]) -> PathBuf {
    let ending = path.extension().and_then(|it| it.to_str());
    let plain = path.with_extension(format!("plain.{}", ending.expect("an ending")));
    let key = data_key(record, &reader()).expect("a key");
    let audio = std::fs::File::open(path).expect("a recording");
    let out = std::fs::File::create(&plain).expect("a file");
    clear::write(audio, Some(&key), out).expect("a recording, and a disk");
    plain
}

/// Recovers what was left, twice, and returns the most that a call has lost.
fn check(spool: &Path, frames: u64, is_encrypted: bool, seed: u64) -> Duration {
    let journal = spool.join("journal");
    for _ in 0..2 {
        let recovery = recover(&FileSystem, &journal, Some(&key())).expect("a journal");
        for recovered in recovery.recordings {
            assert!(recovered.outcome.is_ok(), "seed {seed}: {recovered:?}");
        }
    }
    assert!(FileSystem.list(&journal).expect("a directory").is_empty());
    let talked = Duration::from_millis(20) * frames as u32;
    let mut lost = Duration::ZERO;
    for number in 0..CALLS {
        let path = path(spool, number);
        if talked <= Duration::from_secs(1) && !path.exists() {
            continue;
        }
        let record = std::fs::read(seal_path(&path)).unwrap_or_default();
        if talked <= Duration::from_secs(1) && !record.ends_with(b"\n") {
            continue;
        }
        let mut audio = std::fs::File::open(&path).expect("a recording");
        let keys = &[public()];
        let reader = reader();
        let verdict = verify_as(&mut audio, &record, keys, Some(&reader)).expect("readable");
        if talked > Duration::from_secs(1) {
            assert!(
                verdict.is_intact(),
                "seed {seed}: {path:?}: {:?}",
                verdict.findings
            );
            let reading = match is_encrypted {
                true => Reading::Decrypted,
                false => Reading::Clear,
            };
            assert_eq!(verdict.reading, reading, "seed {seed}: {path:?}");
        }
        let length = verdict.time_of(verdict.samples);
        match is_encrypted && !length.is_zero() {
            true => play(&decrypt(&path, &record), length),
            false => play(&path, length),
        }
        lost = lost.max(talked.saturating_sub(verdict.time_of(verdict.samples)));
    }
    lost
}

//! What tests of recordings on the real file system share: a directory of their own, recordings, and this program
//! started once more to be killed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use sidetone::id::RecordingId;
use sidetone::media::frame::{Frame, SampleRate};
use sidetone::media::recorder::crypt::age::Recipient;
use sidetone::media::recorder::digest::Digest;
use sidetone::media::recorder::layout::{Format, Packets};
use sidetone::media::recorder::seal::SigningKey;
use sidetone::media::recorder::storage::{Sealing, StorageCommand, StorageEvent};
use sidetone::media::recorder::track::{Track, Tracks};
use sidetone::media::recorder::verify::VerifyingKey;
use sidetone::media::recorder::{DEFAULT_QUEUE, Tap, recording};
use sidetone::media::wav::Encoding;
use sidetone::net::storage::StorageThread;
use sidetone::time::{Duration, WallTime};
use sidetone_opus::codec::Opus;
use tokio::sync::Notify;

pub(crate) const RATE: SampleRate = SampleRate::HZ_8000;

/// The key that signs.
pub(crate) fn key() -> SigningKey {
    SigningKey::from_seed("spool", &[3; 32]).expect("a key")
}

/// Its other half.
pub(crate) fn public() -> VerifyingKey {
    VerifyingKey {
        id: "spool".into(),
        bytes: key().public().try_into().expect("32 bytes"),
    }
}

/// A directory of its own for one test, removed at its end.
pub(crate) struct Spool(pub(crate) PathBuf);

impl Spool {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sidetone-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A sealed recording of two tracks, in the format that its name says, and what asks for it.
pub(crate) fn open(number: u64, path: &Path, recipients: Vec<Recipient>) -> (Tap, StorageCommand) {
    let (tap, feed) = recording(RATE, DEFAULT_QUEUE);
    let open = StorageCommand::Open {
        recording: RecordingId(number),
        path: path.to_owned(),
        tracks: Tracks::STEREO,
        format: match path.extension().and_then(|it| it.to_str()) {
            Some("flac") => Format::Flac,
            Some("opus") => Format::Opus(Packets::Encoded),
            _ => Format::Wav(Encoding::Pcm16),
        },
        opus: Some(Arc::new(Opus::new())),
        sealing: Some(Box::new(Sealing {
            digest: Digest::Sha256,
            id: number.into(),
            started: WallTime::default(),
            label: None,
            recipients,
            key: Some(key()),
        })),
        feed: Box::new(feed),
    };
    (tap, open)
}

/// Speaks on both tracks; returns how many frames were dropped.
pub(crate) fn speak(tap: &mut Tap, frames: std::ops::Range<i64>) -> u32 {
    let mut dropped = 0;
    for n in frames {
        for track in Track::STEREO {
            let frame = Frame::from_samples(RATE, &[n as i16; 160]);
            dropped += u32::from(!tap.push(track, n * 160, &frame));
        }
        tap.extend_to(n as u64 * 160 + 160);
    }
    dropped
}

/// Waits until such an event has come.
pub(crate) async fn hear(
    thread: &mut StorageThread,
    bell: &Notify,
    wanted: impl Fn(&StorageEvent) -> bool,
) {
    let mut heard = Vec::new();
    loop {
        while let Some(event) = thread.poll_event() {
            if wanted(&event) {
                return;
            }
            heard.push(event);
        }
        let patience = tokio::time::timeout(Duration::from_secs(20), bell.notified());
        assert!(patience.await.is_ok(), "not heard; {heard:?}");
    }
}

/// A process that is killed at the end, if not before.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// This program once more, running only `test`, which finds these in its environment; its standard output is read.
pub(crate) fn start(test: &str, environment: &[(&str, &Path)]) -> Killed {
    let this = std::env::current_exe().expect("this program");
    let child = Command::new(this)
        .args([test, "--exact"])
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    Killed(child.expect("a child"))
}

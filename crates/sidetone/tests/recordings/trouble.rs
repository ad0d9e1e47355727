//! Recordings on a real file system that is full, read-only, removed, or full of traps. The disk is a small tmpfs in a
//! mount namespace of its own; where none can be made that is said aloud.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use sidetone::media::recorder::Tap;
use sidetone::media::recorder::disk::Disk;
use sidetone::media::recorder::journal::JournalConfig;
use sidetone::media::recorder::scribe::seal_path;
use sidetone::media::recorder::storage::{StorageError, StorageEvent};
use sidetone::media::recorder::verify::{Cause, verify};
use sidetone::net::disk::FileSystem;
use sidetone::net::storage::{StorageConfig, StorageThread};
use tokio::sync::Notify;

use crate::spool::{Spool, key, open, public, speak};

const SPOOL: &str = "SIDETONE_TROUBLE_SPOOL";

/// Storage threads, and what they say.
struct Desk {
    thread: StorageThread,
    bell: Arc<Notify>,
    events: Vec<StorageEvent>,
}

impl Desk {
    fn start(journal: Option<PathBuf>, least_free: u64) -> Self {
        let config = StorageConfig {
            journal: journal.map(JournalConfig::new),
            key: Some(key()),
            least_free,
            ..StorageConfig::default()
        };
        let bell = Arc::new(Notify::new());
        let (thread, _) = StorageThread::start(config, &bell).expect("threads");
        let events = Vec::new();
        Self {
            thread,
            bell,
            events,
        }
    }

    fn record(&mut self, number: u64, path: &Path) -> Tap {
        let (tap, open) = open(number, path, Vec::new());
        assert!(self.thread.send(open).is_ok());
        tap
    }

    /// Waits until something has been said that is asked for.
    async fn hear(&mut self, wanted: impl Fn(&StorageEvent) -> bool) -> StorageEvent {
        loop {
            while let Some(event) = self.thread.poll_event() {
                self.events.push(event);
            }
            if let Some(place) = self.events.iter().position(&wanted) {
                return self.events.remove(place);
            }
            let patience = tokio::time::timeout(Duration::from_secs(20), self.bell.notified());
            assert!(patience.await.is_ok(), "not heard; {:?}", self.events);
        }
    }
}

fn number(event: &StorageEvent) -> Option<u64> {
    match event {
        StorageEvent::Opened { recording }
        | StorageEvent::Failed { recording, .. }
        | StorageEvent::Closed { recording, .. } => Some(recording.0),
        _ => None,
    }
}

/// Runs a test of this name again in a namespace with a tmpfs of this size mounted on a directory.
fn on_small_disk(name: &str, bytes: u32) {
    let spool = Spool::new(name);
    let this = std::env::current_exe().expect("this program");
    let (this, place) = (this.display(), spool.0.display());
    let script = format!(
        "mount -t tmpfs -o size={bytes} tmpfs '{place}' || exit 77; {SPOOL}='{place}' exec '{this}' --exact trouble::{name}"
    );
    let run = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .output();
    match run {
        Ok(output) if output.status.success() => {}
        Ok(output) if output.status.code() != Some(77) && !output.stdout.is_empty() => {
            panic!("{}", String::from_utf8_lossy(&output.stdout));
        }
        cannot => {
            let missing = format!("skipped {name}: no tmpfs can be mounted here: {cannot:?}\n");
            // Where standard error is closed nobody reads it.
            let _ = std::io::stderr().write_all(missing.as_bytes());
        }
    }
}

#[tokio::test]
async fn a_disk_that_is_full_or_read_only_is_told_of() {
    let Some(spool) = std::env::var_os(SPOOL).map(PathBuf::from) else {
        return on_small_disk("a_disk_that_is_full_or_read_only_is_told_of", 400_000);
    };
    let mut desk = Desk::start(Some(spool.join("journal")), 0);
    let path = spool.join("a.wav");
    let mut tap = desk.record(1, &path);
    desk.hear(|e| matches!(e, StorageEvent::Opened { .. }))
        .await;
    // 640 bytes a frame, and as many in the journal: the disk is full after some six seconds.
    let mut n = 0;
    let failed = loop {
        speak(&mut tap, n..n + 20);
        n += 20;
        tokio::time::timeout(Duration::from_millis(100), desk.bell.notified())
            .await
            .ok();
        while let Some(event) = desk.thread.poll_event() {
            desk.events.push(event);
        }
        let failed = |e: &StorageEvent| matches!(e, StorageEvent::Failed { .. });
        if let Some(place) = desk.events.iter().position(failed) {
            break desk.events.remove(place);
        }
        assert!(n < 3_000, "never full: {:?}", desk.events);
    };
    let StorageEvent::Failed { error, .. } = failed else {
        panic!()
    };
    let is_full = matches!(error, StorageError::Write { kind, .. } if kind == std::io::ErrorKind::StorageFull);
    assert!(is_full, "{error:?}");
    drop(tap);
    // What was written is a recording that ends there, or lacks its record's end where there was no room for it.
    let record = std::fs::read(seal_path(&path)).expect("a record");
    let mut audio = std::fs::File::open(&path).expect("a file");
    let verdict = verify(&mut audio, &record, &[public()]).expect("readable");
    assert!(verdict.samples > 8_000, "{verdict:?}");
    assert!(verdict.cause != Some(Cause::Closed), "{verdict:?}");
    drop(desk.thread.stop());

    drop(audio);
    std::fs::remove_file(&path).expect("a file");
    let place = spool.display().to_string();
    let remounted = Command::new("mount")
        .args(["-o", "remount,ro", &place])
        .status();
    assert!(remounted.expect("mount").success());
    let mut desk = Desk::start(None, 0);
    let _tap = desk.record(2, &spool.join("b.wav"));
    let failed = desk.hear(|e| number(e) == Some(2)).await;
    let StorageEvent::Failed { error, .. } = failed else {
        panic!("{failed:?}")
    };
    let is_read_only = matches!(error, StorageError::Create { kind, .. } if kind == std::io::ErrorKind::ReadOnlyFilesystem);
    assert!(is_read_only, "{error:?}");
}

#[tokio::test]
async fn little_room_refuses_new_recordings_and_says_so() {
    let spool = Spool::new("room");
    let free = FileSystem
        .free(&spool.0.join("not/there/yet"))
        .expect("a file system");
    assert!(free > 0);
    let mut desk = Desk::start(None, u64::MAX);
    let _tap = desk.record(1, &spool.0.join("a.wav"));
    let failed = desk.hear(|e| number(e) == Some(1)).await;
    let error = StorageError::LowSpace { free: 0 };
    let StorageEvent::Failed { error: said, .. } = failed else {
        panic!("{failed:?}")
    };
    assert_eq!(
        std::mem::discriminant(&said),
        std::mem::discriminant(&error)
    );
    desk.hear(|e| matches!(e, StorageEvent::LowSpace { .. }))
        .await;
    assert!(!spool.0.join("a.wav").exists());
}

#[tokio::test]
async fn a_directory_that_is_removed_ends_its_recordings_and_no_others() {
    let spool = Spool::new("removed");
    let mut desk = Desk::start(None, 0);
    let mut gone = desk.record(1, &spool.0.join("gone/a.wav"));
    let mut stays = desk.record(2, &spool.0.join("stays/b.wav"));
    for n in [1, 2] {
        desk.hear(|e| number(e) == Some(n)).await;
    }
    speak(&mut gone, 0..20);
    speak(&mut stays, 0..20);
    std::fs::remove_dir_all(spool.0.join("gone")).expect("a directory");
    drop((gone, stays));
    let failed = desk.hear(|e| number(e) == Some(1)).await;
    assert!(matches!(failed, StorageEvent::Failed { .. }), "{failed:?}");
    let closed = desk.hear(|e| number(e) == Some(2)).await;
    assert!(matches!(closed, StorageEvent::Closed { .. }), "{closed:?}");
}

#[tokio::test]
async fn links_in_the_spool_are_not_followed() {
    let spool = Spool::new("links");
    let outside = Spool::new("outside");
    let target = outside.0.join("passwd");
    std::fs::write(&target, b"root").expect("written");
    let (audio, seal) = (spool.0.join("a.wav"), spool.0.join("b.wav"));
    std::os::unix::fs::symlink(&target, &audio).expect("a link");
    std::os::unix::fs::symlink(outside.0.join("new"), seal_path(&seal)).expect("a link");
    let mut desk = Desk::start(None, 0);
    let _taps = [desk.record(1, &audio), desk.record(2, &seal)];
    for n in [1, 2] {
        let failed = desk.hear(|e| number(e) == Some(n)).await;
        assert!(matches!(failed, StorageEvent::Failed { .. }), "{failed:?}");
    }
    assert_eq!(std::fs::read(&target).expect("a file"), b"root");
    assert!(!outside.0.join("new").exists());
}

//! Recordings whose time comes, in virtual time, with a disk that stops at every call.

use std::cell::Cell;
use std::rc::Rc;

use super::*;
use crate::media::recorder::journal::JournalConfig;
use crate::media::recorder::lab::{File, Forgetful, JOURNAL, Office, key, public};
use crate::media::recorder::retention::{proof_path, verify_deletion};
use crate::media::recorder::verify::Signature;
use crate::media::wav::Encoding;
use crate::rng::Rng;

/// A disk that serves so many calls and then none.
struct Mortal<'a>(&'a Forgetful, Rc<Cell<u32>>);

impl Mortal<'_> {
    fn call(&self) -> io::Result<()> {
        let left = self.1.get().checked_sub(1);
        self.1.set(left.ok_or_else(|| io::Error::other("dead"))?);
        Ok(())
    }
}

impl Disk for Mortal<'_> {
    type File = File;

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.0.resolve(path)
    }
    fn create(&self, path: &Path) -> io::Result<File> {
        self.call()?;
        self.0.create(path)
    }
    fn open(&self, path: &Path) -> io::Result<File> {
        self.call()?;
        self.0.open(path)
    }
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        self.call()?;
        self.0.list(directory)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call()?;
        self.0.remove(path)
    }
    fn free(&self, directory: &Path) -> io::Result<u64> {
        self.0.free(directory)
    }
    fn draw(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.0.draw(bytes)
    }
    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.call()?;
        self.0.sync_directory(directory)
    }
}

const HOUR: u64 = 3_600;
/// Five years, in seconds.
const DUE: u64 = 5 * 31_557_600;

fn at(seconds: u64) -> WallTime {
    WallTime::from_unix_nanos(seconds * 1_000_000_000)
}

fn config() -> ExpiryConfig {
    ExpiryConfig::new("due")
}

/// A complete recording with or without a label, on a disk.
fn recorded(label: Option<u64>) -> (Forgetful, PathBuf) {
    let disk = Forgetful::default();
    let mut office = Office::new(disk.clone(), 3, JournalConfig::new(JOURNAL), 1);
    office.label = label.map(|until| Label {
        name: "mifid-5y".into(),
        not_before: at(until),
    });
    office.record(Encoding::Pcm16);
    office.run(100);
    office.hang_up(0);
    office.run(50);
    (disk, office.calls[0].path.clone())
}

/// Whether a recording lies on a disk; an error unless all of it does, or a good proof that it was deleted in time.
fn is_kept(disk: &Forgetful, audio: &Path, now: u64) -> bool {
    let proof = disk.read(proof_path(audio));
    let proof = proof.and_then(|it| verify_deletion(&it, &[public()]));
    let is_proven = proof
        .is_some_and(|it| matches!(it.signature, Signature::Valid { .. }) && it.deleted >= at(DUE));
    let is_whole = disk.read(audio).is_some() && disk.read(seal_path(audio)).is_some();
    assert!(is_whole || is_proven, "neither the recording nor its proof");
    assert!(is_whole || now >= DUE, "deleted too early");
    is_whole
}

#[test]
fn a_recording_goes_when_its_time_has_come_and_not_an_hour_before() {
    let (disk, audio) = recorded(Some(DUE));
    enqueue(&disk, &config(), &audio).expect("a ticket");
    // Twice is once.
    enqueue(&disk, &config(), &audio).expect("a ticket");
    for now in (0..DUE).step_by(1_000 * HOUR as usize).chain([DUE - 1]) {
        assert!(due(&disk, &config(), at(now)).expect("a queue").is_empty());
        assert!(is_kept(&disk, &audio, now));
    }
    let tickets = due(&disk, &config(), at(DUE)).expect("a queue");
    assert_eq!(tickets.len(), 1);
    let done = attend(&disk, &config(), &key(), &tickets[0], at(DUE)).expect("a disk");
    assert_eq!(
        done,
        Some(Expired {
            audio: audio.clone()
        })
    );
    assert!(!is_kept(&disk, &audio, DUE));
    assert!(disk.list(Path::new("due")).expect("a queue").is_empty());
}

#[test]
fn a_ticket_that_lies_about_the_date_deletes_nothing() {
    let (disk, audio) = recorded(Some(DUE));
    enqueue(&disk, &config(), &audio).expect("a ticket");
    let true_one = disk.list(Path::new("due")).expect("a queue").remove(0);
    let line = disk.read(&true_one).expect("a ticket");
    let early = PathBuf::from("due/00000000001-early.due");
    rewrite(&disk, &early, &line).expect("a file");
    let tickets = due(&disk, &config(), at(HOUR)).expect("a queue");
    assert_eq!(tickets, [early]);
    let done = attend(&disk, &config(), &key(), &tickets[0], at(HOUR)).expect("a disk");
    assert_eq!(done, None);
    assert!(is_kept(&disk, &audio, HOUR));
    // The one that waits is the true one.
    assert_eq!(disk.list(Path::new("due")).expect("a queue"), [true_one]);
}

#[test]
fn what_has_no_label_or_no_proven_one_stays() {
    let (disk, audio) = recorded(None);
    enqueue(&disk, &config(), &audio).expect("nothing to do");
    assert!(disk.list(Path::new("due")).expect("a queue").is_empty());

    let (disk, audio) = recorded(Some(DUE));
    enqueue(&disk, &config(), &audio).expect("a ticket");
    let tickets = due(&disk, &config(), at(DUE)).expect("a queue");
    let other = SigningKey::from_seed("other", &[9; 32]).expect("a key");
    let told = attend(&disk, &config(), &other, &tickets[0], at(DUE));
    assert!(matches!(told, Err(ExpiryError::Gone(_))));
    assert!(is_kept(&disk, &audio, DUE));
    assert!(due(&disk, &config(), at(DUE)).expect("a queue").is_empty());
    let aside = disk.list(Path::new("due")).expect("a queue");
    assert!(aside[0].extension().is_some_and(|it| it == "gone"));

    // A key of earlier years is believed where it is named.
    let mut config = config();
    config.known = vec![public()];
    enqueue(&disk, &config, &audio).expect("a ticket");
    let tickets = due(&disk, &config, at(DUE)).expect("a queue");
    let done = attend(&disk, &config, &other, &tickets[0], at(DUE));
    assert!(done.expect("a disk").is_some());
}

#[test]
fn a_kill_at_any_call_leaves_the_recording_or_its_proof_and_the_next_engine_goes_on() {
    let mut rng = Rng::new(5);
    for calls in 0.. {
        let (disk, audio) = recorded(Some(DUE));
        enqueue(&disk, &config(), &audio).expect("a ticket");
        let ticket = disk.list(Path::new("due")).expect("a queue").remove(0);
        let mortal = Mortal(&disk, Rc::new(Cell::new(calls)));
        let done = attend(&mortal, &config(), &key(), &ticket, at(DUE));
        disk.crash(&mut rng);
        is_kept(&disk, &audio, DUE);
        for ticket in due(&disk, &config(), at(DUE)).expect("a queue") {
            let done = attend(&disk, &config(), &key(), &ticket, at(DUE + HOUR));
            assert!(done.expect("a disk").is_some(), "after {calls} calls");
        }
        assert!(!is_kept(&disk, &audio, DUE), "after {calls} calls");
        if done.is_ok() {
            assert!(calls > 8, "only {calls} calls");
            return;
        }
    }
}

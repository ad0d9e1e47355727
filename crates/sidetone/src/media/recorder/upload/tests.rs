//! Uploads on a disk that forgets and to a store that fails, killed at every step.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::backoff::{Backoff, PAUSES};
use super::clerk::{attend, enqueue, forget_removed, known, settle, waiting};
use super::ticket::Ticket;
use super::*;
use crate::media::recorder::disk::{Disk, DiskFile};
use crate::media::recorder::lab::Forgetful;
use crate::rng::Rng;
use crate::time::Duration;

/// A store in memory, which dies or fails at the calls that it is told to.
#[derive(Debug, Default)]
struct Shelf(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    calls: u64,
    /// At which call something happens, and whether after the call was served.
    trouble: Option<(u64, bool)>,
    uploads: BTreeMap<String, BTreeMap<usize, Vec<u8>>>,
    begun: u64,
    objects: BTreeMap<String, Vec<u8>>,
    /// How often each object was made.
    made: BTreeMap<String, u32>,
}

const DEAD: &str = "dead";

impl Shelf {
    fn call<T>(
        &self,
        work: impl FnOnce(&mut Inner) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut inner = self.0.lock().expect("alive");
        inner.calls += 1;
        let died = inner.trouble.filter(|(at, _)| *at == inner.calls);
        match died {
            Some((_, false)) => Err(StoreError::Failed(DEAD.into())),
            Some((_, true)) => {
                let _served = work(&mut inner);
                Err(StoreError::Failed(DEAD.into()))
            }
            None => work(&mut inner),
        }
    }
}

impl Store for Shelf {
    fn begin(&self, key: &str) -> Result<String, StoreError> {
        self.call(|inner| {
            inner.begun += 1;
            let name = format!("{key} #{}", inner.begun);
            inner.uploads.insert(name.clone(), BTreeMap::new());
            Ok(name)
        })
    }

    fn put(&self, _key: &str, upload: &str, part: Part<'_>) -> Result<String, StoreError> {
        self.call(|inner| {
            let parts = inner.uploads.get_mut(upload).ok_or(StoreError::Unknown)?;
            parts.insert(part.index, part.bytes.to_vec());
            Ok(format!("tag {}", part.index))
        })
    }

    fn complete(&self, key: &str, upload: &str, tags: &[String]) -> Result<(), StoreError> {
        self.call(|inner| {
            let parts = inner.uploads.remove(upload).ok_or(StoreError::Unknown)?;
            assert_eq!(parts.len(), tags.len());
            let object = parts.into_values().flatten().collect();
            inner.objects.insert(key.to_owned(), object);
            *inner.made.entry(key.to_owned()).or_default() += 1;
            Ok(())
        })
    }

    fn length(&self, key: &str) -> Result<Option<u64>, StoreError> {
        self.call(|inner| Ok(inner.objects.get(key).map(|object| object.len() as u64)))
    }
}

fn config() -> UploadConfig {
    UploadConfig {
        part: 100,
        prefix: "calls/".into(),
        ..UploadConfig::new("queue", "spool")
    }
}

fn write(disk: &Forgetful, path: &str, bytes: &[u8]) {
    let mut file = disk.create(Path::new(path)).expect("a file");
    file.write_at(0, bytes).expect("memory");
    file.sync().expect("memory");
    disk.sync_directory(Path::new(path).parent().expect("one"))
        .expect("memory");
}

fn spool(rng: &mut Rng) -> (Forgetful, Vec<u8>) {
    let disk = Forgetful::default();
    let sound: Vec<u8> = (0..1_234).map(|_| rng.next_u32() as u8).collect();
    write(&disk, "spool/7/a.wav", &sound);
    write(&disk, "spool/7/a.wav.seal", b"record\n");
    enqueue(&disk, &config(), Path::new("spool/7/a.wav"), true).expect("a ticket");
    (disk, sound)
}

/// Works on whatever waits, as an engine does after its start.
fn work(disk: &Forgetful, config: &UploadConfig, store: &Shelf) -> Result<(), UploadError> {
    for ticket in waiting(disk, config).expect("a directory") {
        attend(disk, config, store, &ticket, &|| false)?;
        settle(disk, config, &ticket)?;
    }
    Ok(())
}

#[test]
fn a_kill_at_any_call_leaves_one_whole_object() {
    let mut rng = Rng::new(1);
    // Each call of an upload without trouble, before it was served and after.
    for trouble in 1.. {
        for served in [false, true] {
            let (disk, sound) = spool(&mut rng);
            let store = Shelf::default();
            store.0.lock().expect("alive").trouble = Some((trouble, served));
            let died = work(&disk, &config(), &store).is_err();
            disk.crash(&mut rng);
            work(&disk, &config(), &store).expect("no more trouble");
            let inner = store.0.lock().expect("alive");
            assert_eq!(inner.objects["calls/7/a.wav"], sound, "call {trouble}");
            assert_eq!(inner.objects["calls/7/a.wav.seal"], b"record\n");
            assert!(inner.made.values().all(|made| *made == 1), "call {trouble}");
            assert!(waiting(&disk, &config()).expect("a directory").is_empty());
            // 18 without trouble; one call is made again at most, and one asks what became of it.
            assert!(inner.calls <= 21, "call {trouble}: {}", inner.calls);
            if trouble > 18 {
                assert!(!died, "call {trouble}");
                return;
            }
        }
    }
}

#[test]
fn power_losses_again_and_again_end_in_one_whole_object() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let (disk, sound) = spool(&mut rng);
        let store = Shelf::default();
        let mut config = config();
        config.after = After::Remove;
        let mut tries = 0;
        while !waiting(&disk, &config).expect("a directory").is_empty() {
            tries += 1;
            assert!(tries < 500, "seed {seed}: no end");
            let at = store.0.lock().expect("alive").calls + 1 + rng.below(6);
            store.0.lock().expect("alive").trouble = Some((at, rng.below(2) == 0));
            let _dead = work(&disk, &config, &store);
            disk.crash(&mut rng);
        }
        let inner = store.0.lock().expect("alive");
        assert_eq!(inner.objects["calls/7/a.wav"], sound, "seed {seed}");
        assert_eq!(disk.read("spool/7/a.wav"), None, "seed {seed}");
        assert_eq!(disk.read("spool/7/a.wav.seal"), None, "seed {seed}");
        // Whatever a journal says, it is complete.
        let audio = PathBuf::from("spool/7/a.wav");
        assert!(known(&disk, &config).expect("a directory").contains(&audio));
        forget_removed(&disk, &config).expect("a directory");
        assert!(known(&disk, &config).expect("a directory").is_empty());
    }
}

#[test]
fn an_upload_that_the_store_has_forgotten_begins_again() {
    let (disk, sound) = spool(&mut Rng::new(2));
    let store = Shelf::default();
    store.0.lock().expect("alive").trouble = Some((5, false));
    assert!(work(&disk, &config(), &store).is_err());
    store.0.lock().expect("alive").uploads.clear();
    work(&disk, &config(), &store).expect("uploaded");
    let inner = store.0.lock().expect("alive");
    assert_eq!(inner.objects["calls/7/a.wav"], sound);
}

#[test]
fn what_is_gone_is_set_aside() {
    let (disk, _) = spool(&mut Rng::new(3));
    disk.remove(Path::new("spool/7/a.wav")).expect("a file");
    let store = Shelf::default();
    let outcome = work(&disk, &config(), &store);
    assert!(matches!(outcome, Err(UploadError::Gone)), "{outcome:?}");
    assert!(waiting(&disk, &config()).expect("a directory").is_empty());
    assert!(store.0.lock().expect("alive").objects.is_empty());
}

#[test]
fn names_are_keys_below_the_prefix() {
    let config = config();
    let key = |path: &str| config.key_of(Path::new(path));
    assert_eq!(key("spool/7/a.wav").as_deref(), Some("calls/7/a.wav"));
    assert_eq!(key("elsewhere/7/a.wav").as_deref(), Some("calls/a.wav"));
    assert_eq!(key("spool/../a.wav"), None);
    assert_eq!(key(".."), None);
    for wrong in ["", "/a", "a//b", "a/../b", "a/.", "a\\b", "a\0"] {
        assert!(!is_key(wrong), "{wrong:?}");
    }
    let paths = ["spool/1/a.wav", "spool/2/a.wav"].map(PathBuf::from);
    let disk = Forgetful::default();
    for path in &paths {
        enqueue(&disk, &config, path, false).expect("a ticket");
        enqueue(&disk, &config, path, false).expect("the same");
    }
    assert_eq!(waiting(&disk, &config).expect("a directory").len(), 2);
}

#[test]
fn any_text_is_a_ticket_or_none() {
    let (disk, _) = spool(&mut Rng::new(4));
    let ticket = waiting(&disk, &config()).expect("a directory").remove(0);
    let text = disk.read(&ticket).expect("a ticket");
    assert!(Ticket::parse(&text).is_some());
    let mut rng = Rng::new(5);
    for _ in 0..2_000 {
        let mut text = text.clone();
        text.extend(b"begin object=0 bytes=9 upload=x\npart object=0 n=0 tag=y\ndone object=1\n");
        for _ in 0..=rng.below(4) {
            let at = rng.below(text.len() as u64) as usize;
            text[at] = rng.next_u32() as u8;
        }
        // It may be one or not, and must not panic.
        let _read = Ticket::parse(&text);
    }
    assert_eq!(Ticket::parse(b"sidetone-upload 1 audio=a"), None);
}

#[test]
fn pauses_grow_up_to_a_bound_and_begin_anew() {
    let mut backoff = Backoff::new(Rng::new(1));
    let pauses: Vec<_> = (0..12).map(|_| backoff.fail()).collect();
    assert!(pauses[0] <= PAUSES.0 && pauses[0] >= PAUSES.0 / 2);
    assert!(pauses[11] <= PAUSES.1 && pauses[11] >= PAUSES.1 / 2);
    backoff.reset();
    assert!(backoff.fail() <= Duration::from_secs(1));
}

//! Uploading processes killed at random moments, on the real file system: the object arrives whole, once.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sidetone::media::recorder::storage::{StorageEvent, UploadNews};
use sidetone::media::recorder::upload::clerk::{enqueue, waiting};
use sidetone::media::recorder::upload::ticket::Ticket;
use sidetone::media::recorder::upload::{After, Upload, UploadConfig};
use sidetone::net::disk::FileSystem;
use sidetone::net::storage::{StorageConfig, StorageThread};
use sidetone::net::store::DirectoryStore;
use sidetone::rng::Rng;
use tokio::sync::Notify;

use crate::spool::{Spool, start};

const SPOOL: &str = "SIDETONE_UPLOADED_SPOOL";
const TEST: &str = "uploaded::a_process_killed_in_the_midst_of_an_upload_goes_on_with_it";
/// Parts of the recording.
const PARTS: usize = 400;

fn upload(spool: &Path) -> Upload {
    let mut config = UploadConfig::new(spool.join("queue"), spool.join("calls"));
    config.part = 10_000;
    config.workers = 2;
    config.after = After::Remove;
    let store = Arc::new(DirectoryStore::new(spool.join("archive")));
    Upload { config, store }
}

/// What runs in the process that is killed; it says so when it has begun, and when it is done.
async fn run(spool: &Path) {
    let config = StorageConfig {
        upload: Some(upload(spool)),
        ..StorageConfig::default()
    };
    let notify = Arc::new(Notify::new());
    let (mut thread, _) = StorageThread::start(config, &notify).expect("threads");
    let mut progress = std::io::stdout();
    progress.write_all(&[1]).expect("a reader");
    progress.flush().expect("a reader");
    loop {
        notify.notified().await;
        while let Some(event) = thread.poll_event() {
            if let StorageEvent::Upload(UploadNews::Done(_)) = event {
                return;
            }
        }
    }
}

/// Parts that the store has of a recording whose ticket waits; `None` where none does.
fn parts(config: &UploadConfig) -> Option<usize> {
    let ticket = waiting(&FileSystem, config).expect("a directory").pop()?;
    // It may go at any moment.
    let ticket = Ticket::parse(&std::fs::read(ticket).ok()?)?;
    Some(ticket.objects[0].tags.len())
}

#[tokio::test]
async fn a_process_killed_in_the_midst_of_an_upload_goes_on_with_it() {
    if let Some(spool) = std::env::var_os(SPOOL) {
        return run(Path::new(&spool)).await;
    }
    let seed = u64::from(std::process::id());
    let mut rng = Rng::new(seed);
    let spool = Spool::new("uploaded");
    let calls = spool.0.join("calls/7");
    std::fs::create_dir_all(&calls).expect("a directory");
    let audio = calls.join("a.wav");
    let sound: Vec<u8> = (0..PARTS * 10_000).map(|_| rng.next_u32() as u8).collect();
    std::fs::write(&audio, &sound).expect("a file");
    std::fs::write(calls.join("a.wav.seal"), b"record\n").expect("a file");
    let config = upload(&spool.0).config;
    enqueue(&FileSystem, &config, &audio, true).expect("a ticket");
    let mut midst = 0;
    for _ in 0..12 {
        let mut child = start(TEST, &[(SPOOL, &spool.0)]);
        let mut said = child.0.stdout.take().expect("a pipe");
        // The harness says something first.
        let mut byte = [0];
        while byte[0] != 1 && said.read(&mut byte).expect("a pipe") > 0 {}
        let before = parts(&config);
        // Killed some parts later.
        let until = before.unwrap_or(PARTS) + 1 + rng.below(12) as usize;
        let mut tick = tokio::time::interval(Duration::from_micros(200));
        while parts(&config).is_some_and(|now| now < until.min(PARTS)) {
            tick.tick().await;
        }
        drop(child);
        midst += u32::from(parts(&config).is_some_and(|now| (1..PARTS).contains(&now)));
    }
    assert!(midst >= 3, "seed {seed}: {midst} kills in the midst");
    let mut last = start(TEST, &[(SPOOL, &spool.0)]);
    let status = last.0.wait().expect("a child");
    assert!(
        status.success() || parts(&config).is_none(),
        "seed {seed}: {status}"
    );
    let archive = spool.0.join("archive/7");
    assert!(
        std::fs::read(archive.join("a.wav")).expect("an object") == sound,
        "seed {seed}"
    );
    assert_eq!(
        std::fs::read(archive.join("a.wav.seal")).expect("an object"),
        b"record\n"
    );
    // One that was killed as it began may have left an empty part.
    let names = std::fs::read_dir(&archive).expect("a directory");
    let names = names.map(|entry| entry.expect("an entry").path());
    let objects = names.filter(|path| path.extension().is_none_or(|it| it != "part"));
    assert_eq!(objects.count(), 2, "seed {seed}: something else is left");
    assert!(
        !audio.exists()
            && waiting(&FileSystem, &config)
                .expect("a directory")
                .is_empty()
    );
}

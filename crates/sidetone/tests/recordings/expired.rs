//! Recordings that are uploaded and, when their time is over, deleted with a proof, while store and engine fail meanwhile.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use sidetone::media::recorder::expiry::{ExpiryConfig, due};
use sidetone::media::recorder::retention::{Label, proof_path, verify_deletion};
use sidetone::media::recorder::scribe::seal_path;
use sidetone::media::recorder::storage::{News, StorageCommand, StorageEvent};
use sidetone::media::recorder::upload::{Upload, UploadConfig};
use sidetone::media::recorder::verify::Signature;
use sidetone::net::disk::FileSystem;
use sidetone::net::storage::{StorageConfig, StorageThread};
use sidetone::net::store::DirectoryStore;
use sidetone::time::{Duration, WallTime};
use tokio::sync::Notify;

use crate::spool::{Spool, hear, key, open, public, speak};

fn start(spool: &Path, bell: &Arc<Notify>) -> StorageThread {
    let mut expiry = ExpiryConfig::new(spool.join("due"));
    expiry.look = Duration::from_millis(20);
    let config = StorageConfig {
        key: Some(key()),
        expiry: Some(expiry),
        upload: Some(Upload {
            config: UploadConfig::new(spool.join("queue"), spool.join("calls")),
            store: Arc::new(DirectoryStore::new(spool.join("archive"))),
        }),
        ..StorageConfig::default()
    };
    StorageThread::start(config, bell).expect("threads").0
}

fn record(thread: &mut StorageThread, number: u64, audio: &Path, not_before: WallTime) {
    let (mut tap, mut command) = open(number, audio, Vec::new());
    if let StorageCommand::Open {
        sealing: Some(sealing),
        ..
    } = &mut command
    {
        let name = "rule".to_owned();
        sealing.label = Some(Label { name, not_before });
    }
    assert!(thread.send(command).is_ok());
    speak(&mut tap, 0..40);
}

#[tokio::test]
async fn what_is_over_is_deleted_when_the_store_has_it_and_what_is_not_stays() {
    let spool = Spool::new("expired");
    let bell = Arc::new(Notify::new());
    let (over, kept) = (spool.path("calls/over.wav"), spool.path("calls/kept.wav"));
    // A file where the store's directory should be: it fails.
    std::fs::write(spool.path("archive"), b"").expect("a file");
    let mut thread = start(&spool.0, &bell);
    record(&mut thread, 1, &over, WallTime::from_unix_nanos(1));
    let far = WallTime::from_unix_nanos(10_000_000_000_000_000_000);
    record(&mut thread, 2, &kept, far);
    hear(&mut thread, &bell, |event| {
        matches!(event, StorageEvent::Upload(News::Fails { .. }))
    })
    .await;
    // Its time is over, but nobody else has it yet.
    assert!(over.exists() && seal_path(&over).exists());
    drop(thread.stop());
    std::fs::remove_file(spool.path("archive")).expect("a file");
    let record = std::fs::read(seal_path(&over)).expect("a record");

    let mut thread = start(&spool.0, &bell);
    let (gone, there) = (Cell::new(false), Cell::new(false));
    hear(&mut thread, &bell, |event| {
        match event {
            StorageEvent::Expiry(News::Done(it)) if it.audio == over => gone.set(true),
            StorageEvent::Upload(News::Done(it)) if it.audio == kept => there.set(true),
            _ => {}
        }
        gone.get() && there.get()
    })
    .await;
    drop(thread.stop());
    assert!(!over.exists() && !seal_path(&over).exists());
    let proof = std::fs::read(proof_path(&over)).expect("a proof");
    let deletion = verify_deletion(&proof, &[public()]).expect("a proof");
    assert!(matches!(deletion.signature, Signature::Valid { .. }));
    let there = std::fs::read(seal_path(&spool.path("archive/over.wav")));
    assert_eq!(there.expect("an object"), record);
    assert!(kept.exists() && seal_path(&kept).exists());
    let config = ExpiryConfig::new(spool.path("due"));
    assert_eq!(due(&FileSystem, &config, far).expect("a queue").len(), 1);
}

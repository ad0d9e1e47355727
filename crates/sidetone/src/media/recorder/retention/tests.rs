//! Recordings that must be kept, and those that may go.

use super::super::journal::JournalConfig;
use super::super::lab::{Forgetful, JOURNAL, Office, key, public};
use super::*;
use crate::media::recorder::disk::DiskFile;
use crate::media::wav::Encoding;

/// A recording that must be kept until the second 5,000.
fn kept() -> (Forgetful, PathBuf) {
    let disk = Forgetful::default();
    let mut office = Office::new(disk.clone(), 3, JournalConfig::new(JOURNAL), 1);
    office.label = Some(Label {
        name: "keep 5 years".into(),
        not_before: at(5_000),
    });
    office.record(Encoding::Pcm16);
    office.run(100);
    office.hang_up(0);
    office.run(50);
    (disk, office.calls[0].path.clone())
}

fn at(seconds: u64) -> WallTime {
    WallTime::from_unix_nanos(seconds * 1_000_000_000)
}

#[test]
fn what_must_be_kept_is_not_deleted_and_what_may_go_leaves_a_proof() {
    let (disk, path) = kept();
    let known = [public()];
    let before = disk.read(&path);
    let early = delete(&disk, &path, at(4_999), "asked for", &key(), &known);
    assert!(matches!(early, Err(DeletionError::Kept { label }) if label.not_before == at(5_000)));
    assert_eq!(disk.read(&path), before);
    assert!(disk.read(proof_path(&path)).is_none());

    let record = disk.read(seal_path(&path)).expect("a record");
    delete(&disk, &path, at(5_000), "time is over", &key(), &known).expect("deleted");
    assert!(disk.read(&path).is_none() && disk.read(seal_path(&path)).is_none());
    let proof = disk.read(proof_path(&path)).expect("a proof");
    let deletion = verify_deletion(&proof, &known).expect("a proof");
    assert!(matches!(deletion.signature, Signature::Valid { .. }));
    assert_eq!(deletion.reason, "time is over");
    assert_eq!(
        (deletion.deleted, deletion.record),
        (at(5_000), hash(&record))
    );
    assert_eq!(deletion.label.expect("a label").name, "keep 5 years");
    for at in 0..proof.len() {
        let mut altered = proof.clone();
        altered[at] ^= 1;
        let verdict = verify_deletion(&altered, &known).map(|it| it.signature);
        assert!(
            !matches!(verdict, Some(Signature::Valid { .. })),
            "byte {at}"
        );
    }
    // It is gone.
    let again = delete(&disk, &path, at(6_000), "", &key(), &known);
    assert!(matches!(again, Err(DeletionError::Unproven)));
}

#[test]
fn a_label_that_is_not_proven_deletes_nothing() {
    let (disk, path) = kept();
    let seal = seal_path(&path);
    let record = disk.read(&seal).expect("a record");
    let text = String::from_utf8(record.clone()).expect("text");
    let earlier = text.replace("until=5000", "until=1000").into_bytes();
    assert_ne!(earlier, record);
    let half = record[..record.len() / 2].to_vec();
    let unsigned = &text[..text.rfind("signature").expect("a signature")];
    for forged in [earlier, half, unsigned.as_bytes().to_vec(), Vec::new()] {
        let mut file = disk.open(&seal).expect("a record");
        file.truncate(0).expect("memory");
        file.write_at(0, &forged).expect("memory");
        let deleted = delete(&disk, &path, at(9_000), "", &key(), &[public()]);
        assert!(matches!(deleted, Err(DeletionError::Unproven)));
        assert!(disk.read(&path).is_some());
    }
    let mut file = disk.open(&seal).expect("a record");
    file.truncate(0).expect("memory");
    file.write_at(0, &record).expect("memory");
    let unknown = delete(&disk, &path, at(9_000), "", &key(), &[]);
    assert!(matches!(unknown, Err(DeletionError::Unproven)));
    // One that was interrupted before its record was removed goes on.
    disk.remove(&path).expect("a file");
    disk.create(&proof_path(&path)).expect("a proof");
    delete(&disk, &path, at(9_000), "", &key(), &[public()]).expect("deleted");
    let proof = disk.read(proof_path(&path)).expect("a proof");
    let deletion = verify_deletion(&proof, &[public()]).expect("a proof");
    assert!(deletion.deleted > deletion.started);
    assert!(disk.read(&seal).is_none());
}

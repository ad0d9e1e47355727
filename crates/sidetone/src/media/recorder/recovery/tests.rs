//! Power failures at any moment, and what is left of recordings after them.

use std::path::Path;

use super::super::journal::{JournalConfig, versioned_header};
use super::super::lab::{Forgetful, JOURNAL, Office, RATE, judge, key};
use super::super::verify::{Cause, Reading};
use super::*;
use crate::media::codec::g711::Law;
use crate::media::recorder::layout::Format;
use crate::media::recorder::storage::StorageEvent;
use crate::media::wav::{Clip, Encoding};
use crate::rng::Rng;

const A_LAW: Format = Format::Wav(Encoding::G711(Law::A));
const MOST_MISSING: Duration = Duration::from_secs(1);

fn small() -> JournalConfig {
    JournalConfig {
        segment_bytes: 40_000,
        most_bytes: 200_000,
        ..JournalConfig::new(JOURNAL)
    }
}

#[test]
fn a_power_failure_at_any_moment_costs_at_most_a_second() {
    let mut cut = 0;
    for seed in 0..120 {
        let mut rng = Rng::new(seed);
        let disk = Forgetful::default();
        let mut office = Office::new(disk.clone(), seed, small(), 1);
        for n in 0..3 {
            office.record_as([Format::Wav(Encoding::Pcm16), A_LAW, Format::Flac][n]);
            office.run(rng.below(60));
        }
        if rng.below(2) == 0 {
            office.hang_up(0);
        }
        office.run(rng.below(200));
        let calls: Vec<_> = office
            .calls
            .iter()
            .map(|c| (c.path.clone(), c.frames))
            .collect();
        drop(office);
        disk.crash(&mut rng);
        // Recovery itself may be interrupted.
        if rng.below(2) == 0 {
            recover(&disk, Path::new(JOURNAL), Some(&key())).expect("a journal");
            disk.crash(&mut rng);
        }
        let recovery = recover(&disk, Path::new(JOURNAL), Some(&key())).expect("a journal");
        for recovered in &recovery.recordings {
            assert!(recovered.outcome.is_ok(), "seed {seed}: {recovered:?}");
        }
        assert_eq!(disk.journal_bytes(), 0, "seed {seed}");
        for (path, frames) in calls {
            let talked = Duration::from_millis(20) * frames as u32;
            if talked <= MOST_MISSING {
                continue;
            }
            let verdict = judge(&disk, &path);
            assert!(
                verdict.is_intact(),
                "seed {seed}: {path:?} {:?}",
                verdict.findings
            );
            cut += u32::from(verdict.cause == Some(Cause::Cut));
            let kept = verdict.time_of(verdict.samples);
            assert!(
                talked - kept <= MOST_MISSING,
                "seed {seed}: {kept:?} of {talked:?}"
            );
            let opening = verdict.opening.expect("a record");
            if verdict.reading == Reading::Decrypted || opening.layout.format.is_paged() {
                continue;
            }
            let clip = Clip::read(&disk.read(&path).expect("a file"), RATE).expect("playable");
            assert_eq!(clip.duration(), kept, "seed {seed}");
        }
    }
    assert!(cut > 100, "{cut} were cut");
}

#[test]
fn a_journal_of_another_version_is_refused_and_kept() {
    let disk = Forgetful::default();
    let mut office = Office::new(disk.clone(), 5, small(), 1);
    office.record(Encoding::Pcm16);
    office.run(100);
    drop(office);
    disk.crash(&mut Rng::new(5));
    let kept = disk.journal_bytes();
    let first = disk
        .list(Path::new(JOURNAL))
        .expect("a directory")
        .remove(0);
    let number = segment_number(&first).expect("a number");
    let newer = versioned_header(2, number, number);
    let mut segment = disk.open(&first).expect("a segment");
    segment.write_at(0, &newer).expect("room");
    let refused = recover(&disk, Path::new(JOURNAL), Some(&key())).map(|_| ());
    let refused = refused.expect_err("another version");
    assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
    assert_eq!(disk.journal_bytes(), kept);
    let ours = versioned_header(1, number, number);
    segment.write_at(0, &ours).expect("room");
    let recovery = recover(&disk, Path::new(JOURNAL), Some(&key())).expect("a journal");
    assert_eq!(recovery.recordings.len(), 1);
    assert_eq!(disk.journal_bytes(), 0);
}

#[test]
fn what_is_closed_is_left_alone_and_its_journal_goes() {
    let disk = Forgetful::default();
    let mut office = Office::new(disk.clone(), 4, small(), 1);
    office.record(Encoding::Pcm16);
    office.record(Encoding::Pcm16);
    office.run(2_000);
    // A long call does not keep the journal: its file is synced on the way.
    assert!(disk.journal_bytes() < 400_000, "{}", disk.journal_bytes());
    office.hang_up(0);
    office.hang_up(1);
    office.run(100);
    let closed = |e: &StorageEvent| matches!(e, StorageEvent::Closed { .. });
    assert_eq!(office.events().iter().filter(|e| closed(e)).count(), 2);
    let paths: Vec<_> = office.calls.iter().map(|c| c.path.clone()).collect();
    let before: Vec<_> = paths.iter().map(|p| disk.read(p)).collect();
    assert!(disk.journal_bytes() < 120_000);
    let recovery = recover(&disk, Path::new(JOURNAL), None).expect("a journal");
    assert!(recovery.recordings.is_empty(), "{:?}", recovery.recordings);
    for (path, before) in paths.iter().zip(before) {
        assert_eq!(disk.read(path), before);
        let verdict = judge(&disk, path);
        assert!(verdict.is_intact(), "{:?}", verdict.findings);
        assert_eq!(verdict.cause, Some(Cause::Closed));
        assert_eq!(verdict.time_of(verdict.samples), Duration::from_secs(40));
    }
}

#[test]
fn a_journal_of_garbage_recovers_what_it_can() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let disk = Forgetful::default();
        let mut office = Office::new(disk.clone(), seed, small(), 1);
        office.record(Encoding::Pcm16);
        office.run(60);
        drop(office);
        let paths = disk.list(Path::new(JOURNAL)).expect("a directory");
        let mut file = disk.open(&paths[0]).expect("a segment");
        let length = file.length().expect("a length");
        for _ in 0..=rng.below(4) {
            file.write_at(rng.below(length), &[rng.next_u32() as u8])
                .expect("memory");
        }
        file.truncate(rng.below(length)).expect("memory");
        // It may find nothing, but it never breaks.
        recover(&disk, Path::new(JOURNAL), None).expect("a journal");
    }
}

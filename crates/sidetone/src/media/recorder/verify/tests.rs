//! Tampering of every kind, each found.

use std::io::Cursor;

use super::super::journal::JournalConfig;
use super::super::lab::{Forgetful, JOURNAL, Office, judge, public};
use super::super::note::Note;
use super::super::scribe::seal_path;
use super::*;
use crate::media::wav::{Encoding, Header};
use crate::rng::Rng;

const SECOND: usize = 8_000 * 4;

/// A finished recording of ten seconds and a half: its file and its record.
fn recorded(seed: u64) -> (Vec<u8>, Vec<u8>) {
    recorded_by(seed, Digest::Sha256)
}

fn recorded_by(seed: u64, digest: Digest) -> (Vec<u8>, Vec<u8>) {
    let disk = Forgetful::default();
    let mut office = Office::new(disk.clone(), seed, JournalConfig::new(JOURNAL), 1);
    office.digest = digest;
    office.record(Encoding::Pcm16);
    office.run(100);
    let note = |office: &mut Office, note| {
        let call = &mut office.calls[0];
        let at = call.frames * 160;
        call.tap
            .as_mut()
            .expect("open")
            .note(at, note)
            .expect("room");
    };
    note(&mut office, Note::Masked("card number".into()));
    office.run(75);
    note(&mut office, Note::Unmasked);
    note(&mut office, Note::Digit);
    office.run(350);
    office.hang_up(0);
    office.run(50);
    let path = office.calls[0].path.clone();
    let verdict = judge(&disk, &path);
    assert!(verdict.is_intact(), "{:?}", verdict.findings);
    assert_eq!(verdict.cause, Some(Cause::Closed));
    assert_eq!(
        verdict.silenced,
        [Silenced {
            reason: Some("card number".into()),
            samples: 16_000..28_000,
            is_proven: true,
        }]
    );
    let files = (disk.read(&path), disk.read(seal_path(&path)));
    (files.0.expect("a file"), files.1.expect("a record"))
}

fn judged(audio: &[u8], seal: &[u8]) -> Verdict {
    verify(&mut Cursor::new(audio), seal, &[public()]).expect("memory")
}

fn chunk(n: usize) -> std::ops::Range<usize> {
    Header::LEN + n * SECOND..Header::LEN + (n + 1) * SECOND
}

fn altered(n: u64) -> Finding {
    Finding::Altered(n * 8_000..(n + 1) * 8_000)
}

#[test]
fn sm3_proves_as_much() {
    let (audio, seal) = recorded_by(1, Digest::Sm3);
    let text = String::from_utf8(seal.clone()).expect("a text");
    assert!(text.contains(" digest=sm3 ") && text.contains(" sm3=") && !text.contains("sha256"));
    let verdict = judged(&audio, &seal);
    assert_eq!(verdict.opening.expect("a record").digest, Digest::Sm3);
    let mut flipped = audio.clone();
    flipped[chunk(4).start + 77] ^= 1;
    assert_eq!(judged(&flipped, &seal).findings, [altered(4)]);
    // Nobody can say that it was the other one.
    for other in ["sha256", "md5"] {
        let other = text.replace("digest=sm3", &format!("digest={other}"));
        assert!(!judged(&audio, other.as_bytes()).findings.is_empty());
    }
}

#[test]
fn each_way_of_tampering_is_found_where_it_was_done() {
    let (audio, seal) = recorded(1);
    let (other, other_seal) = recorded(2);

    let mut flipped = audio.clone();
    flipped[chunk(4).start + 77] ^= 1;
    assert_eq!(judged(&flipped, &seal).findings, [altered(4)]);

    let cut = &audio[..chunk(6).start + 1_000];
    assert_eq!(
        judged(cut, &seal).findings,
        [Finding::Truncated {
            at: 6 * 8_000 + 250
        }]
    );

    let mut swapped = audio.clone();
    let (five, seven) = (audio[chunk(5)].to_vec(), audio[chunk(7)].to_vec());
    swapped[chunk(5)].copy_from_slice(&seven);
    swapped[chunk(7)].copy_from_slice(&five);
    assert_eq!(judged(&swapped, &seal).findings, [altered(5), altered(7)]);

    let spliced = [&audio[..chunk(4).start], &audio[chunk(5).start..]].concat();
    let found = judged(&spliced, &seal).findings;
    assert_eq!(found.first(), Some(&Finding::Altered(4 * 8_000..9 * 8_000)));

    let mut longer = audio.clone();
    longer.extend([1; 4_000]);
    let found = judged(&longer, &seal).findings;
    assert_eq!(found, [Finding::Extended { at: 84_000 }]);

    let mut replayed = audio.clone();
    replayed[chunk(8)].copy_from_slice(&other[chunk(8)]);
    assert_eq!(judged(&replayed, &seal).findings, [altered(8)]);

    // The whole of another recording, under this one's record.
    assert!(!judged(&other, &seal).is_intact());
    assert!(judged(&other, &other_seal).is_intact());

    let mut faster = audio.clone();
    faster[Header::LEN - 34] ^= 1;
    assert_eq!(judged(&faster, &seal).findings, [Finding::Header]);
}

#[test]
fn a_record_that_was_changed_does_not_fit() {
    let (audio, seal) = recorded(1);
    let text = String::from_utf8(seal.clone()).expect("text");
    let lines: Vec<&str> = text.lines().collect();

    // A reason that was other, a note that is gone, lines in another order.
    let found = judged(&audio, text.replace("card%20number", "break").as_bytes()).findings;
    assert!(matches!(found[..], [Finding::Record { .. }]), "{found:?}");
    let gone: String = lines
        .iter()
        .filter(|l| !l.contains("digit"))
        .map(|l| format!("{l}\n"))
        .collect();
    assert!(matches!(
        judged(&audio, gone.as_bytes()).findings[..],
        [Finding::Record { .. }]
    ));
    let mut order = lines.clone();
    order.swap(2, 3);
    assert!(!judged(&audio, (order.join("\n") + "\n").as_bytes()).is_intact());

    // The end cut off both.
    let short = lines[..lines.len() - 2].join("\n") + "\n";
    let verdict = judged(&audio, short.as_bytes());
    assert_eq!(verdict.signature, Signature::Missing);
    assert!(matches!(verdict.findings[..], [Finding::Truncated { .. }]));

    // Another's signature, another's key, none.
    let (_, other) = recorded(2);
    let other = String::from_utf8(other).expect("text");
    let theirs = other.lines().last().expect("a signature");
    let forged = lines[..lines.len() - 1].join("\n") + "\n" + theirs + "\n";
    let key = "branch-7".to_owned();
    let wrong = Signature::Wrong { key: key.clone() };
    assert_eq!(judged(&audio, forged.as_bytes()).signature, wrong);
    let stranger = VerifyingKey {
        bytes: [9; 32],
        ..public()
    };
    let verdict = verify(&mut Cursor::new(&audio), &seal, &[stranger]).expect("memory");
    assert_eq!(verdict.signature, wrong);
    let verdict = verify(&mut Cursor::new(&audio), &seal, &[]).expect("memory");
    assert_eq!(verdict.signature, Signature::Unknown { key });
}

#[test]
fn a_mask_that_hides_nothing_is_no_mask() {
    let (audio, seal) = recorded(1);
    let mut spoken = audio.clone();
    spoken[chunk(2).start + 5] = 1;
    let found = judged(&spoken, &seal);
    assert_eq!(
        found.findings,
        [altered(2), Finding::NotSilent(16_000..28_000)]
    );
    assert!(!found.silenced[0].is_proven);
}

#[test]
fn whatever_is_changed_at_random_is_found() {
    let (audio, seal) = recorded(3);
    let (other, other_seal) = recorded(4);
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let (mut audio, mut seal) = (audio.clone(), seal.clone());
        let (file, theirs) = match rng.below(2) {
            0 => (&mut audio, &other),
            _ => (&mut seal, &other_seal),
        };
        let before = file.clone();
        let at = rng.below(file.len() as u64) as usize;
        let to = rng.below(file.len() as u64) as usize;
        let length = (rng.below(40_000) as usize + 1).min(file.len() - at.max(to));
        match rng.below(6) {
            0 => file[at] ^= 1 << rng.below(8),
            1 => file.truncate(at),
            2 => file.copy_within(at..at + length, to),
            3 => drop(file.drain(at..at + length)),
            4 => file.extend_from_slice(&before[at..at + length]),
            _ => {
                let end = (at + length).min(theirs.len());
                let start = at.min(end);
                file[start..end].copy_from_slice(&theirs[start..end]);
            }
        }
        let is_same = *file == before;
        assert_eq!(judged(&audio, &seal).is_intact(), is_same, "seed {seed}");
    }
}

//! Journals and records of recordings, as a broken disk or a forger leaves them.

use std::io::Cursor;

use rustls::pki_types::CertificateDer;

use crate::media::recorder::crypt::age::{Identity, Recipient, decrypt};
use crate::media::recorder::crypt::cipher::DataKey;
use crate::media::recorder::export::packets::Packets;
use crate::media::recorder::export::source::Source;
use crate::media::recorder::framing;
use crate::media::recorder::journal::Segments;
use crate::media::recorder::name::{MAX_NAME, escape};
use crate::media::recorder::stamp::answer::{Asked, check};
use crate::media::recorder::stamp::clerk::read_ticket;
use crate::media::recorder::stamp::imprint;
use crate::media::recorder::upload::ticket::Ticket;
use crate::media::recorder::verify::verify;

/// Whatever a segment holds, reading it ends, and what is read lies within it.
///
/// # Panics
/// A promise is broken.
pub fn journal(data: &[u8]) {
    let Some(mut entries) = Segments::parse(data) else {
        return;
    };
    let count = entries.by_ref().count();
    assert!(count <= data.len() / 28, "more entries than fit");
}

/// Whatever a record says of whatever file, there is a verdict, and none is signed by nobody.
///
/// # Panics
/// A promise is broken.
pub fn seal(data: &[u8]) {
    let at = data
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(data.len());
    let (record, audio) = data.split_at(at);
    let audio = audio.get(1..).unwrap_or_default();
    let verdict = verify(&mut Cursor::new(audio), record, &[]).expect("memory can be read");
    assert!(!verdict.is_intact(), "intact by no key");
    let name = escape(&String::from_utf8_lossy(record));
    assert!(
        !name.is_empty() && name.len() <= MAX_NAME,
        "a name's length"
    );
    assert!(
        !name.contains(['/', '.', '\\', '\0']),
        "a name that leads elsewhere"
    );
}

/// Whatever a ticket says, it never tells of more than it has, and cut anywhere it tells of less or nothing.
///
/// # Panics
/// Where it does not: a defect.
pub fn ticket(data: &[u8]) {
    let Some(ticket) = Ticket::parse(data) else {
        return;
    };
    assert!(ticket.valid <= data.len() as u64 && ticket.part > 0);
    assert!(matches!(ticket.objects.len(), 1 | 2));
    let valid = data.get(..ticket.valid as usize).unwrap_or_default();
    assert_eq!(Ticket::parse(valid).as_ref(), Some(&ticket));
    let before = valid
        .get(..valid.len().saturating_sub(1))
        .unwrap_or_default();
    if let Some(less) = Ticket::parse(before) {
        assert!(less.valid < ticket.valid);
    }
}

/// Whatever an authority answers, reading it ends, and what is believed is what the seeds' authorities have said.
///
/// # Panics
/// A promise is broken.
pub fn time_stamp(data: &[u8]) {
    let root = CertificateDer::from(&include_bytes!("../../../../fuzz/seeds/time_stamp/root")[..]);
    let digest = imprint(b"a record\n");
    let asked = Asked {
        digest: &digest,
        nonce: None,
        policy: None,
    };
    if let Ok(stamp) = check(data, &asked, &[root]) {
        let moments = [1_795_317_579_135_000_000, 1_795_317_579_000_000_000];
        let moment = stamp.time.as_unix_nanos();
        assert!(moments.contains(&moment), "a stamp that nobody has made");
    }
    if let Some((audio, _)) = read_ticket(data) {
        assert!(audio.as_os_str().len() <= data.len(), "more than it holds");
    }
}

/// Whatever an age file or a recording's header holds, reading it ends, and nothing is read that was not put there.
///
/// # Panics
/// A promise is broken.
pub fn envelope(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let reader = "AGE-SECRET-KEY-1GCCGTZ0MYV0LG8WAFD79FGC4Y4SG5W0TQZCLPWJRK3RJ25ZGZMRQTRJ5Q5";
    let reader = Identity::parse(reader).expect("a key");
    if let Ok(plain) = decrypt(&reader, data) {
        assert!(plain.len() < data.len(), "more than the file holds");
    }
    if let Ok(recipient) = Recipient::parse(&text) {
        assert_eq!(Recipient::parse(&recipient.to_string()), Ok(recipient));
    }
    if let Ok(mut source) = Source::with_key(Cursor::new(data), Some(DataKey::new([1; 32])), None) {
        let mut samples = Vec::new();
        while source.read(1_000, &mut samples).expect("memory") > 0 {}
        assert!(samples.len() <= data.len(), "more than the file holds");
    }
}

/// Whatever a packet of Opus says of itself, it is the same again after a length was put in and taken out; and whatever
/// a file of Ogg Opus says, reading it ends.
///
/// # Panics
/// A promise is broken.
pub fn packets(data: &[u8]) {
    framing::fuzz(data);
    let Ok(mut packets) = Packets::with_key(data, None) else {
        return;
    };
    while packets.read().is_ok_and(|is_there| is_there) {
        assert!(
            packets.count() <= data.len() as u64,
            "more packets than bytes"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::run_seeds;
    use crate::rng::Rng;

    #[test]
    fn seeds_and_what_is_like_them_keep_the_promises() {
        run_seeds("journal", journal);
        run_seeds("seal", seal);
        run_seeds("ticket", ticket);
        run_seeds("envelope", envelope);
        run_seeds("packets", packets);
        run_seeds("time_stamp", time_stamp);
        let seed = include_bytes!("../../../../fuzz/seeds/seal/whole");
        for number in 0..2_000 {
            let mut rng = Rng::new(number);
            let mut data = seed.to_vec();
            for _ in 0..=rng.below(4) {
                let at = rng.below(data.len() as u64) as usize;
                data[at] = b"0 #=9\n\xFFat"[rng.below(9) as usize];
            }
            seal(&data);
        }
    }
}

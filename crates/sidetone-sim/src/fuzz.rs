//! The fuzz target of captures: read, searched for streams, and replayed where that is soon done.

use std::sync::Arc;

use sidetone::media::codec::g711::Law;
use sidetone::media::jitter;
use sidetone::time::Duration;

use crate::capture::Capture;
use crate::replay::machine::{Options, replay};
use crate::replay::streams::find;

/// The longest stream that is replayed; what reads a longer one reads this one too.
const SOON: Duration = Duration::from_secs(10);

/// Any bytes: whatever is read is in order and in bounds, and can be replayed or says why not.
///
/// # Panics
/// Where that does not hold.
pub fn capture(data: &[u8]) {
    let Ok(capture) = Capture::read(data) else {
        return;
    };
    let datagrams = capture.datagrams();
    assert!(datagrams.is_sorted_by_key(|d| d.at));
    let counts = capture.counts();
    assert_eq!(counts.udp + counts.tcp, datagrams.len() as u64);
    let content: usize = datagrams.iter().map(|d| capture.payload(d).len()).sum();
    assert!(content <= data.len());
    let options = Options {
        codecs: vec![Arc::new(Law::A), Arc::new(Law::Mu)],
        formats: Vec::new(),
        jitter: jitter::Config::default(),
        key: None,
    };
    for stream in find(&capture) {
        assert!(stream.first <= stream.last && stream.packets > 0);
        if stream.last - stream.first < SOON {
            let _ = replay(&capture, &stream, &options);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_taken() {
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/capture");
        let files = std::fs::read_dir(seeds).expect("the seeds");
        let mut taken = 0;
        for file in files {
            let bytes = std::fs::read(file.expect("a file").path()).expect("a file's bytes");
            capture(&bytes);
            taken += usize::from(Capture::read(&bytes[..]).is_ok_and(|c| !find(&c).is_empty()));
        }
        assert!(taken >= 3, "each format holds a stream");
    }
}

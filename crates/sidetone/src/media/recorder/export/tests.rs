//! What is exported: its form here; other programs decode it in the tests of the command line.

use std::io::Cursor;

use super::ExportError;
use super::source::Source;
use crate::media::codec::g711::Law;
use crate::media::frame::SampleRate;
use crate::media::wav::{Encoding, Header};

fn recording(encoding: Encoding, channels: u16, samples: &[i16]) -> Vec<u8> {
    let header = Header {
        encoding,
        channels,
        rate: SampleRate::HZ_16000,
    };
    let mut data = Vec::new();
    encoding.encode(samples, &mut data);
    let mut file = header.to_bytes(data.len() as u64).to_vec();
    file.extend(data);
    file
}

#[test]
fn a_recording_is_read_back_whole_and_a_growing_one_to_its_end() {
    let samples: Vec<i16> = (0..3_000).map(|n| (n * 7 % 2_000) as i16 - 1_000).collect();
    for encoding in [
        Encoding::Pcm16,
        Encoding::G711(Law::A),
        Encoding::G711(Law::Mu),
    ] {
        let mut file = recording(encoding, 3, &samples);
        // The header is as of a while ago, and half a sample has been written.
        let old = Header {
            encoding,
            channels: 3,
            rate: SampleRate::HZ_16000,
        };
        file[..Header::LEN].copy_from_slice(&old.to_bytes(600));
        file.push(1);
        let mut source = Source::open(Cursor::new(file)).expect("a recording");
        assert_eq!((source.header(), source.length()), (old, 1_000));
        let mut back = Vec::new();
        assert_eq!(source.read(999, &mut back).expect("memory"), 999);
        assert_eq!(source.read(999, &mut back).expect("memory"), 1);
        assert_eq!(source.read(999, &mut back).expect("memory"), 0);
        assert_eq!(back.len(), 3_000);
        let worst = back.iter().zip(&samples).map(|(a, b)| (a - b).abs()).max();
        assert!(worst <= Some(if encoding == Encoding::Pcm16 { 0 } else { 40 }));
    }
}

#[test]
fn the_stereo_of_many_tracks_has_the_first_left_and_the_sum_of_the_others_right() {
    let file = recording(Encoding::Pcm16, 3, &[1, 20, 300, 2, 30_000, 30_000]);
    let mut source = Source::open(Cursor::new(file))
        .expect("a recording")
        .into_stereo();
    assert_eq!(source.header().channels, 2);
    let mut back = Vec::new();
    assert_eq!(source.read(9, &mut back).expect("memory"), 2);
    assert_eq!(back, [1, 320, 2, i16::MAX]);
}

#[test]
fn what_is_no_recording_is_refused() {
    let whole = recording(Encoding::Pcm16, 2, &[1; 100]);
    let mut other = whole.clone();
    other[8] = b'w';
    let mut none = whole.clone();
    // No channels.
    none[58] = 0;
    for (name, file) in [("short", &whole[..50]), ("other", &other), ("none", &none)] {
        let opened = Source::open(Cursor::new(file.to_vec()));
        assert!(matches!(opened, Err(ExportError::NotRecording)), "{name}");
    }
}

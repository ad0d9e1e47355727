//! Tests: bit for bit what an independent implementation gives, sound, lengths, hostile bytes.

use super::*;

/// The bytes of a signal that visits every level, and the samples that they decode to, as one digest
/// each. Both are those of libg722 (PyPI `G722` 1.2.8), an independent implementation.
const DIGESTS: (u32, u32) = (3_974_794_629, 658_308_188);

/// Noise whose loudness rises and falls between silence and overload, with tones in it.
fn signal(count: usize) -> Vec<i16> {
    let mut seed = 12_345_u32;
    (0..count)
        .map(|n| {
            seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            let noise = (seed >> 16) as i32 - 32_768;
            let level = (n / 400 % 41) as i32;
            let square = if n / (3 + n / 4_000) % 2 == 0 {
                700
            } else {
                -700
            };
            ((noise * level) / 36 + square * level / 2).clamp(-32_768, 32_767) as i16
        })
        .collect()
}

/// FNV-1a.
fn digest(bytes: impl IntoIterator<Item = u8>) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    bytes.into_iter().fold(0x811C_9DC5, step)
}

fn encoded(samples: &[i16]) -> Vec<u8> {
    let mut payload = vec![0; samples.len() / 2];
    let mut encoder = G722Encoder::new();
    // In packets of odd and even lengths: the state is carried over.
    for (samples, payload) in samples.chunks(322).zip(payload.chunks_mut(161)) {
        assert_eq!(encoder.encode(samples, payload), Ok(payload.len()));
    }
    payload
}

fn decoded(payload: &[u8]) -> Vec<i16> {
    let mut samples = vec![0; payload.len() * 2];
    let mut decoder = G722Decoder::new();
    for (payload, samples) in payload.chunks(161).zip(samples.chunks_mut(322)) {
        assert_eq!(decoder.decode(payload, samples), Ok(samples.len()));
    }
    samples
}

#[test]
fn it_gives_the_bits_of_another_implementation() {
    let payload = encoded(&signal(64_000));
    let samples = decoded(&payload);
    let found = (
        digest(payload.iter().copied()),
        digest(samples.iter().flat_map(|s| s.to_le_bytes())),
    );
    assert_eq!(found, DIGESTS);
}

#[test]
fn wide_band_sound_survives() {
    for hz in [200.0, 1_000.0, 3_000.0, 6_000.0] {
        let step = hz * std::f64::consts::TAU / 16_000.0;
        let tone: Vec<i16> = (0..16_000)
            .map(|n| ((f64::from(n) * step).sin() * 8_000.0) as i16)
            .collect();
        let heard = decoded(&encoded(&tone));
        // The two mirror filters delay by 22 samples.
        let (mut error, mut power) = (0.0, 0.0);
        for (sent, heard) in tone[4_000..].iter().zip(&heard[4_022..]) {
            error += (f64::from(*sent) - f64::from(*heard)).powi(2);
            power += f64::from(*sent).powi(2);
        }
        let snr = 10.0 * (power / error).log10();
        assert!(snr > 15.0, "{hz} Hz: {snr:.1} dB");
    }
}

#[test]
fn packets_check_their_lengths() {
    let mut encoder = G722Encoder::new();
    let odd = encoder.encode(&[0; 3], &mut [0; 10]);
    assert_eq!(odd, Err(CodecError::SampleCount(3)));
    let short = encoder.encode(&[0; 320], &mut [0; 159]);
    assert_eq!(short, Err(CodecError::OutputTooSmall { needed: 160 }));
    let mut decoder = G722Decoder::new();
    assert_eq!(
        decoder.decode(&[], &mut [0; 10]),
        Err(CodecError::Malformed)
    );
    let short = decoder.decode(&[0; 2], &mut [0; 3]);
    assert_eq!(short, Err(CodecError::OutputTooSmall { needed: 4 }));
}

#[test]
fn any_bytes_decode_within_bounds_and_settle_again() {
    for pattern in [&[0x00][..], &[0xFF], &[0x3F, 0xC0], &[0x04, 0x84, 0x20]] {
        let hostile: Vec<u8> = pattern.iter().copied().cycle().take(64_000).collect();
        let mut decoder = G722Decoder::new();
        let mut samples = vec![0; 128_000];
        decoder.decode(&hostile, &mut samples).unwrap();
        let quiet = encoded(&[0; 32_000]);
        decoder.decode(&quiet, &mut samples).unwrap();
        assert!(samples[30_000..32_000].iter().all(|s| s.abs() < 64));
    }
}

//! Payloads: every decoder of ours keeps its promises on any bytes, and redundant audio reads back.

use crate::media::codec::cn::ComfortNoise;
use crate::media::codec::g711::Law;
use crate::media::codec::g722::G722;
use crate::media::codec::l16::L16;
use crate::media::codec::{Codec, Terms};
use crate::media::frame::SampleRate;
use crate::rtp::red::{Blocks, MAX_BLOCKS, emit};

/// Payloads, one after another, for one decoder: each gives as many samples as promised, or an error.
///
/// The first byte chooses the decoder; then each payload follows its length.
pub fn payloads(data: &[u8]) {
    let Some((&choice, mut rest)) = data.split_first() else {
        return;
    };
    let codecs: [&dyn Codec; 5] = [
        &Law::A,
        &Law::Mu,
        &G722,
        &L16::new(SampleRate::HZ_16000),
        &ComfortNoise,
    ];
    let codec = codecs[usize::from(choice) % codecs.len()];
    let terms = Terms::new(codec.sample_rate());
    let mut decoder = codec.decoder(&terms).expect("ours are always to be had");
    let mut out = [0; 1_024];
    while let Some((&length, after)) = rest.split_first() {
        let (payload, after) = after.split_at(after.len().min(length.into()));
        rest = after;
        let promised = decoder.samples_in(payload);
        assert_eq!(decoder.decode(payload, &mut out), promised);
        let lost = &mut out[..usize::from(length)];
        decoder.recover(payload, lost);
        decoder.conceal(lost);
        decoder.begins_silence(payload);
    }
}

/// A payload as redundant audio: its blocks lie within it, and what is read is written back.
pub fn redundancy(data: &[u8]) {
    let Ok(blocks) = Blocks::parse(data) else {
        return;
    };
    let blocks = blocks.as_slice();
    assert!((1..=MAX_BLOCKS).contains(&blocks.len()));
    let (primary, redundant) = blocks.split_last().expect("one at least");
    let mut written = vec![0; data.len()];
    assert_eq!(emit(redundant, *primary, &mut written), Some(data.len()));
    assert_eq!(written, data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn seeds_keep_every_promise() {
        crate::fuzz::run_seeds("payloads", payloads);
        crate::fuzz::run_seeds("redundancy", redundancy);
    }

    #[test]
    fn random_input_keeps_every_promise() {
        for seed in 0..3_000 {
            let mut rng = Rng::new(seed);
            let len = rng.below(300) as usize;
            let mut data: Vec<u8> = (0..len).map(|_| rng.next_u32() as u8).collect();
            payloads(&data);
            if let [first, ..] = data.as_mut_slice() {
                *first |= 0x80;
            }
            redundancy(&data);
        }
    }
}

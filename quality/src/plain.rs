//! The simplest receivers: a fixed buffer, and silence or G.711 Appendix I for what is missing.

use sidetone::rtp::packet::View;

use crate::appendix::Appendix;
use crate::format::Format;
use crate::lab::Received;
use crate::sound::Sound;

/// Plays packets of 20 ms by their sequence, the first one held for `delay_ms`, and silence in place
/// of each that is not there at its turn.
pub fn play(format: &Format, received: &[Received], delay_ms: u64, length: usize) -> Sound {
    placed(format, received, delay_ms, length).0
}

/// The same for sound of 8 kHz, and G.711 Appendix I in place of what is missing.
pub fn play_concealed(
    format: &Format,
    received: &[Received],
    delay_ms: u64,
    length: usize,
) -> Sound {
    let (mut sound, present) = placed(format, received, delay_ms, length);
    let mut concealer = Appendix::new();
    let begin = present.iter().position(|&is| is).unwrap_or(0);
    let frame = format.rate.frame_samples();
    let frames = sound.samples.chunks_exact_mut(frame).zip(present);
    for (frame, is_present) in frames.skip(begin) {
        for part in frame.as_chunks_mut().0 {
            match is_present {
                true => concealer.good(part),
                false => concealer.lost(part),
            }
        }
    }
    sound
}

/// What has come in time at its place, and which frames of 20 ms that is.
fn placed(
    format: &Format,
    received: &[Received],
    delay_ms: u64,
    length: usize,
) -> (Sound, Vec<bool>) {
    let codec = format.codec();
    let mut out = Sound::new(format.rate.hz(), vec![0; length]);
    let frame = format.rate.frame_samples();
    let mut present = vec![false; length / frame + 1];
    let Ok(mut decoder) = codec.codec.decoder(&codec.terms) else {
        return (out, present);
    };
    let Some(first) = received.first() else {
        return (out, present);
    };
    let begin_us = (first.at_us + delay_ms * 1000).next_multiple_of(20_000);
    let mut samples = vec![0; 6 * frame];
    let origin = sequence(first);
    for packet in received {
        let turn = u64::from(sequence(packet).wrapping_sub(origin));
        let due_us = begin_us + turn * 20_000;
        // The first frame that is heard is that of the tick at 20 ms.
        let at = (due_us / 20_000).saturating_sub(1) as usize * frame;
        if packet.at_us > due_us {
            continue;
        }
        let Some(payload) = View::parse(&packet.bytes).ok().map(|view| view.payload()) else {
            continue;
        };
        let Ok(n) = decoder.decode(payload, &mut samples) else {
            continue;
        };
        if let Some(place) = out.samples.get_mut(at..at + n) {
            place.copy_from_slice(&samples[..n]);
            present[at / frame] = true;
        }
    }
    (out, present)
}

fn sequence(packet: &Received) -> u16 {
    View::parse(&packet.bytes).map_or(0, |view| view.sequence())
}

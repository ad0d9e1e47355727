//! Playout: whatever packets come in whatever order, frames are whole and every packet is accounted for.

use crate::media::codec::g711::{G711, Law};
use crate::media::codec::{CodecError, Decoder};
use crate::media::frame::{Frame, SampleRate};
use crate::media::jitter::playout::{Payload, Playout};
use crate::media::jitter::{Config, MEDIA_CLOCK, Mode, Packet};
use crate::time::{Duration, Instant};

/// A decoder that does all that decoders may do: another rate and clock, packets of any length, pauses,
/// its own concealment and recovery, and refusals that it did not announce.
#[derive(Debug)]
struct Any;

impl Decoder for Any {
    fn sample_rate(&self) -> SampleRate {
        SampleRate::HZ_48000
    }
    fn rtp_clock(&self) -> u32 {
        44_100
    }
    fn samples_in(&self, payload: &[u8]) -> Result<usize, CodecError> {
        match payload.first() {
            Some(&n) => Ok(usize::from(n) * 24),
            None => Err(CodecError::Malformed),
        }
    }
    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, CodecError> {
        let samples = self.samples_in(payload)?;
        if payload.get(1) == Some(&7) {
            return Err(CodecError::Malformed);
        }
        let out = out.get_mut(..samples).ok_or(CodecError::Malformed)?;
        out.fill(i16::MIN);
        Ok(samples)
    }
    fn conceal(&mut self, out: &mut [i16]) -> bool {
        out.fill(i16::MAX);
        true
    }
    fn recover(&mut self, next: &[u8], _: &mut [i16]) -> bool {
        next.get(2) == Some(&1)
    }
    fn begins_silence(&self, payload: &[u8]) -> bool {
        payload.first() == Some(&0)
    }
}

/// A playout under packets and ticks.
///
/// The first byte says how long it waits. Then come steps of eight bytes: what to do, the step of the
/// sequence number, two bytes of the step of the timestamp, the payload's length, its first bytes,
/// and the milliseconds that pass.
pub fn playout(data: &[u8]) {
    let Some((&mode, steps)) = data.split_first() else {
        return;
    };
    let delay = Duration::from_millis(u64::from(mode) * 4);
    let mode = match mode & 1 {
        0 => Mode::Adaptive {
            min: delay / 4,
            max: delay,
        },
        _ => Mode::Fixed(delay),
    };
    let config = Config {
        mode,
        packets: 16,
        bytes: 4_096,
    };
    let law = |law| Box::new(G711::new(law));
    let decoders: Vec<Payload> = vec![(0, law(Law::Mu)), (8, law(Law::A)), (96, Box::new(Any))];
    let mut playout = Playout::new(config, decoders).expect("three decoders");
    playout.log_decisions(8);
    let mut now = Instant::ZERO;
    let (mut sequence, mut timestamp) = (0u16, 0u32);
    let mut frame = Frame::silence(SampleRate::HZ_8000);
    for step in steps.as_chunks::<8>().0 {
        let [what, by, high, low, length, first, second, pass] = *step;
        sequence = sequence.wrapping_add_signed(i16::from(by as i8));
        let by = i16::from_be_bytes([high, low]);
        let far = if what & 0x80 != 0 { 65_536 } else { 1 };
        timestamp = timestamp.wrapping_add_signed(i32::from(by) * far);
        let payload = [first, second, what].repeat(usize::from(length));
        let packet = Packet {
            sequence,
            timestamp,
            payload_type: [0, 8, 96, 5][usize::from(what & 3)],
            marker: what & 4 != 0,
            redundant: what & 8 != 0,
            payload: &payload,
        };
        match what >> 4 & 7 {
            0 => playout.resync(),
            1 => playout.aside(sequence),
            2 => pass_on(&mut playout, now, &packet, &mut frame),
            _ => {
                playout.put(now, &packet);
            }
        }
        now += Duration::from_millis(u64::from(pass));
        for _ in 0..pass / 20 {
            let mut told = 0;
            playout.fill_and_tell(now, &mut frame, &mut |piece| told += piece.samples.len());
            assert_eq!(frame.samples().len(), frame.rate().frame_samples());
            assert!(told <= 16 * MEDIA_CLOCK as usize);
        }
        let s = playout.statistics();
        let done = s.played + s.late + s.discarded + s.duplicate + s.needless;
        let refused = s.overrun + s.refused + s.strange;
        assert_eq!(s.put, done + refused + playout.packets() as u64, "{s:?}");
        while playout.poll_decision().is_some() {}
    }
}

/// Passes a packet on where that is possible, and keeps it otherwise, as a worker does.
fn pass_on(playout: &mut Playout, now: Instant, packet: &Packet<'_>, frame: &mut Frame) {
    let Some(span) = playout.can_pass(packet) else {
        playout.put(now, packet);
        return;
    };
    while playout.poll_waiting(now).is_some() {}
    if let Some((passed, _)) = playout.pass(now, packet, span, frame) {
        assert!(passed.ticks > 0);
        assert_eq!(passed.sequence as u16, packet.sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn seeds_keep_every_promise() {
        crate::fuzz::run_seeds("jitter", playout);
    }

    #[test]
    fn random_input_keeps_every_promise() {
        for seed in 0..400 {
            let mut rng = Rng::new(seed);
            let mut data = vec![rng.next_u32() as u8];
            let is_wild = rng.below(3) == 0;
            for _ in 0..rng.below(400) {
                let mut step = [0u8; 8];
                step.iter_mut().for_each(|b| *b = rng.next_u32() as u8);
                if !is_wild {
                    // Mostly a stream of 20 ms that plays.
                    step[0] = 0x20 + rng.below(9) as u8 % 3 * 8;
                    step[1] = [1, 1, 1, 2, 255, 0][rng.below(6) as usize];
                    let by = 160 * i16::from(step[1] as i8);
                    step[2..4].copy_from_slice(&by.to_be_bytes());
                    step[4] = 53;
                    step[7] = [20, 20, 20, 0, 60, 200][rng.below(6) as usize];
                }
                data.extend(step);
            }
            let result = std::panic::catch_unwind(|| playout(&data));
            assert!(result.is_ok(), "seed {seed}");
        }
    }
}

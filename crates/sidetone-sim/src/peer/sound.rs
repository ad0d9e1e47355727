//! What peers say and how a test judges what they heard: level, tones, likeness, delay.

use std::f64::consts::PI;
use std::sync::Arc;
use std::time::Duration;

use sidetone::rng::Rng;
use sidetone::time::Instant;

/// Samples a second of everything here: peers speak G.711.
pub const RATE: u32 = 8000;

/// A piece of sound, 16-bit at 8 kHz; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sound {
    samples: Arc<[i16]>,
}

impl Sound {
    /// These samples.
    pub fn new(samples: impl Into<Arc<[i16]>>) -> Self {
        Self {
            samples: samples.into(),
        }
    }

    /// Digital silence.
    pub fn silence(duration: Duration) -> Self {
        Self::new(vec![0; samples_in(duration)])
    }

    /// A sine of `hertz` at `dbov` (RMS relative to the 16-bit overload point, RFC 6464 §3).
    pub fn tone(hertz: f64, dbov: f64, duration: Duration) -> Self {
        let amplitude = 32768.0 * 10f64.powf(dbov / 20.0) * 2f64.sqrt();
        let samples = (0..samples_in(duration)).map(|n| {
            let phase = 2.0 * PI * hertz * n as f64 / f64::from(RATE);
            clamp(amplitude * phase.sin())
        });
        Self::new(samples.collect::<Vec<_>>())
    }

    /// Something with the rhythm, pitch and level of speech (about −26 dBov while it speaks),
    /// different for every `voice` and nowhere like itself, so that it can be found again.
    pub fn speech(voice: u64, duration: Duration) -> Self {
        let mut rng = Rng::new(voice);
        let wanted = samples_in(duration);
        let mut samples = Vec::with_capacity(wanted + RATE as usize);
        while samples.len() < wanted {
            syllable(&mut rng, &mut samples);
        }
        samples.truncate(wanted);
        Self::new(samples)
    }

    /// Both tracks of a 16-bit stereo WAV file at 8 kHz, as the engine records them: what the caller
    /// said, and what the caller heard. `None` where the bytes are something else.
    pub fn of_recording(wav: &[u8]) -> Option<[Self; 2]> {
        let format = chunk(wav, b"fmt ")?;
        let data = chunk(wav, b"data")?;
        // Two channels at 8,000 Hz, 32,000 bytes a second.
        let stereo = [2, 0, 0x40, 0x1f, 0, 0, 0, 0x7d];
        if format.get(2..10)? != stereo || format.get(14..16)? != [16, 0] {
            return None;
        }
        let track = |at: usize| {
            let samples = data
                .chunks_exact(4)
                .map(|pair| i16::from_le_bytes([pair[at], pair[at + 1]]));
            Self::new(samples.collect::<Vec<_>>())
        };
        Some([track(0), track(2)])
    }

    /// A 16-bit mono WAV file of it, to be loaded as a prompt.
    pub fn to_wav(&self) -> Vec<u8> {
        let bytes = (self.samples.len() * 2) as u32;
        let mut wav = Vec::with_capacity(44 + bytes as usize);
        wav.extend_from_slice(b"RIFF");
        wav.extend_from_slice(&(bytes + 36).to_le_bytes());
        wav.extend_from_slice(b"WAVEfmt ");
        wav.extend_from_slice(&16u32.to_le_bytes());
        wav.extend_from_slice(&[1, 0, 1, 0]);
        wav.extend_from_slice(&RATE.to_le_bytes());
        wav.extend_from_slice(&(RATE * 2).to_le_bytes());
        wav.extend_from_slice(&[2, 0, 16, 0]);
        wav.extend_from_slice(b"data");
        wav.extend_from_slice(&bytes.to_le_bytes());
        for sample in self.samples.iter() {
            wav.extend_from_slice(&sample.to_le_bytes());
        }
        wav
    }

    /// The part from `start` on that lasts at most `duration`.
    pub fn part(&self, start: Duration, duration: Duration) -> Self {
        let from = samples_in(start).min(self.samples.len());
        let to = (from + samples_in(duration)).min(self.samples.len());
        Self::new(&self.samples[from..to])
    }

    /// As if somebody had heard it, to be searched and measured.
    pub fn as_heard(&self) -> Heard {
        Heard {
            samples: self.samples.to_vec(),
            arrivals: Vec::new(),
        }
    }

    /// How long it lasts.
    pub fn duration(&self) -> Duration {
        duration_of(self.samples.len())
    }

    /// The samples.
    pub fn samples(&self) -> &[i16] {
        &self.samples
    }
}

/// The contents of the first chunk of a WAV file with this name.
fn chunk<'a>(wav: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
    let mut rest = wav.strip_prefix(b"RIFF")?.get(8..)?;
    loop {
        let (head, body) = rest.split_first_chunk::<8>()?;
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if head[..4] == *name {
            return body.get(..length.min(body.len()));
        }
        rest = body.get(length.next_multiple_of(2)..)?;
    }
}

/// Adds one syllable with its own pitch, colour and length, and sometimes the pause of a word.
fn syllable(rng: &mut Rng, samples: &mut Vec<i16>) {
    let length = 800 + rng.below(1200) as usize;
    let pitch = 90.0 + 120.0 * rng.next_f64();
    let glide = 1.0 + 0.3 * (rng.next_f64() - 0.5);
    let colours: [f64; 8] = std::array::from_fn(|_| rng.next_f64());
    let total: f64 = colours.iter().map(|c| c * c / 2.0).sum::<f64>().sqrt();
    let mut phase = rng.next_f64();
    for n in 0..length {
        let share = n as f64 / length as f64;
        phase += pitch * (1.0 + (glide - 1.0) * share) / f64::from(RATE);
        let envelope = (PI * share).sin();
        let sum: f64 = colours
            .iter()
            .enumerate()
            .map(|(k, colour)| colour * (2.0 * PI * phase * (2 * k + 1) as f64).sin())
            .sum();
        samples.push(clamp(2300.0 * envelope * sum / total.max(0.1)));
    }
    if rng.below(4) == 0 {
        samples.extend(std::iter::repeat_n(0, 400 + rng.below(1600) as usize));
    }
}

fn clamp(value: f64) -> i16 {
    value.clamp(-32768.0, 32767.0).round() as i16
}

pub(crate) fn samples_in(duration: Duration) -> usize {
    (duration.as_micros() * u128::from(RATE) / 1_000_000) as usize
}

fn duration_of(samples: usize) -> Duration {
    Duration::from_micros(samples as u64 * 1_000_000 / u64::from(RATE))
}

/// What a peer heard in some stretch of time: samples laid out by their RTP timestamps, gaps of
/// lost packets as zeros.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Heard {
    pub(crate) samples: Vec<i16>,
    /// Where each packet begins in the samples, and when it arrived.
    pub(crate) arrivals: Vec<(usize, Instant)>,
}

/// Where a sound was found in what was heard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Match {
    /// Where it begins, from the beginning of what was heard.
    pub offset: Duration,
    /// How alike the two are, `0.0..=1.0` (normalised cross-correlation): above 0.9 is the same.
    pub likeness: f64,
    /// When the packet with its beginning arrived.
    pub arrived: Instant,
}

impl Heard {
    /// The samples, at 8 kHz.
    pub fn samples(&self) -> &[i16] {
        &self.samples
    }

    /// How long it is by the sender's sample clock.
    pub fn duration(&self) -> Duration {
        duration_of(self.samples.len())
    }

    /// How many packets it came in.
    pub fn packets(&self) -> usize {
        self.arrivals.len()
    }

    /// The RMS level in dBov; −96 for silence.
    pub fn level(&self) -> f64 {
        level(&self.samples)
    }

    /// The level in dBov of a sine of `hertz` in it.
    pub fn tone_level(&self, hertz: f64) -> f64 {
        if self.samples.is_empty() {
            return SILENCE;
        }
        let step = 2.0 * PI * hertz / f64::from(RATE);
        let (mut sine, mut cosine) = (0.0, 0.0);
        for (n, sample) in self.samples.iter().enumerate() {
            let (s, c) = (step * n as f64).sin_cos();
            sine += f64::from(*sample) * s;
            cosine += f64::from(*sample) * c;
        }
        let rms = (sine * sine + cosine * cosine).sqrt() * 2f64.sqrt() / self.samples.len() as f64;
        decibels(rms)
    }

    /// True where every sample is quiet: nothing above about −50 dBov.
    pub fn is_silent(&self) -> bool {
        self.samples
            .iter()
            .all(|sample| sample.unsigned_abs() < 100)
    }

    /// Finds where the sound begins; `None` where it is not in there (likeness below 0.5).
    ///
    /// Compares the loudest half second of the sound with every position: costs the product of
    /// both lengths.
    pub fn find(&self, sound: &Sound) -> Option<Match> {
        let (skip, probe) = loudest(sound.samples(), RATE as usize / 2);
        let energy: f64 = probe.iter().map(|s| f64::from(*s).powi(2)).sum();
        if probe.is_empty() || energy == 0.0 {
            return None;
        }
        let mut best = (0.0, 0);
        for (offset, window) in self.samples.windows(probe.len()).enumerate() {
            let (mut dot, mut own) = (0i64, 0i64);
            for (a, b) in window.iter().zip(probe) {
                dot += i64::from(*a) * i64::from(*b);
                own += i64::from(*a) * i64::from(*a);
            }
            let likeness = dot as f64 / (energy * own.max(1) as f64).sqrt();
            if likeness > best.0 {
                best = (likeness, offset);
            }
        }
        let (likeness, offset) = best;
        let start = offset.checked_sub(skip)?;
        (likeness >= 0.5).then(|| Match {
            offset: duration_of(start),
            likeness,
            arrived: self.arrival_of(start),
        })
    }

    /// When the packet arrived that has the sound at `offset`.
    pub fn arrived(&self, offset: Duration) -> Instant {
        self.arrival_of(samples_in(offset))
    }

    fn arrival_of(&self, sample: usize) -> Instant {
        let before = self.arrivals.iter().filter(|(start, _)| *start <= sample);
        let packet = before.max_by_key(|(start, _)| *start);
        packet.map(|(_, at)| *at).unwrap_or_default()
    }
}

const SILENCE: f64 = -96.0;

fn level(samples: &[i16]) -> f64 {
    if samples.is_empty() {
        return SILENCE;
    }
    let energy: f64 = samples.iter().map(|s| f64::from(*s).powi(2)).sum();
    decibels((energy / samples.len() as f64).sqrt())
}

fn decibels(rms: f64) -> f64 {
    (20.0 * (rms / 32768.0).log10()).max(SILENCE)
}

/// The loudest stretch of `length` samples, in steps of 10 ms, and where it begins.
fn loudest(samples: &[i16], length: usize) -> (usize, &[i16]) {
    if samples.len() <= length {
        return (0, samples);
    }
    let starts = (0..=samples.len() - length).step_by(80);
    let start = starts
        .max_by_key(|start| {
            let stretch = &samples[*start..*start + length];
            stretch.iter().map(|s| i64::from(*s).pow(2)).sum::<i64>()
        })
        .unwrap_or(0);
    (start, &samples[start..start + length])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(samples: Vec<i16>) -> Heard {
        Heard {
            arrivals: (0..samples.len().div_ceil(160))
                .map(|n| (n * 160, Instant::from_nanos(n as u64 * 20_000_000)))
                .collect(),
            samples,
        }
    }

    #[test]
    fn a_tone_has_its_level_and_nothing_elsewhere() {
        let tone = Sound::tone(440.0, -20.0, Duration::from_secs(1));
        let heard = heard(tone.samples().to_vec());
        assert!((heard.level() + 20.0).abs() < 0.1, "{}", heard.level());
        assert!((heard.tone_level(440.0) + 20.0).abs() < 0.1);
        assert!(heard.tone_level(1000.0) < -60.0);
    }

    #[test]
    fn speech_is_found_where_it_begins_and_other_speech_is_not() {
        let speech = Sound::speech(1, Duration::from_secs(2));
        let mut samples = vec![0; 4000];
        samples.extend_from_slice(speech.samples());
        samples.extend_from_slice(&[0; 4000]);
        let heard = heard(samples);
        let found = heard.find(&speech).expect("it is in there");
        assert_eq!(found.offset, Duration::from_millis(500));
        assert!(found.likeness > 0.999);
        assert_eq!(found.arrived, Instant::from_nanos(500_000_000));
        let other = heard.find(&Sound::speech(2, Duration::from_secs(2)));
        assert!(other.is_none_or(|m| m.likeness < 0.8), "{other:?}");
    }

    #[test]
    fn speech_has_the_level_of_speech() {
        let speech = Sound::speech(9, Duration::from_secs(20));
        let level = level(speech.samples());
        assert!((-30.0..-22.0).contains(&level), "{level}");
    }
}

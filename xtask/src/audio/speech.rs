//! What the peers say: Debian's studio prompts where they are installed, else a made-up voice.

use std::path::Path;

use super::g722::Decoder;
use super::wav::Wav;
use super::{RATE, WIDE};

/// Where Debian's English prompts stand once installed.
const PROMPTS: &str = "/usr/share/asterisk/sounds/en_US_f_Allison";

/// Who speaks: no prompt is said by both, and none twice, so that a place in what was heard is
/// one place in what was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    Caller,
    Agent,
}

impl Voice {
    /// What it says first; other prompts follow.
    fn opening(self) -> &'static [&'static str] {
        match self {
            Self::Caller => &[
                "vm-intro",
                "vm-instructions",
                "demo-abouttotry",
                "demo-moreinfo",
            ],
            Self::Agent => &[
                "demo-congrats",
                "demo-echotest",
                "conf-usermenu",
                "conf-enteringno",
            ],
        }
    }
}

/// `seconds` of prompts one after the other, with short pauses; silence when they run out.
pub(crate) fn say(voice: Voice, seconds: f64) -> Vec<i16> {
    say_at(RATE, voice, seconds)
}

/// The same prompts in wide band, sampled at 16 kHz.
pub(crate) fn say_wide(voice: Voice, seconds: f64) -> Wav {
    Wav {
        rate: WIDE as u32,
        channels: vec![say_at(WIDE, voice, seconds)],
    }
}

fn say_at(rate: usize, voice: Voice, seconds: f64) -> Vec<i16> {
    let length = (seconds * rate as f64) as usize;
    let mut samples = Vec::with_capacity(length);
    for name in voice
        .opening()
        .iter()
        .map(|name| (*name).to_owned())
        .chain(others(voice))
    {
        let Some(clip) = prompt(rate, &name) else {
            continue;
        };
        samples.extend_from_slice(&clip);
        samples.extend(std::iter::repeat_n(0, rate / 4));
        if samples.len() >= length {
            break;
        }
    }
    if samples.is_empty() {
        return synthetic_at(rate, seconds, voice as u64 + 1);
    }
    samples.resize(length, 0);
    samples
}

/// Every second one of the prompts that nobody opens with.
fn others(voice: Voice) -> Vec<String> {
    let opening = |name: &String| {
        [Voice::Caller, Voice::Agent]
            .iter()
            .any(|voice| voice.opening().contains(&name.as_str()))
    };
    let files = std::fs::read_dir(PROMPTS).into_iter().flatten().flatten();
    let mut names: Vec<String> = files
        .filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".wav")?.to_owned()))
        .filter(|name| !opening(name))
        .collect();
    names.sort();
    names.into_iter().skip(voice as usize).step_by(2).collect()
}

fn prompt(rate: usize, name: &str) -> Option<Vec<i16>> {
    if rate == WIDE {
        let file = Path::new(PROMPTS).join(format!("{name}.g722"));
        return std::fs::read(file)
            .ok()
            .map(|bytes| Decoder::new().decode(&bytes));
    }
    let wav = Wav::read(&Path::new(PROMPTS).join(format!("{name}.wav"))).ok()?;
    wav.channels
        .into_iter()
        .next()
        .filter(|samples| wav.rate == RATE as u32 && !samples.is_empty())
}

/// A voice-like sound that never repeats: syllables of noise through moving resonances, with
/// pauses. The same seed gives the same samples.
#[cfg(test)]
pub(crate) fn synthetic(seconds: f64, seed: u64) -> Vec<i16> {
    synthetic_at(RATE, seconds, seed)
}

/// The same at another rate, its resonances anywhere in that rate's band.
fn synthetic_at(rate: usize, seconds: f64, seed: u64) -> Vec<i16> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let length = (seconds * rate as f64) as usize;
    let mut samples = Vec::with_capacity(length);
    while samples.len() < length {
        let syllable = (rate as f64 * (0.12 + 0.2 * random())) as usize;
        let (formant, width) = (300.0 + 0.275 * rate as f64 * random(), 0.97);
        let turn = 2.0 * std::f64::consts::PI * formant / rate as f64;
        let loud = 500.0 + 1500.0 * random();
        let (mut one, mut two) = (0.0, 0.0);
        for index in 0..syllable {
            let shape = (std::f64::consts::PI * index as f64 / syllable as f64).sin();
            let next = random() - 0.5 + 2.0 * width * turn.cos() * one - width * width * two;
            (two, one) = (one, next);
            samples.push((next * shape * loud).clamp(-30_000.0, 30_000.0) as i16);
        }
        samples.extend(std::iter::repeat_n(
            0,
            (rate as f64 * 0.1 * random()) as usize,
        ));
    }
    samples.truncate(length);
    samples
}

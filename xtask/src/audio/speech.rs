//! What the peers say: Debian's studio prompts where they are installed, else a made-up voice.

use std::path::Path;

use super::RATE;
use super::wav::Wav;

/// Where Debian's English prompts stand once installed.
const PROMPTS: &str = "/usr/share/asterisk/sounds/en_US_f_Allison";

/// Prompts that a caller says one after the other.
pub(crate) const CALLER: [&str; 5] = [
    "vm-intro",
    "vm-instructions",
    "demo-abouttotry",
    "demo-moreinfo",
    "demo-thanks",
];

/// Prompts that an agent says one after the other.
pub(crate) const AGENT: [&str; 4] = [
    "demo-congrats",
    "demo-echotest",
    "conf-usermenu",
    "conf-enteringno",
];

/// `seconds` of the named prompts, over and over, with short pauses.
pub(crate) fn say(prompts: &[&str], seconds: f64) -> Vec<i16> {
    let length = (seconds * RATE as f64) as usize;
    let clips: Vec<Vec<i16>> = prompts.iter().filter_map(|name| prompt(name)).collect();
    if clips.is_empty() {
        let seed = prompts
            .iter()
            .flat_map(|name| name.bytes())
            .map(u64::from)
            .sum();
        return synthetic(seconds, seed);
    }
    let mut samples = Vec::with_capacity(length);
    for clip in clips.iter().cycle() {
        samples.extend_from_slice(clip);
        samples.extend(std::iter::repeat_n(0, RATE / 4));
        if samples.len() >= length {
            break;
        }
    }
    samples.truncate(length);
    samples
}

fn prompt(name: &str) -> Option<Vec<i16>> {
    let wav = Wav::read(&Path::new(PROMPTS).join(format!("{name}.wav"))).ok()?;
    wav.channels
        .into_iter()
        .next()
        .filter(|samples| wav.rate == RATE as u32 && !samples.is_empty())
}

/// A voice-like sound that never repeats: syllables of noise through moving resonances, with
/// pauses. The same seed gives the same samples.
pub(crate) fn synthetic(seconds: f64, seed: u64) -> Vec<i16> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let length = (seconds * RATE as f64) as usize;
    let mut samples = Vec::with_capacity(length);
    while samples.len() < length {
        let syllable = (RATE as f64 * (0.12 + 0.2 * random())) as usize;
        let (formant, width) = (300.0 + 2200.0 * random(), 0.97);
        let turn = 2.0 * std::f64::consts::PI * formant / RATE as f64;
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
            (RATE as f64 * 0.1 * random()) as usize,
        ));
    }
    samples.truncate(length);
    samples
}

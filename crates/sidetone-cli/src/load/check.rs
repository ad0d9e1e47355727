//! Listening to what some parties received: is it what somebody said, and how long did it take?

use serde::Serialize;

use super::sdp::Format;
use super::speech::{FRAME, Speech};
use super::stream::{Heard, Leg, SAMPLED, Source, Traffic};

/// Samples that are compared at once: 300 ms.
const PIECE: usize = 2_400;
/// How far back the piece is looked for: a second.
const REACH: usize = 8_000;
/// The correlation from which on a piece counts as found, where one party is heard.
const SAME: f64 = 0.6;
/// The power below which a piece holds no speech.
const FAINT: f64 = 200.0 * 200.0;

/// What listening found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Content {
    /// Pieces of speech that were listened to.
    pieces: usize,
    /// Of these, pieces in which somebody's speech was found who had to be heard.
    found: usize,
    /// How alike they are to what was said, 1 being the same.
    likeness: f64,
    /// From mouth to ear, in milliseconds, the packet's own 20 ms included: the median.
    mouth_to_ear: f64,
}

impl Content {
    /// Whether what was heard is what was said.
    pub(super) fn is_right(&self) -> bool {
        self.pieces > 0 && self.found * 10 >= self.pieces * 9
    }
}

/// A piece found in somebody's speech.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Match {
    likeness: f64,
    /// Samples from its being said to its being heard; meaningless for prompts.
    lag: usize,
}

pub(super) fn judge(traffic: &Traffic, speech: &Speech, prompt: Option<&Speech>) -> Content {
    let mut matches = Vec::new();
    let mut content = Content::default();
    for (number, leg) in traffic.legs.iter().enumerate().take(SAMPLED) {
        let sound = decode(leg.format, &leg.heard);
        let mates: Vec<&Leg> = match leg.source {
            Source::Party(partner) => traffic.legs.get(partner).into_iter().collect(),
            Source::Room => {
                let others = traffic.legs.iter().enumerate();
                let others = others.filter(|&(other, leg)| other != number && leg.voice.is_some());
                others.map(|(_, leg)| leg).collect()
            }
            Source::Prompt => Vec::new(),
        };
        // Voices that are mixed hide each other.
        let needed = SAME / (mates.len().max(1) as f64).sqrt();
        for (index, piece) in sound.chunks_exact(PIECE).enumerate() {
            if power(piece) < FAINT {
                continue;
            }
            let at = leg.heard.get(index * PIECE / FRAME).map(|heard| heard.at);
            let found = match (leg.source, prompt) {
                (Source::Prompt, Some(prompt)) => {
                    search(piece, &prompt.samples, 0, prompt.samples.len())
                }
                (Source::Prompt, None) => None,
                _ => at.and_then(|at| {
                    let all = mates.iter().take(4);
                    let all = all.filter_map(|mate| {
                        let said = at.saturating_duration_since(mate.began()?);
                        let now = (said.as_secs_f64() * 8_000.0) as usize;
                        let start = mate.voice? * FRAME + now;
                        search(piece, &speech.samples, start, REACH)
                    });
                    all.max_by(|a, b| a.likeness.total_cmp(&b.likeness))
                }),
            };
            content.pieces += 1;
            matches.extend(found.filter(|found| found.likeness >= needed));
        }
    }
    content.found = matches.len();
    matches.sort_by_key(|found| found.lag);
    if let Some(middle) = matches.get(matches.len() / 2) {
        content.mouth_to_ear = middle.lag as f64 / 8.0 + 20.0;
        let sum: f64 = matches.iter().map(|found| found.likeness).sum();
        content.likeness = sum / matches.len() as f64;
    }
    content
}

/// The stream as 8 kHz sound, in the order of its numbers; a frame a packet.
fn decode(format: Format, heard: &[Heard]) -> Vec<i16> {
    let mut sound = Vec::with_capacity(heard.len() * FRAME);
    let Ok(mut decoder) = format.decoder() else {
        return sound;
    };
    let mut last: Option<u16> = None;
    for packet in heard {
        let ahead = last.map_or(1, |last| packet.sequence.wrapping_sub(last));
        last = Some(packet.sequence);
        if (2..50).contains(&ahead) {
            sound.resize(sound.len() + FRAME * usize::from(ahead - 1), 0);
        }
        let mut frame = [0; FRAME * 6];
        let length = decoder.decode(&packet.payload, &mut frame).unwrap_or(FRAME);
        sound.extend_from_slice(&frame[..length]);
    }
    sound
}

/// The place within `reach` samples before `end` of the looped `speech` where `piece` fits best.
fn search(piece: &[i16], speech: &[i16], end: usize, reach: usize) -> Option<Match> {
    let total = speech.len();
    let own = power(piece) * piece.len() as f64;
    let wide: Vec<f32> = piece.iter().map(|&sample| f32::from(sample)).collect();
    // The loop is laid out straight, from the farthest place on.
    let first = (end + total * (reach / total + 1) - reach) % total;
    let line = (0..reach + piece.len()).map(|n| f32::from(speech[(first + n) % total]));
    let line: Vec<f32> = line.collect();
    let mut energy: f64 = line[..piece.len()]
        .iter()
        .map(|&s| f64::from(s).powi(2))
        .sum();
    let mut best: Option<Match> = None;
    for start in 0..reach {
        let other = &line[start..start + piece.len()];
        let product = product(&wide, other);
        let likeness = f64::from(product) / (own * energy.max(1.0)).sqrt();
        if best.is_none_or(|best| likeness > best.likeness) {
            best = Some(Match {
                likeness,
                lag: reach - start,
            });
        }
        let (gone, come) = (line[start], line[start + piece.len()]);
        energy += f64::from(come).powi(2) - f64::from(gone).powi(2);
    }
    best
}

/// The sum of products, in lanes, so that the processor's vectors serve.
fn product(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; 16];
    for (a, b) in a.chunks_exact(16).zip(b.chunks_exact(16)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    lanes.iter().sum()
}

/// The mean square of samples.
fn power(samples: &[i16]) -> f64 {
    let sum: f64 = samples
        .iter()
        .map(|&sample| f64::from(sample).powi(2))
        .sum();
    sum / samples.len().max(1) as f64
}

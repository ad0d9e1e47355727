//! Who is mixed in a large room: those who are loudest, and for a while.

/// The most parties that a [`Selection`] mixes at once.
pub const MAX_SPEAKERS: u16 = 16;

/// Power (mean square of samples) below which nobody takes a place: about 64 dB below full scale.
const GATE: u32 = 20 * 20;
/// Ticks that a new speaker keeps his place whoever else is loud: 300 ms.
const HOLD: u32 = 15;
/// How many times louder than a speaker, in power, somebody must be to take his place: 3 dB.
const MARGIN: u32 = 2;

/// Who is mixed: everybody in a small room, the loudest in a larger one.
///
/// What many open microphones add to a conference is noise, and each costs every listener. So in a room of
/// more than [`everybody_up_to`](Self::everybody_up_to) parties those are mixed who are loudest, as many as
/// [`speakers`](Self::speakers). Who has a place keeps it through the pauses of speech; who wants it must
/// be louder by 3 dB. Nobody's beginning is cut off, and who comes or goes in the middle of a sound is
/// faded over 20 ms.
///
/// Prompts and sources outside of the mesh are always mixed, and what an exception lets a sink hear of, or
/// outside of, the mesh is heard whether or not its source is among the loudest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// Parties up to which everybody is mixed. Default 12.
    pub everybody_up_to: u16,
    /// Parties that are mixed at once beyond that, 1 to [`MAX_SPEAKERS`]. Default 6.
    pub speakers: u16,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            everybody_up_to: 12,
            speakers: 6,
        }
    }
}

/// What a [`Selection`] has done since its room was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SelectionStats {
    /// Times that a party was given a place in the mix.
    pub chosen: u64,
    /// Frames of parties that sounded and were not mixed.
    pub left_out: u64,
}

/// Follows how loud the parties of a room are, and gives the places.
#[derive(Debug)]
pub(super) struct Speakers {
    selection: Selection,
    loudness: Box<[Loudness]>,
    /// Those who have a place, and since when.
    places: Vec<(u16, u32)>,
    tick: u32,
    pub(super) stats: SelectionStats,
}

/// How loud a party has been.
#[derive(Debug, Clone, Copy, Default)]
struct Loudness {
    /// Power: rises at once, falls by half in some 200 ms.
    level: u32,
    /// When it was measured.
    at: u32,
    has_place: bool,
}

impl Loudness {
    fn now(self, tick: u32) -> u32 {
        match tick.wrapping_sub(self.at) {
            0 => self.level,
            1 => self.level - self.level / 16,
            ticks => self.level >> (ticks / 10).min(31),
        }
    }
}

impl Speakers {
    /// For sources below `sources`.
    pub(super) fn new(selection: Selection, sources: usize) -> Self {
        let speakers = selection.speakers.clamp(1, MAX_SPEAKERS);
        Self {
            selection: Selection {
                speakers,
                ..selection
            },
            loudness: vec![Loudness::default(); sources].into(),
            places: Vec::with_capacity(usize::from(speakers)),
            tick: 1,
            stats: SelectionStats::default(),
        }
    }

    /// Goes on where another room's selection stands.
    pub(super) fn take_over(&mut self, other: &Self) {
        let common = self.loudness.len().min(other.loudness.len());
        self.loudness.fill(Loudness::default());
        self.loudness[..common].copy_from_slice(&other.loudness[..common]);
        self.places.clear();
        let most = self.places.capacity();
        self.places.extend(other.places.iter().take(most));
        (self.tick, self.stats) = (other.tick, other.stats);
    }

    /// Begins anew, with places for nobody.
    pub(super) fn restart(&mut self) {
        self.loudness.fill(Loudness::default());
        self.places.clear();
    }

    /// Whether a room of so many parties mixes only some of them.
    pub(super) fn selects(&self, parties: u16) -> bool {
        parties > self.selection.everybody_up_to
    }

    /// Whether the party has a place.
    pub(super) fn has_place(&self, source: u16) -> bool {
        let loudness = self.loudness.get(usize::from(source));
        loudness.is_some_and(|loudness| loudness.has_place)
    }

    /// Measures what a party says in this tick.
    pub(super) fn measure(&mut self, source: u16, samples: &[i16]) {
        if let Some(loudness) = self.loudness.get_mut(usize::from(source)) {
            loudness.level = power(samples).max(loudness.now(self.tick));
            loudness.at = self.tick;
        }
    }

    /// Forgets a party.
    pub(super) fn forget(&mut self, source: u16) {
        if let Some(loudness) = self.loudness.get_mut(usize::from(source)) {
            *loudness = Loudness::default();
        }
        self.places.retain(|&(own, _)| own != source);
    }

    /// Gives the places of this tick, once all have been measured; `sounding` are the parties that sound.
    pub(super) fn choose(&mut self, sounding: impl Iterator<Item = u16> + Clone) {
        let (tick, loudness) = (self.tick, &mut self.loudness);
        self.places.retain(|&(source, _)| {
            let own = &mut loudness[usize::from(source)];
            own.has_place = own.now(tick) >= GATE;
            own.has_place
        });
        for _ in 0..self.selection.speakers {
            let waiting = sounding.clone().filter(|&source| !self.has_place(source));
            let loudest = waiting.max_by_key(|&source| (self.level(source), u16::MAX - source));
            let Some(loudest) = loudest.filter(|&source| self.level(source) >= GATE) else {
                break;
            };
            if !self.make_room(self.level(loudest)) {
                break;
            }
            self.places.push((loudest, tick));
            self.loudness[usize::from(loudest)].has_place = true;
            self.stats.chosen += 1;
        }
    }

    /// Whether there is a place for somebody as loud as this, who may take that of another.
    fn make_room(&mut self, level: u32) -> bool {
        if self.places.len() < usize::from(self.selection.speakers) {
            return true;
        }
        let places = self.places.iter().enumerate();
        let settled = places.filter(|(_, (_, since))| self.tick.wrapping_sub(*since) >= HOLD);
        let weakest = settled.min_by_key(|(_, (source, _))| self.level(*source));
        let Some((place, &(source, _))) = weakest else {
            return false;
        };
        let is_louder = level / MARGIN > self.level(source);
        if is_louder {
            self.places.swap_remove(place);
            self.loudness[usize::from(source)].has_place = false;
        }
        is_louder
    }

    fn level(&self, source: u16) -> u32 {
        let loudness = self.loudness.get(usize::from(source));
        loudness.map_or(0, |loudness| loudness.now(self.tick))
    }

    /// A tick is over.
    pub(super) fn end_tick(&mut self) {
        self.tick = self.tick.wrapping_add(1);
    }
}

/// The mean square of samples.
fn power(samples: &[i16]) -> u32 {
    // Four bits less of each square, so that 32 of them stay within 32 bits: vectors of those are wide.
    let chunks = samples.chunks(32).map(|chunk| {
        let squares = chunk.iter().map(|&sample| {
            let magnitude = u32::from(sample.unsigned_abs());
            (magnitude * magnitude) >> 4
        });
        u64::from(squares.sum::<u32>())
    });
    (chunks.sum::<u64>() * 16 / samples.len().max(1) as u64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(speakers: &mut Speakers, levels: &[(u16, i16)]) {
        for &(source, sample) in levels {
            speakers.measure(source, &[sample; 160]);
        }
        speakers.choose(levels.iter().map(|&(source, _)| source));
        speakers.end_tick();
    }

    fn placed(speakers: &Speakers) -> Vec<u16> {
        (0..20)
            .filter(|&source| speakers.has_place(source))
            .collect()
    }

    fn two() -> Speakers {
        let selection = Selection {
            everybody_up_to: 3,
            speakers: 2,
        };
        Speakers::new(selection, 20)
    }

    #[test]
    fn the_loudest_have_places_and_keep_them() {
        let mut speakers = two();
        say(&mut speakers, &[(1, 500), (2, 3_000), (3, 1_000)]);
        assert_eq!(placed(&speakers), [2, 3]);
        for _ in 0..30 {
            // Louder, but not by enough.
            say(&mut speakers, &[(1, 1_300), (2, 3_000), (3, 1_000)]);
        }
        assert_eq!(placed(&speakers), [2, 3]);
        say(&mut speakers, &[(1, 1_500), (2, 3_000), (3, 1_000)]);
        assert_eq!(placed(&speakers), [1, 2]);
        // Nobody who has just come loses his place again.
        say(&mut speakers, &[(1, 1_500), (2, 3_000), (3, 9_000)]);
        assert_eq!(placed(&speakers), [1, 3], "but who has been there does");
        say(&mut speakers, &[(1, 1_500), (2, 9_000), (3, 9_000)]);
        assert_eq!(placed(&speakers), [1, 3]);
        assert_eq!(speakers.stats.chosen, 4);
    }

    #[test]
    fn a_pause_of_speech_costs_no_place_and_silence_does() {
        let mut speakers = two();
        say(&mut speakers, &[(1, 2_000), (2, 2_000)]);
        for _ in 0..20 {
            say(&mut speakers, &[(1, 0), (2, 2_000)]);
        }
        assert_eq!(placed(&speakers), [1, 2]);
        for _ in 0..200 {
            say(&mut speakers, &[(2, 2_000)]);
        }
        assert_eq!(placed(&speakers), [2]);
        say(&mut speakers, &[(2, 2_000), (7, 15)]);
        assert_eq!(placed(&speakers), [2], "a faint noise takes no place");
        speakers.forget(2);
        assert!(placed(&speakers).is_empty());
    }

    #[test]
    fn power_is_the_mean_square() {
        assert_eq!(power(&[0; 160]), 0);
        assert_eq!(power(&[i16::MIN; 960]), 1 << 30);
        assert_eq!(power(&[1_000; 160]), 1_000_000);
        assert_eq!(power(&[]), 0);
    }
}

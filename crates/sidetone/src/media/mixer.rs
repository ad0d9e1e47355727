//! The room as a gain matrix: who hears whom, and how loud.

use sidetone_simd::mix::{GAIN_BITS, add, add_scaled, saturate, saturate_without, subtract};

use crate::media::frame::{Frame, SampleRate};

/// A linear factor that a source's samples are multiplied by on their way to a sink.
///
/// Between silence and +18 dB, in steps of 1/4096.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gain(u16);

impl Gain {
    /// Nothing is heard.
    pub const MUTE: Self = Self(0);
    /// Samples pass as they are.
    pub const UNITY: Self = Self(1 << GAIN_BITS);
    /// The largest gain: a factor of 8, +18 dB.
    pub const MAX: Self = Self(8 << GAIN_BITS);

    /// The gain of `db` decibels, limited to [`Gain::MAX`]; minus infinity and NaN mute.
    pub fn from_db(db: f32) -> Self {
        Self::from_factor(10f32.powf(db / 20.0))
    }

    /// The gain that multiplies by `factor`, limited to `0.0..=8.0`; NaN mutes.
    pub fn from_factor(factor: f32) -> Self {
        let steps = (factor * f32::from(Self::UNITY.0)).round();
        Self((steps as u16).min(Self::MAX.0))
    }

    /// The factor that samples are multiplied by.
    pub fn factor(self) -> f32 {
        f32::from(self.0) / f32::from(Self::UNITY.0)
    }

    /// `sample` times this gain, rounded to nearest; wider than 16 bits so that the caller can sum.
    #[inline]
    pub(crate) fn apply(self, sample: i16) -> i32 {
        (i32::from(sample) * i32::from(self.0) + (1 << (GAIN_BITS - 1))) >> GAIN_BITS
    }
}

/// A source's place in a [`Room`], below the room's capacity of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceSlot(pub u16);

/// A sink's place in a [`Room`], below the room's capacity of sinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SinkSlot(pub u16);

/// How many sources, sinks and exceptions a [`Room`] can hold; fixed when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Sources, at most 16,384. Each costs 320 bytes at 8 kHz, 1.9 kB at 48 kHz. Default 8.
    pub sources: u16,
    /// Sinks, at most 16,384. Default 8.
    pub sinks: u16,
    /// Edges whose gain is set by [`Room::set_gain`]; 8 bytes each. Default 32.
    pub exceptions: u16,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            sources: 8,
            sinks: 8,
            exceptions: 32,
        }
    }
}

/// Why a [`Room`] refused; it is as before. Each is a mistake of the caller, or a room too small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RoomError {
    /// The slot is not below the capacity, or nothing has been opened in it.
    #[error("no such source or sink in the room")]
    NoSuchSlot,
    /// Every place for sources, sinks or exceptions is taken.
    #[error("room is full")]
    Full,
    /// The frame is not 20 ms at the room's rate.
    #[error("frame does not have the room's rate and length")]
    WrongFrame,
}

/// What a sink heard in a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mixed {
    /// No source that the sink hears has sounded: the frame is digital silence.
    Silence,
    /// The frame holds sound.
    Sound,
}

/// Sources, sinks and the gain from each to each, mixed once a tick.
///
/// Every edge has a default gain and may have an exception. The default is unity where source and
/// sink both belong to the *mesh* (the people of a conference, the two parties of a bridge) and mute
/// everywhere else; a sink never hears the source that is its own party. [`set_gain`](Self::set_gain)
/// makes an exception of one edge. A whole mesh costs one sum and one subtraction a party, and an
/// exception costs itself only; sources that do not sound cost nothing.
///
/// A tick: [`put`](Self::put) for each source that sounds, then [`take`](Self::take) for each sink,
/// then [`end_tick`](Self::end_tick). Slots are small numbers that are reused after closing. Nothing
/// allocates after construction.
///
/// ```
/// use sidetone::media::frame::{Frame, SampleRate};
/// use sidetone::media::mixer::{Capacity, Mixed, Room};
///
/// let rate = SampleRate::HZ_8000;
/// let mut room = Room::new(rate, Capacity::default());
/// let (alice, alice_ear) = room.open_party()?;
/// let (_bob, bob_ear) = room.open_party()?;
///
/// room.put(alice, &Frame::from_samples(rate, &[500; 160]))?;
/// let mut heard = Frame::silence(rate);
/// assert_eq!(room.take(bob_ear, &mut heard)?, Mixed::Sound);
/// assert_eq!(heard.samples()[0], 500);
/// assert_eq!(room.take(alice_ear, &mut heard)?, Mixed::Silence);
/// room.end_tick();
/// # Ok::<(), sidetone::media::mixer::RoomError>(())
/// ```
#[derive(Debug)]
pub struct Room {
    rate: SampleRate,
    /// The sum of the mesh's sources that sound in this tick.
    sum: Box<[i32]>,
    /// Scratch for a sink with exceptions.
    scratch: Box<[i32]>,
    /// The mesh's sources that sound in this tick.
    sounding: u32,
    sources: Box<[Source]>,
    /// One frame a source, those that do not sound being stale.
    frames: Box<[i16]>,
    sinks: Box<[Sink]>,
    /// Exceptions, sorted by sink and then by source.
    exceptions: Vec<Exception>,
    exceptions_max: usize,
    /// Changes whenever somebody may hear something else than before.
    generation: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Source {
    open: bool,
    mesh: bool,
    sounds: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sink {
    open: bool,
    mesh: bool,
    own: Option<SourceSlot>,
}

#[derive(Debug, Clone, Copy)]
struct Exception {
    sink: SinkSlot,
    source: SourceSlot,
    gain: Gain,
}

const CAPACITY_MAX: u16 = 16_384;

impl Room {
    /// An empty room at `rate`. Capacities above their limits are lowered to them.
    pub fn new(rate: SampleRate, capacity: Capacity) -> Self {
        let sources = usize::from(capacity.sources.min(CAPACITY_MAX));
        let sinks = usize::from(capacity.sinks.min(CAPACITY_MAX));
        let samples = rate.frame_samples();
        let exceptions_max = usize::from(capacity.exceptions);
        Self {
            rate,
            sum: vec![0; samples].into(),
            scratch: vec![0; samples].into(),
            sounding: 0,
            sources: vec![Source::default(); sources].into(),
            frames: vec![0; samples * sources].into(),
            sinks: vec![Sink::default(); sinks].into(),
            exceptions: Vec::with_capacity(exceptions_max),
            exceptions_max,
            generation: 0,
        }
    }

    /// Changes whenever who hears whom may have changed.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The only source that `sink` hears, where there is just one and it is heard as it is.
    pub fn only_source(&self, sink: SinkSlot) -> Option<SourceSlot> {
        let sources = (0..self.sources.len()).filter(|&index| self.sources[index].open);
        let mut heard = sources
            .map(|index| SourceSlot(index as u16))
            .filter(|&source| self.gain(source, sink).is_ok_and(|gain| gain != Gain::MUTE));
        let only = heard.next()?;
        let as_it_is = self.gain(only, sink) == Ok(Gain::UNITY);
        (as_it_is && heard.next().is_none()).then_some(only)
    }

    /// The rate of every frame in this room.
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    /// Takes over sources, sinks and gains of another room, in the same slots, as between two ticks:
    /// nothing sounds yet. False, and nothing is taken, where this room is smaller.
    pub fn take_over(&mut self, other: &Self) -> bool {
        let is_large_enough = self.sources.len() >= other.sources.len()
            && self.sinks.len() >= other.sinks.len()
            && self.exceptions.capacity() >= other.exceptions.len();
        if !is_large_enough {
            return false;
        }
        self.sources.fill(Source::default());
        self.sinks.fill(Sink::default());
        for (own, source) in self.sources.iter_mut().zip(&other.sources) {
            *own = Source {
                sounds: false,
                ..*source
            };
        }
        self.sinks[..other.sinks.len()].copy_from_slice(&other.sinks);
        self.exceptions.clear();
        self.exceptions.extend_from_slice(&other.exceptions);
        self.generation = other.generation.wrapping_add(1);
        self.sum.fill(0);
        self.sounding = 0;
        true
    }

    /// Opens a source and a sink of one party in the mesh: it hears every other party, not itself.
    ///
    /// # Errors
    /// [`RoomError::Full`] where no source or no sink is free.
    pub fn open_party(&mut self) -> Result<(SourceSlot, SinkSlot), RoomError> {
        let source = self.open_source(true)?;
        match self.open_sink(true, Some(source)) {
            Ok(sink) => Ok((source, sink)),
            Err(error) => {
                self.close_source(source);
                Err(error)
            }
        }
    }

    /// Opens a source, in the mesh or heard only where [`set_gain`](Self::set_gain) says so.
    ///
    /// # Errors
    /// [`RoomError::Full`] where every source is taken.
    pub fn open_source(&mut self, mesh: bool) -> Result<SourceSlot, RoomError> {
        self.generation = self.generation.wrapping_add(1);
        let free = self.sources.iter().position(|s| !s.open);
        let index = free.ok_or(RoomError::Full)?;
        self.sources[index] = Source {
            open: true,
            mesh,
            sounds: false,
        };
        Ok(SourceSlot(index as u16))
    }

    /// Opens a sink, in the mesh or hearing only what [`set_gain`](Self::set_gain) says; `own` is
    /// the source of the same party, which it does not hear by default.
    ///
    /// # Errors
    /// [`RoomError::Full`] where every sink is taken.
    pub fn open_sink(
        &mut self,
        mesh: bool,
        own: Option<SourceSlot>,
    ) -> Result<SinkSlot, RoomError> {
        self.generation = self.generation.wrapping_add(1);
        let free = self.sinks.iter().position(|s| !s.open);
        let index = free.ok_or(RoomError::Full)?;
        self.sinks[index] = Sink {
            open: true,
            mesh,
            own,
        };
        Ok(SinkSlot(index as u16))
    }

    /// Closes a source and forgets its exceptions; closing one that is not open does nothing.
    pub fn close_source(&mut self, source: SourceSlot) {
        self.generation = self.generation.wrapping_add(1);
        self.silence(source);
        if let Some(slot) = self.sources.get_mut(usize::from(source.0)) {
            *slot = Source::default();
        }
        self.exceptions.retain(|e| e.source != source);
        for sink in self.sinks.iter_mut().filter(|s| s.own == Some(source)) {
            sink.own = None;
        }
    }

    /// Closes a sink and forgets its exceptions; closing one that is not open does nothing.
    pub fn close_sink(&mut self, sink: SinkSlot) {
        self.generation = self.generation.wrapping_add(1);
        if let Some(slot) = self.sinks.get_mut(usize::from(sink.0)) {
            *slot = Sink::default();
        }
        self.exceptions.retain(|e| e.sink != sink);
    }

    /// The gain from `source` to `sink` as it stands, by default or by exception.
    ///
    /// # Errors
    /// [`RoomError::NoSuchSlot`] where either is not open.
    pub fn gain(&self, source: SourceSlot, sink: SinkSlot) -> Result<Gain, RoomError> {
        let default = self.default_gain(source, sink)?;
        let place = self.place(source, sink);
        Ok(place.map_or(default, |i| self.exceptions[i].gain))
    }

    /// Sets the gain from `source` to `sink`: an exception where it differs from the default.
    ///
    /// # Errors
    /// [`RoomError::NoSuchSlot`] where either is not open, [`RoomError::Full`] where the room holds
    /// as many exceptions as it may.
    pub fn set_gain(
        &mut self,
        source: SourceSlot,
        sink: SinkSlot,
        gain: Gain,
    ) -> Result<(), RoomError> {
        let default = self.default_gain(source, sink)?;
        self.generation = self.generation.wrapping_add(1);
        match self.place(source, sink) {
            Ok(i) if gain == default => {
                self.exceptions.remove(i);
            }
            Ok(i) => self.exceptions[i].gain = gain,
            Err(_) if gain == default => {}
            Err(_) if self.exceptions.len() >= self.exceptions_max => return Err(RoomError::Full),
            Err(i) => self.exceptions.insert(i, Exception { sink, source, gain }),
        }
        Ok(())
    }

    /// Gives the room `source`'s sound of this tick; once a tick, a second call replaces the first.
    ///
    /// # Errors
    /// [`RoomError::NoSuchSlot`] where the source is not open, [`RoomError::WrongFrame`] where
    /// `frame` is not 20 ms at the room's rate.
    pub fn put(&mut self, source: SourceSlot, frame: &Frame) -> Result<(), RoomError> {
        if frame.rate() != self.rate || frame.samples().len() != self.sum.len() {
            return Err(RoomError::WrongFrame);
        }
        self.silence(source);
        let index = usize::from(source.0);
        let slot = self.sources.get_mut(index).filter(|s| s.open);
        let slot = slot.ok_or(RoomError::NoSuchSlot)?;
        slot.sounds = true;
        if slot.mesh {
            self.sounding += 1;
            add(&mut self.sum, frame.samples());
        }
        let len = self.sum.len();
        self.frames[index * len..][..len].copy_from_slice(frame.samples());
        Ok(())
    }

    /// Makes in `frame` what `sink` hears in this tick, saturated once.
    ///
    /// # Errors
    /// [`RoomError::NoSuchSlot`] where the sink is not open.
    pub fn take(&mut self, sink: SinkSlot, frame: &mut Frame) -> Result<Mixed, RoomError> {
        let slot = self.sinks.get(usize::from(sink.0)).filter(|s| s.open);
        let slot = *slot.ok_or(RoomError::NoSuchSlot)?;
        frame.reset(self.rate);
        let own = slot.own.filter(|&own| slot.mesh && self.in_sum(own));
        let mesh = slot.mesh && self.sounding > u32::from(own.is_some());
        let start = self.exceptions.partition_point(|e| e.sink < sink);
        let end = start + self.exceptions[start..].partition_point(|e| e.sink == sink);
        let excepted = self.exceptions[start..end]
            .iter()
            .any(|e| self.sources[usize::from(e.source.0)].sounds);
        match (mesh, own, excepted) {
            (false, _, false) => return Ok(Mixed::Silence),
            (true, None, false) => saturate(&self.sum, frame.samples_mut()),
            (true, Some(own), false) => {
                saturate_without(&self.sum, self.frame_of(own), frame.samples_mut());
            }
            (_, _, true) => return Ok(self.take_with_exceptions(start..end, slot, frame)),
        }
        Ok(Mixed::Sound)
    }

    /// Ends the tick: no source sounds until it is put again.
    pub fn end_tick(&mut self) {
        if self.sounding > 0 {
            self.sum.fill(0);
            self.sounding = 0;
        }
        for source in &mut self.sources {
            source.sounds = false;
        }
    }

    fn take_with_exceptions(
        &mut self,
        range: std::ops::Range<usize>,
        sink: Sink,
        frame: &mut Frame,
    ) -> Mixed {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut heard = 0;
        if sink.mesh {
            scratch.copy_from_slice(&self.sum);
            heard = self.sounding;
        } else {
            scratch.fill(0);
        }
        let own = sink.own.filter(|&own| sink.mesh && self.in_sum(own));
        if let Some(own) = own {
            heard -= 1;
            subtract(&mut scratch, self.frame_of(own));
        }
        for exception in &self.exceptions[range] {
            let source = self.sources[usize::from(exception.source.0)];
            if !source.sounds {
                continue;
            }
            let samples = self.frame_of(exception.source);
            if sink.mesh && source.mesh && own != Some(exception.source) {
                heard -= 1;
                subtract(&mut scratch, samples);
            }
            if exception.gain != Gain::MUTE {
                heard += 1;
                add_scaled(&mut scratch, samples, exception.gain.0);
            }
        }
        saturate(&scratch, frame.samples_mut());
        self.scratch = scratch;
        if heard > 0 {
            Mixed::Sound
        } else {
            Mixed::Silence
        }
    }

    /// Takes back what `source` has put in this tick.
    fn silence(&mut self, source: SourceSlot) {
        let index = usize::from(source.0);
        let Some(slot) = self.sources.get_mut(index).filter(|s| s.sounds) else {
            return;
        };
        slot.sounds = false;
        if slot.mesh {
            self.sounding -= 1;
            let len = self.sum.len();
            subtract(&mut self.sum, &self.frames[index * len..][..len]);
        }
    }

    fn in_sum(&self, source: SourceSlot) -> bool {
        let slot = self.sources.get(usize::from(source.0));
        slot.is_some_and(|s| s.mesh && s.sounds)
    }

    fn frame_of(&self, source: SourceSlot) -> &[i16] {
        let len = self.sum.len();
        &self.frames[usize::from(source.0) * len..][..len]
    }

    fn default_gain(&self, source: SourceSlot, sink: SinkSlot) -> Result<Gain, RoomError> {
        let from = self.sources.get(usize::from(source.0)).filter(|s| s.open);
        let to = self.sinks.get(usize::from(sink.0)).filter(|s| s.open);
        let (from, to) = from.zip(to).ok_or(RoomError::NoSuchSlot)?;
        let heard = from.mesh && to.mesh && to.own != Some(source);
        Ok(if heard { Gain::UNITY } else { Gain::MUTE })
    }

    fn place(&self, source: SourceSlot, sink: SinkSlot) -> Result<usize, usize> {
        self.exceptions
            .binary_search_by_key(&(sink, source), |e| (e.sink, e.source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const RATE: SampleRate = SampleRate::HZ_8000;

    fn frame(value: i16) -> Frame {
        Frame::from_samples(RATE, &[value; 160])
    }

    fn noise(rng: &mut Rng) -> Frame {
        let samples: Vec<i16> = (0..160).map(|_| rng.next_u32() as i16).collect();
        Frame::from_samples(RATE, &samples)
    }

    /// What a sink hears, summed from every source by the gain of every edge.
    fn reference(room: &Room, put: &[(SourceSlot, Frame)], sink: SinkSlot) -> Vec<i16> {
        let mut sum = vec![0i64; 160];
        for (source, frame) in put {
            let gain = room.gain(*source, sink).expect("open");
            for (sum, &sample) in sum.iter_mut().zip(frame.samples()) {
                *sum += i64::from(gain.apply(sample));
            }
        }
        sum.iter()
            .map(|&s| s.clamp(-32_768, 32_767) as i16)
            .collect()
    }

    #[test]
    fn random_rooms_equal_the_naive_sum() {
        for seed in 0..60 {
            let mut rng = Rng::new(seed);
            let mut room = Room::new(
                RATE,
                Capacity {
                    sources: 12,
                    sinks: 12,
                    exceptions: 60,
                },
            );
            let (mut sources, mut sinks) = (vec![], vec![]);
            for _ in 0..40 {
                change(&mut rng, &mut room, &mut sources, &mut sinks);
                let mut put = vec![];
                for &source in &sources {
                    if rng.below(3) > 0 {
                        put.push((source, noise(&mut rng)));
                    }
                }
                for (source, frame) in &put {
                    room.put(*source, frame).expect("open");
                }
                let mut heard = Frame::silence(RATE);
                for &sink in &sinks {
                    let mixed = room.take(sink, &mut heard).expect("open");
                    let expected = reference(&room, &put, sink);
                    assert_eq!(heard.samples(), expected, "seed {seed}, {sink:?}");
                    assert!(mixed == Mixed::Sound || heard.is_silent(), "seed {seed}");
                }
                room.end_tick();
            }
        }
    }

    /// Opens, closes or re-gains something by chance.
    fn change(
        rng: &mut Rng,
        room: &mut Room,
        sources: &mut Vec<SourceSlot>,
        sinks: &mut Vec<SinkSlot>,
    ) {
        let pick = |rng: &mut Rng, len: usize| rng.below(len as u64) as usize;
        match rng.below(8) {
            0 | 1 => {
                if let Ok((source, sink)) = room.open_party() {
                    sources.push(source);
                    sinks.push(sink);
                }
            }
            2 => sources.extend(room.open_source(rng.below(2) == 0)),
            3 => sinks.extend(room.open_sink(rng.below(2) == 0, None)),
            4 if sources.len() > 4 => {
                let at = pick(rng, sources.len());
                room.close_source(sources.swap_remove(at));
            }
            5 if sinks.len() > 4 => {
                let at = pick(rng, sinks.len());
                room.close_sink(sinks.swap_remove(at));
            }
            _ if !sources.is_empty() && !sinks.is_empty() => {
                let source = sources[pick(rng, sources.len())];
                let sink = sinks[pick(rng, sinks.len())];
                let gains = [Gain::MUTE, Gain::UNITY, Gain::from_factor(0.3), Gain::MAX];
                let gain = gains[pick(rng, 4)];
                match room.set_gain(source, sink, gain) {
                    Ok(()) => assert_eq!(room.gain(source, sink), Ok(gain)),
                    Err(error) => assert_eq!(error, RoomError::Full),
                }
            }
            _ => {}
        }
    }

    #[test]
    fn a_bridge_with_whisper_and_a_silent_listener() {
        let mut room = Room::new(RATE, Capacity::default());
        let (caller, caller_ear) = room.open_party().expect("room");
        let (agent, agent_ear) = room.open_party().expect("room");
        let coach = room.open_source(false).expect("room");
        let coach_ear = room.open_sink(true, None).expect("room");
        room.set_gain(coach, agent_ear, Gain::UNITY).expect("room");
        for (source, value) in [(caller, 100), (agent, 20), (coach, 3)] {
            room.put(source, &frame(value)).expect("open");
        }
        let mut heard = Frame::silence(RATE);
        for (sink, value) in [(caller_ear, 20), (agent_ear, 103), (coach_ear, 120)] {
            assert_eq!(room.take(sink, &mut heard), Ok(Mixed::Sound));
            assert_eq!(heard.samples()[7], value);
        }
        room.end_tick();
        assert_eq!(room.take(agent_ear, &mut heard), Ok(Mixed::Silence));
        assert!(heard.is_silent());
    }

    #[test]
    fn sums_saturate_once() {
        let mut room = Room::new(RATE, Capacity::default());
        let ear = room.open_sink(true, None).expect("room");
        for value in [30_000, 30_000, -30_000] {
            let source = room.open_source(true).expect("room");
            room.put(source, &frame(value)).expect("open");
        }
        let mut heard = Frame::silence(RATE);
        room.take(ear, &mut heard).expect("open");
        assert_eq!(heard.samples()[0], 30_000);
    }

    #[test]
    fn limits_and_mistakes_are_errors() {
        let capacity = Capacity {
            sources: 2,
            sinks: 1,
            exceptions: 1,
        };
        let mut room = Room::new(RATE, capacity);
        let (one, ear) = room.open_party().expect("room");
        assert_eq!(room.open_party(), Err(RoomError::Full));
        // The source that the failed party had taken is free again.
        let two = room.open_source(true).expect("room");
        assert_eq!(room.set_gain(one, ear, Gain::UNITY), Ok(()));
        assert_eq!(room.set_gain(two, ear, Gain::MUTE), Err(RoomError::Full));
        room.close_source(two);
        let gone = Err(RoomError::NoSuchSlot);
        assert_eq!(room.put(two, &frame(1)), gone);
        assert_eq!(room.put(SourceSlot(900), &frame(1)), gone);
        let wide = Frame::silence(SampleRate::HZ_16000);
        assert_eq!(room.put(one, &wide), Err(RoomError::WrongFrame));
        room.close_source(SourceSlot(900));
        room.close_sink(SinkSlot(900));
    }

    #[test]
    fn gains_convert() {
        assert_eq!(Gain::from_db(0.0), Gain::UNITY);
        assert_eq!(Gain::from_db(f32::NEG_INFINITY), Gain::MUTE);
        assert_eq!(Gain::from_db(f32::NAN), Gain::MUTE);
        assert_eq!(Gain::from_db(90.0), Gain::MAX);
        assert!((Gain::from_db(-6.0).factor() - 0.501).abs() < 0.001);
    }
}

//! The room as a gain matrix: who hears whom, and how loud.

pub mod speakers;

use std::ops::Range;

use sidetone_simd::mix::{
    GAIN_BITS, add, add_scaled, fade_in, fade_out, saturate, saturate_without, subtract,
};

use crate::media::frame::{Frame, SampleRate};

use speakers::{Selection, SelectionStats, Speakers};

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
/// exception costs itself only; sources that do not sound cost nothing. Where many parties are there, the
/// loudest are mixed if [`select`](Self::select) has said so.
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
    /// The sum of the mesh's sources that are mixed in this tick, once they have been.
    sum: Box<[i32]>,
    is_summed: bool,
    /// Scratch for a sink with exceptions.
    scratch: Box<[i32]>,
    /// Scratch for a source that is faded.
    faded: Box<[i16]>,
    /// Sources in the sum.
    mixed: u32,
    sources: Box<[Source]>,
    /// One frame a source, those that do not sound being stale.
    frames: Box<[i16]>,
    /// The sources that sound in this tick, and those that did in the last one.
    sounding: Vec<SourceSlot>,
    sounded: Vec<SourceSlot>,
    sinks: Box<[Sink]>,
    /// No slot before these is free.
    first_source: usize,
    first_sink: usize,
    /// Exceptions, sorted by sink and then by source.
    exceptions: Vec<Exception>,
    exceptions_max: usize,
    /// Sources that are parties'.
    parties: u16,
    /// Where not everybody is mixed.
    speakers: Option<Box<Speakers>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Source {
    open: bool,
    mesh: bool,
    is_party: bool,
    sounds: bool,
    /// In the sum of this tick.
    share: Share,
    /// It sounded in the last tick, and was mixed then.
    sounded: bool,
    was_mixed: bool,
}

/// How much of a frame is in the sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Share {
    #[default]
    Nothing,
    All,
    FadedIn,
    FadedOut,
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
            is_summed: false,
            scratch: vec![0; samples].into(),
            faded: vec![0; samples].into(),
            mixed: 0,
            sources: vec![Source::default(); sources].into(),
            frames: vec![0; samples * sources].into(),
            sounding: Vec::with_capacity(sources),
            sounded: Vec::with_capacity(sources),
            sinks: vec![Sink::default(); sinks].into(),
            first_source: 0,
            first_sink: 0,
            exceptions: Vec::with_capacity(exceptions_max),
            exceptions_max,
            parties: 0,
            speakers: None,
        }
    }

    /// Mixes from now on only the loudest, where many are there. Allocates. Without effect in a room that
    /// has no places for so many.
    pub fn select(&mut self, selection: Selection) {
        let sources = self.sources.len();
        if sources > usize::from(selection.everybody_up_to) {
            self.speakers = Some(Box::new(Speakers::new(selection, sources)));
        }
    }

    /// What selecting has done so far; nothing where everybody is mixed.
    pub fn selection_stats(&self) -> SelectionStats {
        let speakers = self.speakers.as_ref();
        speakers.map_or_else(SelectionStats::default, |speakers| speakers.stats)
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
                share: Share::Nothing,
                ..*source
            };
        }
        self.sinks[..other.sinks.len()].copy_from_slice(&other.sinks);
        (self.first_source, self.first_sink) = (other.first_source, other.first_sink);
        self.exceptions.clear();
        self.exceptions.extend_from_slice(&other.exceptions);
        self.sounding.clear();
        self.sounded.clear();
        self.sounded.extend_from_slice(&other.sounded);
        self.parties = other.parties;
        match (&mut self.speakers, &other.speakers) {
            (Some(own), Some(other)) => own.take_over(other),
            (own, _) => {
                if let Some(own) = own {
                    own.restart();
                }
            }
        }
        self.clear_sum();
        true
    }

    /// Opens a source and a sink of one party in the mesh: it hears every other party, not itself.
    ///
    /// # Errors
    /// [`RoomError::Full`] where no source or no sink is free.
    pub fn open_party(&mut self) -> Result<(SourceSlot, SinkSlot), RoomError> {
        let source = self.open_source(true)?;
        match self.open_sink(true, Some(source)) {
            Ok(sink) => {
                self.sources[usize::from(source.0)].is_party = true;
                self.parties += 1;
                Ok((source, sink))
            }
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
        let rest = self.sources.get(self.first_source..).unwrap_or_default();
        let free = rest.iter().position(|s| !s.open);
        let index = self.first_source + free.ok_or(RoomError::Full)?;
        self.first_source = index + 1;
        self.sources[index] = Source {
            open: true,
            mesh,
            ..Source::default()
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
        let rest = self.sinks.get(self.first_sink..).unwrap_or_default();
        let free = rest.iter().position(|s| !s.open);
        let index = self.first_sink + free.ok_or(RoomError::Full)?;
        self.first_sink = index + 1;
        self.sinks[index] = Sink {
            open: true,
            mesh,
            own,
        };
        Ok(SinkSlot(index as u16))
    }

    /// Closes a source and forgets its exceptions; closing one that is not open does nothing.
    pub fn close_source(&mut self, source: SourceSlot) {
        self.silence(source);
        if let Some(slot) = self.sources.get_mut(usize::from(source.0)) {
            self.parties -= u16::from(slot.is_party);
            *slot = Source::default();
            self.first_source = self.first_source.min(usize::from(source.0));
        }
        if let Some(speakers) = &mut self.speakers {
            speakers.forget(source.0);
        }
        self.sounded.retain(|&own| own != source);
        self.exceptions.retain(|e| e.source != source);
        for sink in self.sinks.iter_mut().filter(|s| s.own == Some(source)) {
            sink.own = None;
        }
    }

    /// Closes a sink and forgets its exceptions; closing one that is not open does nothing.
    pub fn close_sink(&mut self, sink: SinkSlot) {
        if let Some(slot) = self.sinks.get_mut(usize::from(sink.0)) {
            *slot = Sink::default();
            self.first_sink = self.first_sink.min(usize::from(sink.0));
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
        if self.is_summed {
            self.clear_sum();
        }
        self.sounding.push(source);
        let len = self.sum.len();
        self.frames[index * len..][..len].copy_from_slice(frame.samples());
        Ok(())
    }

    /// Whether in this tick `sink` hears what everybody hears who does not speak: all that is mixed, and
    /// nothing else.
    pub fn hears_all(&mut self, sink: SinkSlot) -> bool {
        self.mix();
        let slot = self.sinks.get(usize::from(sink.0));
        let Some(slot) = slot.filter(|slot| slot.open && slot.mesh) else {
            return false;
        };
        let speaks = slot.own.is_some_and(|own| self.in_sum(own));
        !speaks && !self.is_excepted(&self.exceptions_of(sink))
    }

    /// Whether what is mixed in this tick is hardly more than silence: 60 dB below full scale.
    pub fn is_quiet(&mut self) -> bool {
        self.mix();
        let sum: u64 = self.sum.iter().map(|s| u64::from(s.unsigned_abs())).sum();
        self.mixed == 0 || sum <= 30 * self.sum.len() as u64
    }

    /// Makes in `frame` what `sink` hears in this tick, saturated once.
    ///
    /// # Errors
    /// [`RoomError::NoSuchSlot`] where the sink is not open.
    pub fn take(&mut self, sink: SinkSlot, frame: &mut Frame) -> Result<Mixed, RoomError> {
        self.mix();
        let slot = self.sinks.get(usize::from(sink.0)).filter(|s| s.open);
        let slot = *slot.ok_or(RoomError::NoSuchSlot)?;
        frame.reset(self.rate);
        let own = slot.own.filter(|&own| slot.mesh && self.in_sum(own));
        let mesh = slot.mesh && self.mixed > u32::from(own.is_some());
        let exceptions = self.exceptions_of(sink);
        if self.is_excepted(&exceptions) {
            return Ok(self.take_with_exceptions(exceptions, slot, frame));
        }
        match (mesh, own) {
            (false, _) => return Ok(Mixed::Silence),
            (true, None) => saturate(&self.sum, frame.samples_mut()),
            (true, Some(own)) => {
                let own = share_of(&self.sources, &self.frames, own, &mut self.faded);
                saturate_without(&self.sum, own, frame.samples_mut());
            }
        }
        Ok(Mixed::Sound)
    }

    /// Ends the tick: no source sounds until it is put again.
    pub fn end_tick(&mut self) {
        self.mix();
        for source in self.sounded.drain(..) {
            let source = &mut self.sources[usize::from(source.0)];
            (source.sounded, source.was_mixed) = (false, false);
        }
        for &source in &self.sounding {
            let source = &mut self.sources[usize::from(source.0)];
            source.sounded = true;
            source.was_mixed = matches!(source.share, Share::All | Share::FadedIn);
            (source.sounds, source.share) = (false, Share::Nothing);
        }
        std::mem::swap(&mut self.sounding, &mut self.sounded);
        self.clear_sum();
        if let Some(speakers) = &mut self.speakers {
            speakers.end_tick();
        }
    }

    /// Sums what is mixed in this tick, unless that has been done.
    fn mix(&mut self) {
        if std::mem::replace(&mut self.is_summed, true) {
            return;
        }
        let selects = self.choose();
        for &slot in &self.sounding {
            let index = usize::from(slot.0);
            let source = &mut self.sources[index];
            if !source.mesh {
                continue;
            }
            let speakers = self
                .speakers
                .as_mut()
                .filter(|_| selects && source.is_party);
            let is_wanted = speakers.as_ref().is_none_or(|it| it.has_place(slot.0));
            source.share = match (is_wanted, source.was_mixed) {
                (true, false) if source.sounded => Share::FadedIn,
                (true, _) => Share::All,
                (false, true) => Share::FadedOut,
                (false, false) => Share::Nothing,
            };
            if source.share == Share::Nothing {
                if let Some(speakers) = speakers {
                    speakers.stats.left_out += 1;
                }
                continue;
            }
            self.mixed += 1;
            let samples = share_of(&self.sources, &self.frames, slot, &mut self.faded);
            add(&mut self.sum, samples);
        }
    }

    /// Lets the loudest have the places; false where everybody is mixed.
    fn choose(&mut self) -> bool {
        let Some(speakers) = &mut self.speakers else {
            return false;
        };
        if !speakers.selects(self.parties) {
            return false;
        }
        let sources = &self.sources;
        let parties = self.sounding.iter().map(|slot| slot.0);
        let parties = parties.filter(|&slot| sources[usize::from(slot)].is_party);
        let len = self.sum.len();
        for slot in parties.clone() {
            let samples = &self.frames[usize::from(slot) * len..][..len];
            speakers.measure(slot, samples);
        }
        speakers.choose(parties);
        true
    }

    fn clear_sum(&mut self) {
        if self.mixed > 0 {
            self.sum.fill(0);
            self.mixed = 0;
        }
        self.is_summed = false;
    }

    /// Where the exceptions of a sink stand.
    fn exceptions_of(&self, sink: SinkSlot) -> Range<usize> {
        let start = self.exceptions.partition_point(|e| e.sink < sink);
        let end = start + self.exceptions[start..].partition_point(|e| e.sink == sink);
        start..end
    }

    /// Whether one of these exceptions matters in this tick.
    fn is_excepted(&self, range: &Range<usize>) -> bool {
        let mut exceptions = self.exceptions[range.clone()].iter();
        exceptions.any(|e| self.sources[usize::from(e.source.0)].sounds)
    }

    fn take_with_exceptions(
        &mut self,
        range: Range<usize>,
        sink: Sink,
        frame: &mut Frame,
    ) -> Mixed {
        let scratch = &mut self.scratch;
        let mut heard = 0;
        if sink.mesh {
            scratch.copy_from_slice(&self.sum);
            heard = self.mixed;
        } else {
            scratch.fill(0);
        }
        let (sources, frames) = (&self.sources, &self.frames);
        let in_sum = |source: SourceSlot| sources[usize::from(source.0)].share != Share::Nothing;
        let own = sink.own.filter(|&own| sink.mesh && in_sum(own));
        if let Some(own) = own {
            heard -= 1;
            subtract(scratch, share_of(sources, frames, own, &mut self.faded));
        }
        for exception in &self.exceptions[range] {
            let slot = exception.source;
            let source = sources[usize::from(slot.0)];
            if !source.sounds {
                continue;
            }
            let is_usual = sink.mesh && source.mesh && sink.own != Some(slot);
            let samples = match is_usual {
                // Of those whom everybody may hear, those who are mixed.
                true if source.share == Share::Nothing => continue,
                true => share_of(sources, frames, slot, &mut self.faded),
                false => frame_of(frames, slot, frame.samples().len()),
            };
            if is_usual {
                heard -= 1;
                subtract(scratch, samples);
            }
            if exception.gain != Gain::MUTE {
                heard += 1;
                add_scaled(scratch, samples, exception.gain.0);
            }
        }
        saturate(scratch, frame.samples_mut());
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
        (slot.sounds, slot.share) = (false, Share::Nothing);
        self.sounding.retain(|&own| own != source);
        self.clear_sum();
    }

    fn in_sum(&self, source: SourceSlot) -> bool {
        let slot = self.sources.get(usize::from(source.0));
        slot.is_some_and(|slot| slot.share != Share::Nothing)
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

/// What a source has said in this tick; a frame has so many samples.
fn frame_of(frames: &[i16], source: SourceSlot, len: usize) -> &[i16] {
    &frames[usize::from(source.0) * len..][..len]
}

/// What of a source is in the sum; `faded` has a frame's length.
fn share_of<'a>(
    sources: &[Source],
    frames: &'a [i16],
    source: SourceSlot,
    faded: &'a mut [i16],
) -> &'a [i16] {
    let samples = frame_of(frames, source, faded.len());
    match sources[usize::from(source.0)].share {
        Share::Nothing => &[],
        Share::All => samples,
        Share::FadedIn => {
            fade_in(samples, faded);
            faded
        }
        Share::FadedOut => {
            fade_out(samples, faded);
            faded
        }
    }
}

#[cfg(test)]
mod tests;

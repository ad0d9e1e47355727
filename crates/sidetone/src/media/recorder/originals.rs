//! The packets of Opus that came or went, in their places in a file that takes them as they are.
//!
//! A file of several channels has packets of all of them side by side, 20 ms each (RFC 7845 §5.1.1), and a packet can
//! be neither cut nor shifted by less. So each lies in the place that is nearest to where it belongs, its neighbours
//! of the same stream beside it, and the timeline says how far off they are.

use std::collections::VecDeque;
use std::ops::Range;

use crate::media::frame::SampleRate;
use crate::media::recorder::note::Note;
use crate::media::recorder::track::Track;
use crate::time::Duration;

/// What an encoder of Opus holds back, which players skip at the beginning of a file (libopus; RFC 7845 §5.1).
pub(in crate::media) const LOOKAHEAD: Duration = Duration::from_micros(6_500);
/// The length of a packet.
pub(super) const PACKET: Duration = Duration::from_millis(20);
/// How far back a packet may carry copies of what was said before it: a packet by in-band FEC, a second by deep
/// redundancy. For so long behind silenced sound none is written.
pub(super) const REACH: Duration = Duration::from_millis(1_100);
/// By how much a stream's packets have to come to lie differently for the timeline to be told.
const TOLD: Duration = Duration::from_micros(500);
/// Packets whose places are held; those of the window are 40.
const CELLS: u64 = 64;
/// Packets for which a track goes on being encoded after several have spoken on it.
const RETURN: u32 = 10;
/// A packet of so few bytes says that nothing is said.
const QUIET: usize = 2;

/// A feed's number and one of its tracks.
pub(super) type By = (u64, Track);

/// What is written in a place of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Take<'a> {
    /// This packet.
    Packet(&'a [u8]),
    /// None came or went here: a packet without data.
    Nothing,
    /// What stands in the window is encoded.
    Sound,
    /// Silence is encoded: what stands in the window is in packets beside it.
    Silence,
}

/// The packets of all channels.
#[derive(Debug)]
pub(super) struct Originals {
    frame: u64,
    lead: u64,
    told: u64,
    reach: u64,
    strands: Vec<Strand>,
    /// Where, on which channel, and what the timeline is to be told.
    news: VecDeque<(u64, usize, News)>,
}

/// What the timeline is to be told of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// Packets as they are, so many samples later than they belong.
    Original(i64),
    /// Encoded anew.
    Encoded,
    /// So many samples were put in, or left out where below zero.
    Slipped(i64),
}

impl News {
    pub(super) const fn note(self, track: Track) -> Note {
        match self {
            Self::Original(samples) => Note::Original { track, samples },
            Self::Encoded => Note::Encoded { track },
            Self::Slipped(samples) => Note::Slipped { track, samples },
        }
    }
}

/// A channel.
#[derive(Debug, Default)]
struct Strand {
    cells: Vec<Cell>,
    /// Whose the last packet was, where it belonged and where it was put.
    last: Option<(By, i64, i64)>,
    /// What the timeline was told.
    told: Option<News>,
    /// Packets that are still encoded although they are there.
    wait: u32,
}

/// A place for a packet.
#[derive(Debug, Default, Clone)]
struct Cell {
    slot: u64,
    /// Who has spoken in it.
    by: Option<By>,
    /// Several have.
    is_mixed: bool,
    /// Sound stands in it that packets carry, here or beside.
    is_covered: bool,
    /// Sound stands in it that no packet carries, or that is silenced.
    needs: bool,
    /// The packet, whose it is, and where it belongs.
    packet: Vec<u8>,
    packet_by: Option<By>,
    at: i64,
}

impl Cell {
    /// Is that of another place.
    fn reset(&mut self, slot: u64) {
        let mut packet = std::mem::take(&mut self.packet);
        packet.clear();
        *self = Self {
            slot,
            packet,
            ..Self::default()
        };
    }
}

impl Originals {
    pub(super) fn new(channels: u16, rate: SampleRate) -> Self {
        let strand = || Strand {
            cells: vec![Cell::default(); CELLS as usize],
            ..Strand::default()
        };
        Self {
            frame: rate.samples_in(PACKET).max(1),
            lead: rate.samples_in(LOOKAHEAD),
            told: rate.samples_in(TOLD),
            reach: rate.samples_in(REACH),
            strands: (0..channels).map(|_| strand()).collect(),
            news: VecDeque::new(),
        }
    }

    /// For how many samples behind silenced sound nothing is written as it is.
    pub(super) fn reach(&self) -> u64 {
        self.reach + 2 * self.frame
    }

    /// Sound was put into the window of a channel: some that a packet carries, or not.
    pub(super) fn sound(
        &mut self,
        channel: usize,
        by: By,
        from: u64,
        samples: &[i16],
        covered: bool,
    ) {
        let sounds = samples.iter().any(|&sample| sample != 0);
        if samples.is_empty() || !sounds && !covered {
            return;
        }
        let last = from + samples.len() as u64 - 1;
        for slot in from / self.frame..=last / self.frame {
            let Some(cell) = self.cell(channel, slot) else {
                continue;
            };
            if sounds {
                cell.is_mixed |= cell.by.replace(by).is_some_and(|other| other != by);
            }
            cell.is_covered |= covered;
            cell.needs |= !covered;
        }
    }

    /// A packet of 20 ms, the first sample of which would play at `at` if it were written there.
    pub(super) fn packet(&mut self, channel: usize, by: By, at: u64, packet: &[u8]) {
        let (at, frame) = (at as i64, self.frame as i64);
        let nearest = (at + frame / 2).div_euclid(frame);
        let Some(strand) = self.strands.get_mut(channel) else {
            return;
        };
        let last = strand.last.filter(|(whose, ..)| *whose == by);
        let (mut slot, mut slip) = (nearest, 0);
        if let Some((_, last_at, last_slot)) = last {
            let steps = (at - last_at + frame / 2).div_euclid(frame);
            let beside = last_slot + steps;
            // Where nothing is said, or something is missing, nobody hears it.
            let is_quiet = packet.len() <= QUIET || steps != 1;
            let most = if is_quiet { frame / 2 } else { frame * 3 / 4 };
            match (beside * frame - at).abs() <= most {
                true => slot = beside,
                false if steps == 1 => slip = nearest - beside,
                false => {}
            }
        }
        if last.is_none_or(|(_, last_at, _)| at > last_at) {
            strand.last = Some((by, at, slot));
        }
        let Ok(slot) = u64::try_from(slot) else {
            return;
        };
        if slip != 0 {
            let place = (slot * self.frame).saturating_sub(self.lead);
            let news = News::Slipped(slip * frame);
            self.news.push_back((place, channel, news));
        }
        let Some(cell) = self.cell(channel, slot) else {
            return;
        };
        if !cell.packet.is_empty() {
            cell.is_mixed |= cell.packet_by != Some(by);
            return;
        }
        cell.packet.extend_from_slice(packet);
        (cell.packet_by, cell.at) = (Some(by), at);
    }

    /// The place of this number, where it is not over.
    fn cell(&mut self, channel: usize, slot: u64) -> Option<&mut Cell> {
        let cells = &mut self.strands.get_mut(channel)?.cells;
        let cell = cells.get_mut((slot % CELLS) as usize)?;
        if cell.slot < slot {
            cell.reset(slot);
        }
        (cell.slot == slot).then_some(cell)
    }

    /// Takes the packets away of which anything lies in samples that are silenced, or may be a copy of such.
    pub(super) fn hush(&mut self, is_silenced: impl Fn(Range<u64>) -> bool) {
        let (frame, lead, reach) = (self.frame, self.lead, self.reach);
        let cells = self.strands.iter_mut().flat_map(|it| &mut it.cells);
        for cell in cells.filter(|cell| cell.is_covered || !cell.packet.is_empty()) {
            let from = (cell.at as u64).saturating_sub(lead);
            let packet = from.saturating_sub(reach)..from + frame;
            let place = cell.slot * frame;
            let place = place.saturating_sub(frame)..place + frame;
            if !cell.packet.is_empty() && is_silenced(packet) || is_silenced(place) {
                cell.packet.clear();
                cell.needs = true;
            }
        }
    }

    /// What is written in this place, once.
    pub(super) fn take(&mut self, channel: usize, slot: u64) -> Take<'_> {
        let place = (slot * self.frame).saturating_sub(self.lead);
        let Some(strand) = self.strands.get_mut(channel) else {
            return Take::Sound;
        };
        let Some(cell) = strand.cells.get_mut((slot % CELLS) as usize) else {
            return Take::Sound;
        };
        if cell.slot != slot {
            return Take::Sound;
        }
        let is_alone = cell.by.is_none() || cell.by == cell.packet_by;
        let is_mixed = cell.is_mixed || !cell.packet.is_empty() && !is_alone;
        strand.wait = match is_mixed {
            true => RETURN,
            false => strand.wait.saturating_sub(1),
        };
        let is_encoded = is_mixed || cell.needs || strand.wait > 0;
        let news = match (is_encoded, cell.packet.is_empty()) {
            (true, _) => News::Encoded,
            (false, false) => News::Original((slot * self.frame) as i64 - cell.at),
            (false, true) => {
                return match strand.told {
                    Some(News::Original(_)) => Take::Nothing,
                    Some(_) => Take::Sound,
                    None => Take::Silence,
                };
            }
        };
        let is_known = match (strand.told, news) {
            (Some(News::Original(told)), News::Original(off)) => told.abs_diff(off) < self.told,
            (told, news) => told == Some(news),
        };
        if !is_known {
            strand.told = Some(news);
            self.news.push_back((place, channel, news));
        }
        match is_encoded {
            true => Take::Sound,
            false => Take::Packet(&cell.packet),
        }
    }

    /// What the timeline is to be told: where, of which channel, and what.
    pub(super) fn poll_news(&mut self) -> Option<(u64, usize, News)> {
        self.news.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: SampleRate = SampleRate::HZ_8000;
    const ALICE: By = (0, Track::Caller);
    const BOB: By = (1, Track::Agent);

    /// What is written of packets that belong at these samples, and what the timeline is told.
    fn run(packets: &[(u64, &[u8])], slots: u64) -> (Vec<Option<Vec<u8>>>, Vec<News>) {
        let mut originals = Originals::new(1, RATE);
        let (mut taken, mut news) = (Vec::new(), Vec::new());
        let mut waiting = packets.iter().peekable();
        for slot in 0..slots {
            while let Some((at, packet)) = waiting.next_if(|(at, _)| *at < (slot + 20) * 160) {
                originals.packet(0, ALICE, *at, packet);
            }
            taken.push(match originals.take(0, slot) {
                Take::Packet(packet) => Some(packet.to_vec()),
                _ => None,
            });
            while let Some((_, _, told)) = originals.poll_news() {
                news.push(told);
            }
        }
        (taken, news)
    }

    #[test]
    fn packets_lie_side_by_side_whatever_their_phase() {
        for phase in [0, 40, 79, 80, 81, 159] {
            let all: Vec<_> = (0..50u8)
                .map(|n| (u64::from(n) * 160 + phase, [n; 9]))
                .collect();
            let all: Vec<_> = all.iter().map(|(at, packet)| (*at, &packet[..])).collect();
            let (taken, news) = run(&all, 60);
            let first = usize::from(phase >= 80);
            for (n, packet) in all.iter().enumerate() {
                assert_eq!(taken[n + first].as_deref(), Some(packet.1), "{phase} {n}");
            }
            assert_eq!(news, [News::Original(first as i64 * 160 - phase as i64)]);
        }
    }

    #[test]
    fn a_clock_that_runs_away_costs_a_packet_where_it_is_quiet() {
        // A sample in four packets too fast, quiet every 20.
        let all: Vec<_> = (0..2_000u64)
            .map(|n| {
                (
                    n * 160 - n / 4,
                    vec![n as u8; if n % 20 == 0 { 1 } else { 9 }],
                )
            })
            .collect();
        let all: Vec<_> = all.iter().map(|(at, packet)| (*at, &packet[..])).collect();
        let (taken, news) = run(&all, 1_980);
        let slips = news.iter().filter(|it| matches!(it, News::Slipped(_)));
        let slips: Vec<_> = slips.collect();
        assert!((2..=4).contains(&slips.len()), "{slips:?}");
        assert!(slips.iter().all(|it| **it == News::Slipped(-160)));
        let missing = all.iter().filter(|(_, packet)| packet.len() == 9);
        let written = taken.iter().flatten().filter(|packet| packet.len() == 9);
        assert!(missing.count() - written.count() < 30, "more than the end");
        // Too slow: places stay empty, nothing is left out.
        let all: Vec<_> = (0..1_000u64).map(|n| (n * 160 + n / 4, [1; 9])).collect();
        let all: Vec<_> = all.iter().map(|(at, packet)| (*at, &packet[..])).collect();
        let (taken, _) = run(&all, 1_010);
        assert_eq!(taken.iter().flatten().count(), 1_000);
        for (off, _) in news.iter().filter_map(|it| match it {
            News::Original(off) => Some((off, ())),
            _ => None,
        }) {
            assert!(off.abs() <= 120, "{off}");
        }
    }

    #[test]
    fn where_several_speak_or_something_is_silenced_sound_is_encoded() {
        let mut originals = Originals::new(1, RATE);
        for slot in 0..60 {
            originals.packet(0, ALICE, slot * 160, &[slot as u8; 9]);
            originals.sound(0, ALICE, slot * 160, &[5; 160], true);
        }
        originals.sound(0, BOB, 10 * 160, &[0; 160], false);
        originals.sound(0, BOB, 20 * 160, &[5; 160], false);
        let span = 40 * 160 + 10..40 * 160 + 20;
        originals.hush(|it| it.start < span.end && span.start < it.end);
        let kinds: Vec<_> = (0..60)
            .map(|slot| match originals.take(0, slot) {
                Take::Packet(packet) => packet == [slot as u8; 9],
                _ => false,
            })
            .collect();
        let encoded = |slot: &usize| !(20..30).contains(slot) && *slot < 40;
        for (slot, kind) in kinds.iter().enumerate() {
            assert_eq!(*kind, encoded(&slot), "{slot}");
        }
    }
}

//! By how much each track of a recording plays beside where it belongs, as its record knows by the end.

use crate::media::frame::SampleRate;
use crate::media::recorder::seal::Opening;
use crate::media::recorder::track::{Track, Tracks};
use crate::media::recorder::verify::Noted;

/// How far a track is shifted at most, in milliseconds.
pub(super) const MOST_MS: u64 = 200;

/// What a record says of where its tracks belong: of their first seconds, which the network had not said when they were
/// written ([`Note::Placed`](crate::media::recorder::note::Note::Placed)), and of packets that are in the file as they
/// came ([`Note::Original`](crate::media::recorder::note::Note::Original)).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Alignment {
    channels: Vec<Line>,
}

/// A channel's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Line {
    /// Where sound was placed, and how many samples too late.
    placed: Vec<(i64, i64)>,
    /// From where on in the file all plays so many samples later than it was placed.
    shifts: Vec<(i64, i64)>,
}

impl Alignment {
    /// What a record says that began so, with this timeline; see [`told`](crate::media::recorder::verify::told).
    pub fn of(opening: &Opening, timeline: &[Noted]) -> Self {
        Self::read(opening.tracks, opening.layout.rate, timeline)
    }

    fn read(tracks: Tracks, rate: SampleRate, timeline: &[Noted]) -> Self {
        let line = |(channel, _): (usize, Track)| {
            let notes = timeline.iter().filter_map(move |it| {
                let track = Track::named(it.track.as_deref()?)?;
                (tracks.channel_of(track) == channel).then_some((track, it))
            });
            Line::read(notes, rate)
        };
        let channels = tracks.iter().enumerate().map(line).collect();
        Self { channels }
    }

    /// Whether all stands where it belongs.
    pub fn is_nothing(&self) -> bool {
        let is_nothing =
            |line: &Line| line.placed.is_empty() && line.shifts.iter().all(|it| it.1 == 0);
        self.channels.iter().all(is_nothing)
    }

    /// Where in the file stands what belongs at `time`, as samples of a channel.
    pub(super) fn place(&self, channel: usize, time: i64) -> i64 {
        let line = self.channels.get(channel);
        line.map_or(time, |line| line.place(time))
    }
}

impl Line {
    fn read<'a>(notes: impl Iterator<Item = (Track, &'a Noted)>, rate: SampleRate) -> Self {
        let second = i64::from(rate.hz());
        let most = i64::from(rate.hz() / 1000) * MOST_MS as i64 / 2;
        let (mut line, mut known, mut whose) = (Self::default(), Vec::new(), None);
        for (track, noted) in notes {
            let (at, count) = (noted.at as i64, noted.count.unwrap_or(0).clamp(-most, most));
            match noted.kind.as_str() {
                "original" => line.shifts.push((at, count)),
                "encoded" => line.shifts.push((at, 0)),
                // Of a channel that several shared nobody knows whose sound it is.
                "placed" if whose.replace(track).is_none_or(|it| it == track) => {
                    known.push((at, count));
                }
                "placed" => known.clear(),
                _ => {}
            }
        }
        // Seconds that are not told of stand where they belong.
        for (n, &(at, late)) in known.iter().enumerate() {
            let near = |other: Option<&(i64, i64)>| {
                other.is_some_and(|(other, _)| other.abs_diff(at) as i64 <= second * 3 / 2)
            };
            if !near(n.checked_sub(1).and_then(|n| known.get(n))) && n > 0 {
                line.placed.push((at - second, 0));
            }
            line.placed.push((at, late));
            if !near(known.get(n + 1)) {
                line.placed.push((at + second, 0));
            }
        }
        line.placed.sort_by_key(|(at, _)| *at);
        line.shifts.sort_by_key(|(at, _)| *at);
        line
    }

    fn place(&self, time: i64) -> i64 {
        let placed = time + self.late(time);
        let mut shifts = self.shifts.iter().rev();
        let shift = shifts.find(|(from, shift)| placed + shift >= *from);
        placed + shift.map_or(0, |(_, shift)| *shift)
    }

    /// By how many samples what belongs at `time` was placed too late.
    fn late(&self, time: i64) -> i64 {
        let next = self.placed.partition_point(|(at, late)| at - late <= time);
        let before = next.checked_sub(1).and_then(|n| self.placed.get(n));
        match (before, self.placed.get(next)) {
            (Some(&(from, a)), Some(&(to, b))) if to > from => {
                a + (b - a) * (time + a - from).clamp(0, to - from) / (to - from)
            }
            // What is said of a track's beginning holds for it from the first sample on.
            (None, Some(&(_, first))) => first,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(kind: &str, at: u64, count: i64) -> Noted {
        Noted {
            at,
            kind: kind.to_owned(),
            text: String::new(),
            track: Some("caller".to_owned()),
            count: Some(count),
        }
    }

    fn place(timeline: &[Noted], times: &[i64]) -> Vec<i64> {
        let rate = SampleRate::HZ_8000;
        let alignment = Alignment::read(Tracks::STEREO, rate, timeline);
        let other = |time: &i64| alignment.place(1, *time) == *time;
        assert!(times.iter().all(other), "the other track stands still");
        times.iter().map(|time| alignment.place(0, *time)).collect()
    }

    #[test]
    fn the_first_seconds_are_moved_and_what_follows_is_not() {
        let timeline = [
            noted("placed", 1_000, 40),
            noted("placed", 9_000, 20),
            noted("placed", 33_000, -8),
        ];
        let times = [0, 960, 4_970, 8_980, 12_990, 20_000, 33_008, 60_000];
        let places = place(&timeline, &times);
        let off: Vec<_> = places
            .iter()
            .zip(times)
            .map(|(at, time)| at - time)
            .collect();
        assert_eq!(off, [40, 40, 30, 20, 10, 0, -8, 0]);
    }

    #[test]
    fn packets_are_moved_from_where_they_begin_to_play() {
        let timeline = [
            noted("original", 800, 50),
            noted("encoded", 8_000, 1),
            noted("original", 16_000, -70),
        ];
        let places = place(&timeline, &[0, 760, 7_900, 7_960, 16_060, 16_080]);
        assert_eq!(places, [0, 810, 7_950, 8_010, 16_060, 16_010]);
    }
}

//! Recordings: two tracks in step, whatever the network does.

use std::io::Cursor;

use super::lab::{Lab, Peer, RATE, ROOM, lag, ms, power, speech, through_codec};
use crate::id::{LegId, PlayId, RecordingId};
use crate::media::command::{Command, Event, PlayOn};
use crate::media::frame::SampleRate;
use crate::media::leg::recording::MAX_RECORDINGS;
use crate::media::player::{Player, Repeat};
use crate::media::recorder::writer::TrackWriter;
use crate::media::recorder::{DEFAULT_QUEUE, Feed, recording};
use crate::media::wav::{Clip, Encoding, Header};
use crate::rng::Rng;
use crate::time::Duration;

const RECORDING: RecordingId = RecordingId(3);

/// Drains a feed while the lab runs, as the storage thread does.
struct Tape(TrackWriter<Cursor<Vec<u8>>>);

impl Tape {
    fn new(feed: Feed) -> Self {
        Self(TrackWriter::new(feed, Encoding::Pcm16, Cursor::new(Vec::new())).unwrap())
    }

    fn run(&mut self, lab: &mut Lab, time: Duration) {
        lab.run_with(time, |_| {
            self.0.drain().unwrap();
        });
    }

    /// Both tracks, left first.
    fn tracks(self) -> [Vec<i16>; 2] {
        let (file, report) = self.0.close();
        assert!(report.unwrap().tracks.iter().all(|t| t.lost_frames == 0));
        let file = file.into_inner();
        let samples = file[Header::LEN..].as_chunks::<2>().0;
        let samples = samples.iter().map(|&s| i16::from_le_bytes(s));
        let both: Vec<i16> = samples.collect();
        [0, 1].map(|track| both.iter().skip(track).step_by(2).copied().collect())
    }
}

fn start(lab: &mut Lab) -> Tape {
    let (tap, feed) = recording(RATE, DEFAULT_QUEUE);
    lab.command(Command::StartRecording {
        leg: LegId(1),
        recording: RECORDING,
        tap: Box::new(tap),
    });
    Tape::new(feed)
}

fn stop(lab: &mut Lab) {
    let (leg, recording) = (LegId(1), RECORDING);
    lab.command(Command::StopRecording { leg, recording });
    let stopped = |e: &Event| {
        matches!(
            e,
            Event::RecordingStopped {
                recording: RECORDING,
                ..
            }
        )
    };
    assert!(lab.take_events().iter().any(stopped));
}

/// The place of `sound[from..from + 4000]` in `track`, less `from`.
fn place(sound: &[i16], track: &[i16], from: usize) -> i64 {
    let begin = from.saturating_sub(2_000);
    let found = lag(&sound[from..from + 4_000], &track[begin..], 5_000);
    (begin + found) as i64 - from as i64
}

#[test]
fn both_tracks_stand_where_they_were_spoken_and_heard() {
    let mut lab = Lab::room(vec![Peer::new(1, speech(1)), Peer::silent(2)]);
    let prompt: Vec<i16> = (0..80_000).map(speech(5)).collect();
    let clip = Clip::from_samples(RATE, prompt.clone());
    lab.run(ms(100));
    let mut tape = start(&mut lab);
    let spoken = lab.peers[0].spoken;
    tape.run(&mut lab, ms(200));
    lab.command(Command::Play {
        play: PlayId(1),
        on: PlayOn::Room(ROOM),
        player: Box::new(Player::clip(clip, RATE, Repeat::Once).unwrap()),
    });
    tape.run(&mut lab, ms(8_000));
    stop(&mut lab);
    let [left, right] = tape.tracks();
    let said: Vec<i16> = (spoken..spoken + 60_000).map(speech(1)).collect();
    let said = through_codec(&said);
    // The next packet came 20 ms and 7 ms after the start, and the prompt 220 ms after it.
    for from in (4_000..56_000).step_by(8_000) {
        assert_eq!(place(&said, &left, from), 216, "left at {from}");
        assert_eq!(place(&prompt, &right, from), 1_760, "right at {from}");
    }
    assert_eq!(left.len(), right.len());
}

#[test]
fn jitter_and_loss_do_not_move_a_track() {
    let seed = 21;
    let mut rng = Rng::new(seed);
    let mut peer = Peer::new(1, speech(1));
    peer.is_sending = false;
    let mut lab = Lab::room(vec![peer, Peer::silent(2)]);
    let mut tape = start(&mut lab);
    let mut in_flight: Vec<(u64, Vec<u8>)> = Vec::new();
    for tick in 0..500 {
        let packet = lab.peers[0].speak();
        if rng.below(100) >= 5 {
            in_flight.push((tick * 20 + 20 + rng.below(40), packet));
        }
        tape.run(&mut lab, ms(20));
        in_flight.sort_by_key(|(at, _)| *at);
        while in_flight
            .first()
            .is_some_and(|(at, _)| *at < (tick + 1) * 20 + 20)
        {
            let (_, packet) = in_flight.remove(0);
            let source = lab.peers[0].address;
            lab.datagram(lab.peers[0].port, source, &packet);
        }
    }
    stop(&mut lab);
    let [left, _] = tape.tracks();
    let said: Vec<i16> = (0..80_000).map(speech(1)).collect();
    let said = through_codec(&said);
    let places: Vec<i64> = (8_000..72_000)
        .step_by(8_000)
        .map(|from| place(&said, &left, from))
        .collect();
    let (least, most) = (places.iter().min().unwrap(), places.iter().max().unwrap());
    assert!(most - least <= 8, "seed {seed}: {places:?}");
    assert!((0..=800).contains(least), "seed {seed}: {places:?}");
}

#[test]
fn a_recording_goes_on_while_the_leg_leaves_and_joins() {
    let mut lab = Lab::room(vec![Peer::new(1, speech(1)), Peer::new(2, speech(2))]);
    let mut tape = start(&mut lab);
    tape.run(&mut lab, ms(1_000));
    let leg = LegId(1);
    lab.command(Command::Leave { leg });
    tape.run(&mut lab, ms(1_000));
    lab.command(Command::Join { room: ROOM, leg });
    tape.run(&mut lab, ms(1_000));
    stop(&mut lab);
    let [left, right] = tape.tracks();
    assert_eq!(right.len(), 24_160);
    for (range, heard) in [
        (2_000..7_900, true),
        (8_400..15_900, false),
        (16_800..23_900, true),
    ] {
        assert!(power(&left[range.clone()]) > 1e5);
        assert_eq!(power(&right[range]) > 1e5, heard);
    }
}

#[test]
fn a_recording_that_runs_one_of_another_rate_and_too_many_of_a_leg_are_refused() {
    let mut lab = Lab::room(vec![Peer::silent(1)]);
    let _tape = start(&mut lab);
    let rejected = |e: &Event| matches!(e, Event::Rejected { .. });
    let mut begin = |id, rate| {
        let (tap, _feed) = recording(rate, DEFAULT_QUEUE);
        lab.command(Command::StartRecording {
            leg: LegId(1),
            recording: id,
            tap: Box::new(tap),
        });
        lab.take_events().iter().filter(|e| rejected(e)).count()
    };
    assert_eq!(begin(RECORDING, RATE), 1);
    assert_eq!(begin(RecordingId(9), SampleRate::HZ_16000), 1);
    for n in 1..MAX_RECORDINGS as u64 {
        assert_eq!(begin(RecordingId(20 + n), RATE), 0);
    }
    assert_eq!(begin(RecordingId(9), RATE), 1);
    let (leg, recording) = (LegId(1), RecordingId(9));
    lab.command(Command::StopRecording { leg, recording });
    assert_eq!(lab.take_events().iter().filter(|e| rejected(e)).count(), 1);
    stop(&mut lab);
}

//! What is exported of recordings of each format: cut, by tracks, brought in step.

use std::io::Cursor;
use std::sync::Arc;

use sidetone::media::codec::{Codec, Terms};
use sidetone::media::frame::{Frame, SampleRate};
use sidetone::media::recorder::digest::Digest;
use sidetone::media::recorder::export::align::Alignment;
use sidetone::media::recorder::export::packets::{self, Packets};
use sidetone::media::recorder::export::source::Source;
use sidetone::media::recorder::layout::{self, Format, Layout};
use sidetone::media::recorder::note::Note;
use sidetone::media::recorder::seal::Opening;
use sidetone::media::recorder::track::{Track, Tracks};
use sidetone::media::recorder::verify::Noted;
use sidetone::media::recorder::writer::{Sink, TrackWriter};
use sidetone::media::recorder::{Tap, TapPlan};
use sidetone::time::WallTime;
use sidetone_opus::codec::Opus;

/// A recording in memory, with its timeline.
#[derive(Debug, Default)]
struct Memory {
    head: Vec<u8>,
    bytes: Vec<u8>,
    timeline: Vec<Noted>,
}

impl Sink for Memory {
    fn append(&mut self, bytes: &[u8], _samples: u64) -> std::io::Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn set_head(&mut self, head: &[u8]) -> std::io::Result<()> {
        self.head = head.to_vec();
        Ok(())
    }

    fn note(&mut self, position: u64, note: &Note) -> std::io::Result<()> {
        self.timeline.push(Noted {
            at: position,
            kind: note.kind().to_owned(),
            text: String::new(),
            track: note.track().map(|it| it.name().to_owned()),
            count: note.count(),
        });
        Ok(())
    }
}

impl Memory {
    fn file(&self) -> Vec<u8> {
        [&self.head[..], &self.bytes].concat()
    }

    fn source(&self) -> Source<Cursor<Vec<u8>>> {
        let file = Cursor::new(self.file());
        Source::with_key(file, None, Some(&Opus::new())).expect("a recording")
    }

    fn alignment(&self, rate: SampleRate) -> Alignment {
        let opening = Opening {
            id: 0,
            started: WallTime::from_unix_nanos(0),
            layout: Layout {
                format: Format::Flac,
                channels: 2,
                rate,
            },
            tracks: Tracks::STEREO,
            is_encrypted: false,
            digest: Digest::Sha256,
        };
        Alignment::of(&opening, &self.timeline)
    }
}

/// A recorder in this format that takes frames of both tracks and packets of the left one.
fn recorder(rate: SampleRate, format: Format) -> (Tap, TrackWriter<Memory>) {
    let plan = TapPlan {
        packets: format.takes_packets(),
        ..TapPlan::new(rate)
    };
    let (tap, feed) = plan.make();
    let codec: Arc<dyn Codec> = Arc::new(Opus::new().bit_rate(48_000));
    let file = Memory::default();
    let writer = TrackWriter::with_tracks(Tracks::STEREO, feed, format, Some(codec), file);
    (tap, writer.expect("memory"))
}

/// Clicks, one each 250 ms, on a hum, and where they are.
fn clicks(rate: SampleRate, seconds: usize) -> (Vec<i16>, Vec<usize>) {
    let (hz, each) = (rate.hz() as usize, rate.hz() as usize / 4);
    let sound = |n: usize| {
        let time = (n % each) as f64 / hz as f64;
        let hum = (n as f64 / hz as f64 * 200.0 * std::f64::consts::TAU).sin() * 300.0;
        let click = (time * 1_500.0 * std::f64::consts::TAU).sin() * 12_000.0;
        (hum + click * (-time * 400.0).exp()) as i16
    };
    let places = (0..seconds * 4).map(|n| n * each).collect();
    ((0..seconds * hz).map(sound).collect(), places)
}

/// By how many samples a sound lies behind another around there, at most 40 ms, by what is most alike.
fn behind(sound: &[i16], of: &[i16], around: usize, rate: SampleRate) -> i64 {
    let most = i64::from(rate.hz()) / 25;
    let window = &of[around..around + rate.hz() as usize / 20];
    let alike = |off: &i64| -> f64 {
        let from = usize::try_from(around as i64 + off).expect("within");
        let other = &sound[from..from + window.len()];
        let dot = |a: &[i16], b: &[i16]| -> f64 {
            a.iter()
                .zip(b)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum()
        };
        dot(window, other) / (dot(window, window) * dot(other, other)).sqrt().max(1.0)
    };
    let best = (-most..=most).max_by(|a, b| alike(a).total_cmp(&alike(b)));
    best.expect("a place")
}

#[test]
fn flac_is_read_back_whole_cut_and_by_tracks() {
    let rate = SampleRate::HZ_16000;
    let (mut tap, mut writer) = recorder(rate, Format::Flac);
    let (left, _) = clicks(rate, 3);
    let right: Vec<i16> = left.iter().map(|it| it / 3 + 7).collect();
    for (n, (a, b)) in left.chunks(320).zip(right.chunks(320)).enumerate() {
        tap.push(Track::Caller, n as i64 * 320, &Frame::from_samples(rate, a));
        tap.push(Track::Agent, n as i64 * 320, &Frame::from_samples(rate, b));
        writer.drain().expect("memory");
    }
    drop(tap);
    let (memory, report) = writer.close();
    report.expect("memory");
    let read = |mut source: Source<_>| {
        let mut all = Vec::new();
        while source.read(1_000, &mut all).expect("memory") > 0 {}
        all
    };
    let both: Vec<i16> = left
        .iter()
        .zip(&right)
        .flat_map(|(a, b)| [*a, *b])
        .collect();
    assert!(read(memory.source()) == both, "not what was recorded");
    let cut = 20_001..30_003;
    let part = memory.source().only(1).cut(cut.clone());
    assert_eq!(part.length(), 10_002);
    assert!(read(part) == right[20_001..30_003], "another part");
    // The page that is being written is not there yet.
    let mut file = memory.file();
    file.truncate(file.len() - 100);
    let source = Source::open(Cursor::new(file)).expect("a recording");
    let left_over = read(source);
    assert!(
        left_over.len() >= both.len() - 4 * 16_000 / 5,
        "{}",
        left_over.len()
    );
}

#[test]
fn packets_are_cut_to_the_sample_and_each_track_taken_out_without_encoding() {
    let rate = SampleRate::HZ_48000;
    let (mut tap, mut writer) = recorder(rate, Format::Opus(layout::Packets::Encoded));
    let (left, places) = clicks(rate, 4);
    for (n, samples) in left.chunks(960).enumerate() {
        let frame = Frame::from_samples(rate, samples);
        tap.push(Track::Caller, n as i64 * 960, &frame);
        tap.push(Track::Agent, n as i64 * 960 + 4_800, &frame);
        writer.drain().expect("memory");
    }
    drop(tap);
    let (memory, report) = writer.close();
    let length = report.expect("memory").duration;
    let open = |file: Vec<u8>| Packets::with_key(Cursor::new(file), None).expect("packets");
    let streams = |file: Vec<u8>, channel| {
        let (mut packets, mut all) = (open(file), Vec::new());
        while packets.read().expect("packets") {
            all.push(packets.stream(channel).to_vec());
        }
        all
    };
    let whole = streams(memory.file(), 1);
    assert_eq!(rate.samples_in(length), memory.source().length());
    let (from, until) = (50_001, 140_007);
    let mut out = Vec::new();
    packets::copy(&mut open(memory.file()), from..until, Some(1), 7, &mut out).expect("a part");
    let part = streams(out.clone(), 0);
    assert!(
        whole.windows(part.len()).any(|it| it == part),
        "other packets"
    );
    let mut source = Source::with_key(Cursor::new(out), None, Some(&Opus::new())).expect("a part");
    assert_eq!(
        (source.length(), source.header().channels),
        (until - from, 1)
    );
    let mut sound = Vec::new();
    while source.read(777, &mut sound).expect("memory") > 0 {}
    let expected: Vec<i16> = left[from as usize - 4_800..].to_vec();
    for place in places
        .iter()
        .filter_map(|it| (it + 4_800).checked_sub(from as usize))
    {
        if (3_000..80_000).contains(&place) {
            assert!(behind(&sound, &expected, place, rate).abs() <= 12);
        }
    }
}

#[test]
fn packets_as_they_came_are_brought_in_step_where_they_are_decoded() {
    let rate = SampleRate::HZ_48000;
    for phase in [100, 450, 500, 900] {
        let (mut tap, mut writer) = recorder(rate, Format::Opus(layout::Packets::Original));
        let (sound, places) = clicks(rate, 4);
        let codec = Opus::new().bit_rate(48_000);
        let mut encoder = codec.encoder(&Terms::new(rate)).expect("an encoder");
        for (n, samples) in sound.chunks(960).enumerate() {
            let (at, frame) = (n as i64 * 960 + phase, Frame::from_samples(rate, samples));
            let mut packet = [0; 1_275];
            let length = encoder.encode(samples, &mut packet).expect("a packet");
            // What the encoder holds back belongs before.
            assert!(tap.push_packet(Track::Caller, at - 312, &packet[..length]));
            tap.push_covered(Track::Caller, at, &frame);
            tap.push(Track::Agent, at, &frame);
            writer.drain().expect("memory");
        }
        drop(tap);
        let (memory, report) = writer.close();
        report.expect("memory");
        let mut kinds: Vec<_> = memory.timeline.iter().map(|it| it.kind.as_str()).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["encoded", "original"]);
        let read = |mut source: Source<_>, channel| {
            let mut all = Vec::new();
            while source.read(1_000, &mut all).expect("memory") > 0 {}
            let one = all.iter().skip(channel).step_by(2);
            one.copied().collect::<Vec<i16>>()
        };
        let belongs: Vec<i16> = [vec![0; phase as usize], sound].concat();
        let as_it_is = read(memory.source(), 0);
        let shifted = memory.source().in_step(memory.alignment(rate));
        let (moved, other) = (read(shifted, 0), read(memory.source(), 1));
        let original = memory.timeline.iter().find(|it| it.kind == "original");
        let told = original.and_then(|it| it.count).expect("a count");
        assert_eq!(told, if phase <= 480 { -phase } else { 960 - phase });
        for place in &places[2..12] {
            let off = |sound: &[i16]| behind(sound, &belongs, place + phase as usize, rate);
            assert!(
                (off(&as_it_is) - told).abs() <= 12,
                "{phase}: {}",
                off(&as_it_is)
            );
            // To a quarter of a millisecond, as the track beside it that is encoded here.
            assert!(off(&moved).abs() <= 12, "{phase}: {}", off(&moved));
            assert!(off(&other).abs() <= 12, "{phase}: {}", off(&other));
        }
    }
}

#[test]
fn the_first_seconds_are_put_where_the_record_says_they_belong() {
    let rate = SampleRate::HZ_8000;
    let (sound, places) = clicks(rate, 8);
    let (mut tap, mut writer) = recorder(rate, Format::Flac);
    // Six milliseconds late at first, a sample less each 20 ms, which the record is told of once a second.
    for (n, samples) in sound.chunks(160).enumerate() {
        let late = 48 - (n as i64).min(48);
        let at = n as i64 * 160 + late;
        tap.push(Track::Caller, at, &Frame::from_samples(rate, samples));
        tap.push(
            Track::Agent,
            n as i64 * 160,
            &Frame::from_samples(rate, samples),
        );
        if n % 50 == 0 && late > 2 {
            let note = Note::Placed {
                track: Track::Caller,
                samples: late,
            };
            tap.note(at, note).expect("room");
        }
        writer.drain().expect("memory");
    }
    drop(tap);
    let (memory, report) = writer.close();
    report.expect("memory");
    let mut source = memory.source().in_step(memory.alignment(rate));
    let mut both = Vec::new();
    while source.read(1_000, &mut both).expect("memory") > 0 {}
    let left: Vec<i16> = both.iter().step_by(2).copied().collect();
    let right: Vec<i16> = both.iter().skip(1).step_by(2).copied().collect();
    for place in &places[2..30] {
        assert!(behind(&left, &sound, *place, rate).abs() <= 8, "{place}");
        assert_eq!(behind(&right, &sound, *place, rate), 0);
    }
}

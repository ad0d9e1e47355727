//! Speech without a worker: marks, clearing, rates, room.

use super::*;

const RATE: SampleRate = SampleRate::HZ_8000;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A source that is played tick by tick.
struct Bench {
    source: SpeechSource,
    writer: SpeechWriter,
    heard: Vec<i16>,
}

impl Bench {
    fn new(queue: Duration) -> Self {
        let (source, writer) = speech(RATE, queue);
        Self {
            source,
            writer,
            heard: Vec::new(),
        }
    }

    /// What was sent is settled before the next tick, as a leg does it.
    fn tick(&mut self) {
        let mut out = [0; 160];
        self.source.settle();
        self.source.fill(&mut out);
        self.heard.extend(out);
    }

    fn reports(&mut self) -> Vec<SpeechReport> {
        std::iter::from_fn(|| self.writer.poll_report()).collect()
    }
}

#[test]
fn marks_are_told_when_what_stands_before_them_has_lasted() {
    let mut bench = Bench::new(DEFAULT_QUEUE);
    bench.writer.write(8_000, &[1_000; 400]).unwrap();
    bench.writer.mark(1).unwrap();
    bench.writer.write(8_000, &[2_000; 80]).unwrap();
    bench.writer.mark(2).unwrap();
    assert_eq!(bench.writer.waiting(), ms(60));
    for _ in 0..3 {
        bench.tick();
    }
    // All has been given, and the last of it is on its way.
    assert!(bench.source.samples.is_empty());
    assert_eq!(bench.reports(), []);
    bench.tick();
    let heard = ms(60);
    let reached = |mark| SpeechReport::Reached { mark, heard };
    let quiet = SpeechReport::Quiet { heard };
    assert_eq!(bench.reports(), [reached(1), reached(2), quiet]);
    assert!(bench.source.is_idle() && !bench.source.is_over());
    assert_eq!(
        bench.heard[..480],
        [[1_000; 400].as_slice(), &[2_000; 80]].concat()
    );
    bench.writer.end();
    assert!(bench.source.is_over());
}

#[test]
fn clearing_fades_and_what_follows_is_heard_at_once() {
    let mut bench = Bench::new(DEFAULT_QUEUE);
    bench.writer.write(8_000, &[8_000; 8_000]).unwrap();
    bench.writer.mark(1).unwrap();
    for _ in 0..10 {
        bench.tick();
    }
    bench.writer.clear();
    bench.writer.write(8_000, &[500; 300]).unwrap();
    bench.writer.mark(2).unwrap();
    bench.tick();
    // 200 ms, and 5 ms of the fade.
    let heard = ms(205);
    assert_eq!(bench.writer.heard(), ms(220));
    assert_eq!(bench.reports(), [SpeechReport::Cleared { mark: 1, heard }]);
    let last = &bench.heard[1_600..1_760];
    assert!(last[..40].is_sorted_by(|a, b| a > b) && last[0] == 8_000);
    assert_eq!(last[40..], [500; 120]);
    bench.tick();
    bench.tick();
    bench.tick();
    let heard = ms(205) + Duration::from_micros(37_500);
    let reached = SpeechReport::Reached { mark: 2, heard };
    assert_eq!(bench.reports(), [reached, SpeechReport::Quiet { heard }]);
}

#[test]
fn while_nobody_hears_it_speech_waits() {
    let mut bench = Bench::new(DEFAULT_QUEUE);
    bench.writer.write(8_000, &[9; 160]).unwrap();
    bench.source.set_heard(false);
    bench.tick();
    bench.tick();
    assert_eq!((bench.writer.heard(), bench.reports()), (ms(0), vec![]));
    bench.source.set_heard(true);
    bench.tick();
    bench.tick();
    assert_eq!(bench.reports(), [SpeechReport::Quiet { heard: ms(20) }]);
}

#[test]
fn a_full_queue_takes_what_fits_and_nothing_is_lost() {
    let mut bench = Bench::new(ms(200));
    let said: Vec<i16> = (0..16_000).map(|n| (n % 20_000) as i16).collect();
    let mut rest = said.as_slice();
    let mut ticks = 0;
    while !rest.is_empty() {
        let taken = bench.writer.write(8_000, rest).unwrap();
        rest = &rest[taken..];
        assert!(bench.writer.waiting() <= ms(200));
        bench.tick();
        ticks += 1;
        assert!(ticks < 200, "stuck");
    }
    for _ in 0..12 {
        bench.tick();
    }
    assert_eq!(bench.heard[..16_000], said);
}

#[test]
fn every_rate_gives_its_sound_in_its_time() {
    for hz in [8_000_u32, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000] {
        let mut bench = Bench::new(DEFAULT_QUEUE);
        let step = 400.0 * std::f64::consts::TAU / f64::from(hz);
        let tone: Vec<i16> = (0..hz * 2)
            .map(|n| (8_000.0 * (f64::from(n) * step).sin()) as i16)
            .collect();
        // In pieces that fit nothing.
        for piece in tone.chunks(777) {
            assert_eq!(bench.writer.write(hz, piece), Ok(piece.len()), "{hz}");
        }
        bench.writer.mark(1).unwrap();
        for _ in 0..110 {
            bench.tick();
        }
        let heard = bench.writer.heard();
        assert!((ms(1_990)..=ms(2_010)).contains(&heard), "{hz}: {heard:?}");
        assert!(matches!(
            bench.reports()[..],
            [SpeechReport::Reached { .. }, SpeechReport::Quiet { .. }]
        ));
        let middle = &bench.heard[4_000..12_000];
        let power = |hz: f64| {
            let (mut re, mut im) = (0.0, 0.0);
            for (n, &s) in middle.iter().enumerate() {
                let phase = n as f64 * hz * std::f64::consts::TAU / 8_000.0;
                re += f64::from(s) * phase.cos();
                im += f64::from(s) * phase.sin();
            }
            (re * re + im * im).sqrt() * 2.0 / middle.len() as f64
        };
        assert!(
            (7_800.0..8_200.0).contains(&power(400.0)),
            "{hz}: {}",
            power(400.0)
        );
        let all: f64 = middle.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / 8_000.0;
        let rest = all - power(400.0).powi(2) / 2.0;
        assert!(rest < all / 10_000.0, "{hz}: {rest} of {all}");
    }
    let (_source, mut writer) = speech(RATE, DEFAULT_QUEUE);
    assert_eq!(writer.write(3_000, &[0]), Err(SpeechError::Rate(3_000)));
    assert_eq!(writer.write(0, &[0]), Err(SpeechError::Rate(0)));
}

#[test]
fn marks_that_nobody_reads_are_bounded() {
    let mut bench = Bench::new(DEFAULT_QUEUE);
    for mark in 0..MAX_MARKS as u64 {
        bench.writer.mark(mark).unwrap();
        bench.tick();
    }
    assert_eq!(bench.writer.mark(999), Err(SpeechError::Marks));
    bench.tick();
    assert_eq!(bench.reports().len(), MAX_MARKS);
    assert_eq!(bench.writer.mark(999), Ok(()));
}

//! What Q.24 asks of a detector, and what speech must not do to it.

use super::*;
use crate::media::tone::{Generator, Sine, Tone};
use crate::rng::Rng;

const RATE: SampleRate = SampleRate::HZ_8000;

/// A digit's tones, all of them free.
#[derive(Clone, Copy)]
struct Press {
    key: char,
    ms: u64,
    low_dbm0: f32,
    high_dbm0: f32,
    /// Parts of the frequencies that they are off by.
    low_off: f32,
    high_off: f32,
}

impl Press {
    fn new(key: char) -> Self {
        Self {
            key,
            ms: 50,
            low_dbm0: -9.0,
            high_dbm0: -7.0,
            low_off: 0.0,
            high_off: 0.0,
        }
    }

    fn sound(self, rate: SampleRate) -> Vec<i16> {
        let at = |n: usize| (n / 4, n % 4);
        let keys = KEYS.as_flattened().iter();
        let place = keys.clone().position(|&k| char::from(k) == self.key);
        let (row, column) = at(place.expect("a key"));
        let sine = |hz: u32, off: f32, dbm0| Sine {
            hz: hz as f32 * (1.0 + off),
            dbm0,
        };
        let low = sine(LOW[row], self.low_off, self.low_dbm0);
        let high = sine(HIGH[column], self.high_off, self.high_dbm0);
        let on = Duration::from_millis(self.ms);
        let mut sound = vec![0; rate.samples_in(on) as usize];
        Generator::new(&Tone::once(low, Some(high), on), rate).fill(&mut sound);
        sound
    }
}

fn silence(ms: u64, rate: SampleRate) -> Vec<i16> {
    vec![0; rate.samples_in(Duration::from_millis(ms)) as usize]
}

/// What is told of `sound`, in the order of telling, and the durations.
fn heard_at(sound: &[i16], rate: SampleRate) -> (String, Vec<u128>) {
    let mut detector = DtmfDetector::new(rate);
    let (mut digits, mut durations, mut down) = (String::new(), vec![], None);
    let tail = silence(100, rate);
    for part in [sound, &tail].concat().chunks(rate.frame_samples()) {
        detector.process(&Frame::from_samples(rate, part));
        while let Some(event) = detector.poll_event() {
            match event {
                DtmfEvent::Started { digit } => assert_eq!(down.replace(digit), None),
                DtmfEvent::Ended { digit, duration } => {
                    assert_eq!(down.take(), Some(digit));
                    digits.push(digit.to_char());
                    durations.push(duration.as_millis());
                }
            }
        }
    }
    assert_eq!(down, None);
    (digits, durations)
}

fn heard(sound: &[i16]) -> String {
    heard_at(sound, RATE).0
}

/// How often a press is told, of presses at every place of a frame, with `noise` (root mean square).
fn rate_of(press: Press, noise: f64, seed: u64) -> usize {
    let mut rng = Rng::new(seed);
    let places = (0..20).map(|n| {
        let mut sound = vec![0; 400 + n * 8];
        sound.extend(press.sound(RATE));
        sound.extend(silence(60, RATE));
        for sample in &mut sound {
            let bell: f64 = (0..12).map(|_| rng.next_f64()).sum::<f64>() - 6.0;
            *sample = sample.saturating_add((bell * noise).round() as i16);
        }
        usize::from(heard(&sound) == press.key.to_string())
    });
    places.sum()
}

fn all_keys() -> impl Iterator<Item = char> {
    KEYS.as_flattened().iter().map(|&key| char::from(key))
}

#[test]
fn every_digit_at_every_rate_with_its_length() {
    for rate in [RATE, SampleRate::HZ_16000, SampleRate::HZ_48000] {
        let mut sound = vec![];
        for key in all_keys() {
            sound.extend(
                Press {
                    ms: 90,
                    ..Press::new(key)
                }
                .sound(rate),
            );
            sound.extend(silence(65, rate));
        }
        let (digits, durations) = heard_at(&sound, rate);
        assert_eq!(digits, all_keys().collect::<String>(), "{rate}");
        assert!(
            durations.iter().all(|&ms| ms.abs_diff(90) <= 4),
            "{durations:?}"
        );
    }
}

#[test]
fn lengths_and_pauses() {
    for key in all_keys() {
        let press = Press::new(key);
        assert_eq!(
            rate_of(Press { ms: 40, ..press }, 0.0, 1),
            20,
            "40 ms of {key}"
        );
        assert_eq!(
            rate_of(Press { ms: 23, ..press }, 0.0, 1),
            0,
            "23 ms of {key}"
        );
        let twice = format!("{key}{key}");
        for shift in 0..20 {
            let apart = |ms: u64| {
                let lead = vec![0; shift * 8];
                let tone = press.sound(RATE);
                heard(&[lead, tone.clone(), silence(ms, RATE), tone].concat())
            };
            assert_eq!(apart(40), twice, "a pause of 40 ms");
            assert_eq!(apart(10), key.to_string(), "an interruption of 10 ms");
        }
    }
}

#[test]
fn frequencies() {
    for key in all_keys() {
        let press = Press::new(key);
        for (low_off, high_off) in [
            (0.015, 0.015),
            (-0.015, 0.015),
            (0.015, -0.015),
            (-0.015, -0.015),
        ] {
            let press = Press {
                low_off,
                high_off,
                ..press
            };
            assert_eq!(rate_of(press, 0.0, 1), 20, "{key} {low_off} {high_off}");
        }
        for (low_off, high_off) in [(0.035, 0.0), (-0.035, 0.0), (0.0, 0.035), (0.0, -0.035)] {
            let press = Press {
                low_off,
                high_off,
                ms: 200,
                ..press
            };
            assert_eq!(rate_of(press, 0.0, 1), 0, "{key} {low_off} {high_off}");
        }
    }
}

#[test]
fn levels_and_twist() {
    for key in all_keys() {
        for (low_dbm0, high_dbm0, taken) in [
            (-3.0, -3.0, 20),
            (-34.0, -34.0, 20),
            (-10.0, -6.0, 20),
            (-8.0, -16.0, 20),
            (-34.0, -30.0, 20),
            (-25.0, -33.0, 20),
            (-10.0, -2.0, 0),
            (-4.0, -16.0, 0),
            (-55.0, -55.0, 0),
        ] {
            let press = Press {
                low_dbm0,
                high_dbm0,
                ..Press::new(key)
            };
            assert_eq!(
                rate_of(press, 0.0, 1),
                taken,
                "{key} at {low_dbm0} and {high_dbm0}"
            );
        }
    }
}

#[test]
fn noise() {
    // Tones of -9 and -7 dBm0 together: 6,000 root mean square.
    for (db, least) in [(15.0, 320), (12.0, 320), (9.0, 316)] {
        let noise = 6_000.0 / 10f64.powf(db / 20.0);
        let press = |key| Press {
            ms: 60,
            ..Press::new(key)
        };
        let taken: usize = all_keys().map(|key| rate_of(press(key), noise, 7)).sum();
        assert!(taken >= least, "{taken} of 320 at {db} dB");
    }
}

#[test]
fn digits_over_dial_tone() {
    let sine = |hz, dbm0| Sine { hz, dbm0 };
    for (first, second) in [
        (sine(350.0, -13.0), Some(sine(440.0, -13.0))),
        (sine(425.0, -10.0), None),
        (sine(400.0, -13.0), Some(sine(450.0, -13.0))),
    ] {
        for key in all_keys() {
            let mut sound = vec![0; 8_000];
            let mut tone = Generator::new(&Tone::steady(first, second), RATE);
            tone.fill(&mut sound);
            let press = Press {
                ms: 60,
                ..Press::new(key)
            }
            .sound(RATE);
            for (sum, tone) in sound[4_000..].iter_mut().zip(press) {
                *sum = sum.saturating_add(tone);
            }
            assert_eq!(heard(&sound), key.to_string());
        }
        let mut alone = vec![0; 16_000];
        Generator::new(&Tone::steady(first, second), RATE).fill(&mut alone);
        assert_eq!(heard(&alone), "");
    }
}

#[test]
fn any_samples_are_taken() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let mut detector = DtmfDetector::new([RATE, SampleRate::HZ_48000][seed as usize % 2]);
        for _ in 0..50 {
            let extreme = rng.below(3);
            let samples: Vec<i16> = (0..rng.below(961))
                .map(|_| match extreme {
                    0 => rng.next_u32() as i16,
                    1 => [i16::MIN, i16::MAX][rng.below(2) as usize],
                    _ => i16::MIN,
                })
                .collect();
            detector.process(&Frame::from_samples(RATE, &samples));
            while detector.poll_event().is_some() {}
        }
    }
}

/// Debian's studio prompts: `asterisk-core-sounds-en-wav`, which the set-up installs.
#[test]
fn no_prompt_says_a_digit() {
    let mut prompts = 0;
    let (mut seconds, mut muted) = (0.0, 0);
    for (name, samples) in crate::media::tests::prompts() {
        let mut detector = DtmfDetector::new(RATE);
        for part in samples.chunks(160) {
            detector.process(&Frame::from_samples(RATE, part));
            let event = detector.poll_event();
            assert_eq!(event, None, "{name}");
            muted += u32::from(detector.is_sounding());
        }
        prompts += 1;
        seconds += samples.len() as f64 / 8_000.0;
    }
    assert!(prompts == 0 || prompts > 500, "{prompts} prompts");
    // Muted frames would be heard as drop-outs.
    assert!(
        muted <= 4,
        "{muted} frames of {seconds} s in {prompts} prompts"
    );
}

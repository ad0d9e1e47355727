//! Every tone by itself, under noise and at every level; and speech, which is none.

use super::*;
use crate::media::tone::national::{Country, Signal};
use crate::media::tone::{Generator, Sine, Tone};
use crate::rng::Rng;

const RATE: SampleRate = SampleRate::HZ_8000;

fn play(tone: &Tone, seconds: f64, rate: SampleRate) -> Vec<i16> {
    let mut sound = vec![0; (seconds * f64::from(rate.hz())) as usize];
    Generator::new(tone, rate).fill(&mut sound);
    sound
}

fn heard_at(sound: &[i16], rate: SampleRate) -> Vec<MachineTone> {
    let mut detector = ToneDetector::new(rate);
    let mut frame = Frame::silence(rate);
    let mut heard = vec![];
    for part in sound.chunks_exact(rate.frame_samples()) {
        frame.copy_from(part);
        heard.extend(detector.process(&frame));
    }
    heard
}

fn heard(sound: &[i16]) -> Vec<MachineTone> {
    heard_at(sound, RATE)
}

fn tone(text: &str) -> Tone {
    text.parse().expect("a tone")
}

/// Adds noise `db` below a tone of `dbm0`.
fn noisy(sound: &mut [i16], dbm0: f64, db: f64) {
    let mut rng = Rng::new(3);
    let level = 32_767.0 / 2f64.sqrt()
        * 10f64.powf((dbm0 - f64::from(crate::media::level::FULL_SCALE_DBM0) - db) / 20.0);
    for sample in sound {
        let bell: f64 = (0..12).map(|_| rng.next_f64()).sum::<f64>() - 6.0;
        *sample = sample.saturating_add((bell * level).round() as i16);
    }
}

fn answer_tone(reversals: bool, modulated: bool, hz: f64) -> Vec<i16> {
    let sample = |n: usize| {
        let t = n as f64 / 8_000.0;
        let turned = reversals && (t / 0.45) as u32 % 2 == 1;
        let sign = if turned { -1.0 } else { 1.0 };
        let depth = if modulated { 0.2 } else { 0.0 };
        let swing = 1.0 + depth * (t * 15.0 * std::f64::consts::TAU).sin();
        let sine = (t * hz * std::f64::consts::TAU).sin();
        (sine * sign * swing * 6_000.0) as i16
    };
    (0..26_400).map(sample).collect()
}

#[test]
fn a_fax_machine_calls() {
    for rate in [RATE, SampleRate::HZ_16000, SampleRate::HZ_48000] {
        let sound = play(&tone("1100/500,0/3000"), 8.0, rate);
        assert_eq!(
            heard_at(&sound, rate),
            [MachineTone::FaxCalling; 3],
            "{rate}"
        );
    }
    for hz in [1_062, 1_138] {
        let sound = play(&tone(&format!("{hz}/500,0/3000")), 3.0, RATE);
        assert_eq!(heard(&sound), [MachineTone::FaxCalling], "{hz}");
    }
    for text in [
        "1000/500,0/3000",
        "1200/500,0/3000",
        "1100/200,0/3000",
        "1100/1500,0/3000",
    ] {
        assert_eq!(heard(&play(&tone(text), 3.4, RATE)), [], "{text}");
    }
}

#[test]
fn a_fax_machine_or_modem_answers() {
    for hz in [2_085.0, 2_100.0, 2_115.0] {
        for (reversals, modulated) in [(false, false), (true, false), (false, true), (true, true)] {
            let phase_reversals = reversals;
            let expected = [MachineTone::Answering { phase_reversals }];
            let sound = answer_tone(reversals, modulated, hz);
            assert_eq!(heard(&sound), expected, "{hz} {reversals} {modulated}");
        }
    }
}

#[test]
fn special_information_by_every_plan() {
    for country in ["US", "GB", "DE", "MX", "JP"] {
        let country = Country::from_iso(country).expect("known");
        let sound = play(&country.tone(Signal::SpecialInformation), 1.9, RATE);
        assert_eq!(
            heard(&sound),
            [MachineTone::SpecialInformation],
            "{country:?}"
        );
    }
    // The four codes of North America.
    for text in [
        "914/274,1371/274,1777/380",
        "985/380,1371/274,1777/380",
        "914/274,1429/380,1777/380",
        "985/380,1429/380,1777/380",
    ] {
        let sound = play(&tone(&format!("{text},0/1000")), 1.9, RATE);
        assert_eq!(heard(&sound), [MachineTone::SpecialInformation], "{text}");
    }
    assert_eq!(
        heard(&play(&tone("1800/330,1400/330,950/330,0/1000"), 1.9, RATE)),
        []
    );
}

#[test]
fn call_progress_of_nations() {
    use MachineTone::{Busy, Congestion, Dial, Ringback};
    for (code, signal, expected) in [
        ("US", Signal::Dial, Dial),
        ("DE", Signal::Dial, Dial),
        ("IN", Signal::Dial, Dial),
        ("US", Signal::Ringback, Ringback),
        ("GB", Signal::Ringback, Ringback),
        ("DE", Signal::Ringback, Ringback),
        ("FR", Signal::Ringback, Ringback),
        ("JP", Signal::Ringback, Ringback),
        ("IN", Signal::Ringback, Ringback),
        ("CN", Signal::Ringback, Ringback),
        ("US", Signal::Busy, Busy),
        ("GB", Signal::Busy, Busy),
        ("DE", Signal::Busy, Busy),
        ("CN", Signal::Busy, Busy),
        ("JP", Signal::Busy, Busy),
        ("IN", Signal::Busy, Busy),
        ("BR", Signal::Busy, Congestion),
        ("US", Signal::Congestion, Congestion),
        ("DE", Signal::Congestion, Congestion),
        ("FR", Signal::Congestion, Congestion),
    ] {
        let country = Country::from_iso(code).expect("known");
        let sound = play(&country.tone(signal), 7.0, RATE);
        assert_eq!(heard(&sound), [expected], "{code} {signal:?}");
    }
}

/// Speech as long as an announcement, with what may follow it.
fn announcement() -> Option<Vec<i16>> {
    let prompts = crate::media::tests::prompts();
    let (_, speech) = prompts.into_iter().find(|(name, _)| name == "vm-intro")?;
    Some(speech)
}

#[test]
fn an_answering_machine_beeps_after_its_announcement() {
    let Some(speech) = announcement() else { return };
    for text in [
        "!1000/200",
        "!1400/500",
        "!800/1000",
        "!440/400",
        "!2000/150",
    ] {
        let sound = [speech.clone(), play(&tone(text), 3.0, RATE)].concat();
        assert_eq!(heard(&sound), [MachineTone::Beep], "{text}");
        // Speech goes on: it was no beep.
        let plan = tone(text);
        let mut sound = [speech.clone(), play(&plan, 1.2, RATE)].concat();
        let end = sound.iter().rposition(|&s| s != 0).expect("sound");
        sound.truncate(end + 800);
        sound.extend(&speech);
        assert_eq!(heard(&sound), [], "{text} amidst speech");
    }
    // Without an announcement a tone is just a tone.
    assert_eq!(heard(&play(&tone("!0900/200"), 3.0, RATE)), []);
}

#[test]
fn levels_and_noise() {
    for dbm0 in [-40.0, -25.0, -10.0, 0.0] {
        for (text, seconds, expected) in [
            ("1100/500,0/3000", 3.0, MachineTone::FaxCalling),
            (
                "950/330,1400/330,1800/330,0/1000",
                1.9,
                MachineTone::SpecialInformation,
            ),
            ("425/500,0/500", 5.0, MachineTone::Busy),
            ("425/1000,0/4000", 5.0, MachineTone::Ringback),
        ] {
            let plan = tone(text).louder(dbm0 as f32 + 10.0);
            let clean = play(&plan, seconds, RATE);
            assert_eq!(heard(&clean), [expected], "{text} at {dbm0} dBm0");
            let mut sound = clean;
            // Room noise must itself be quiet for a pause to be one.
            let below = if dbm0 > -26.0 {
                15.0f64.max(dbm0 + 42.0)
            } else {
                15.0
            };
            noisy(&mut sound, dbm0, below);
            assert_eq!(
                heard(&sound),
                [expected],
                "{text} at {dbm0} dBm0 with noise"
            );
        }
        let peak = Sine {
            hz: 2_100.0,
            dbm0: dbm0 as f32,
        };
        let mut sound = play(&Tone::steady(peak, None), 2.0, RATE);
        noisy(&mut sound, dbm0, 12.0);
        let expected = MachineTone::Answering {
            phase_reversals: false,
        };
        assert_eq!(heard(&sound), [expected], "answer tone at {dbm0} dBm0");
    }
}

#[test]
fn no_prompt_is_a_machine() {
    let mut seconds = 0;
    for (name, samples) in crate::media::tests::prompts() {
        assert_eq!(heard(&samples), [], "{name}");
        seconds += samples.len() / 8_000;
    }
    assert!(seconds == 0 || seconds > 1_000);
}

#[test]
fn any_samples_are_taken() {
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let mut detector = ToneDetector::new([RATE, SampleRate::HZ_16000][seed as usize % 2]);
        for _ in 0..50 {
            let samples: Vec<i16> = (0..rng.below(400))
                .map(|_| [i16::MIN, i16::MAX, rng.next_u32() as i16][rng.below(3) as usize])
                .collect();
            detector.process(&Frame::from_samples(RATE, &samples));
        }
    }
}

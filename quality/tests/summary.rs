//! A small grid of figures that need no judge, compared with how it was: a regression is a diff.
//!
//! `cargo xtask quality --bless` takes the figures as they now are.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use sidetone::media::jitter;
use sidetone_quality::format::Format;
use sidetone_quality::lab;
use sidetone_quality::measure;
use sidetone_quality::network::Impairment;
use sidetone_quality::sound::Sound;
use sidetone_sim::network::link::Loss;
use sidetone_sim::network::variation::Variation;
use sidetone_sim::peer::sound;

const SECONDS: u64 = 30;

fn networks() -> Vec<(&'static str, Impairment)> {
    let none = Impairment::none(5);
    let jitter = Duration::from_millis(60);
    let spikes = Variation::Spikes {
        every: Duration::from_secs(4),
        height: Duration::from_millis(160),
    };
    vec![
        ("clean", none),
        (
            "loss 5 %",
            Impairment {
                loss: Loss::Random(0.05),
                ..none
            },
        ),
        (
            "bursts 10 %",
            Impairment {
                loss: Loss::bursty(0.1, 3.0),
                ..none
            },
        ),
        ("jitter 60 ms", Impairment { jitter, ..none }),
        (
            "spikes",
            Impairment {
                variation: spikes,
                ..none
            },
        ),
        (
            "Wi-Fi",
            Impairment {
                variation: Variation::Wifi,
                ..none
            },
        ),
        (
            "LTE",
            Impairment {
                variation: Variation::Lte,
                ..none
            },
        ),
        (
            "drift 200 ppm",
            Impairment {
                drift_ppm: 200,
                ..none
            },
        ),
    ]
}

fn line(format: &Format, speech: &Sound, name: &str, impairment: Impairment) -> String {
    let take = lab::call(format, speech, impairment, jitter::Config::default());
    let found = measure::track(speech, &take.heard, impairment.drift_ppm);
    let delay = measure::delay(&found, measure::spoken(speech));
    let heard = measure::slice(
        &take.heard,
        &found,
        0,
        speech.samples.len(),
        impairment.drift_ppm,
    );
    let (packets, made) = (&take.report.jitter, &take.report.concealment);
    format!(
        "{:<9} {name:<14} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6}\n",
        format.name,
        packets.lost,
        packets.late,
        made.concealed.as_millis(),
        made.slowed.as_millis(),
        made.accelerated.as_millis(),
        delay.mean.round(),
        delay.p95.round(),
        measure::envelope_distance(speech, &heard),
    )
}

#[test]
fn the_figures_are_what_they_were() {
    let mut grid = String::from(
        "format    network          lost   late  made ms slow ms short ms  delay    p95  0.1 dB\n",
    );
    for name in ["PCMU", "G.722", "Opus+FEC"] {
        let format = Format::named(name).expect("a format of the grid");
        let speech = sound::Sound::speech(3, Duration::from_secs(SECONDS));
        let speech = Sound::new(8_000, speech.samples().to_vec()).at_rate(format.rate.hz());
        for (network, impairment) in networks() {
            grid.write_str(&line(&format, &speech, network, impairment))
                .expect("a string takes text");
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/summary.txt");
    if std::env::var_os("SIDETONE_BLESS").is_some() {
        std::fs::write(&path, &grid).expect("the snapshot is writable");
    }
    let was = std::fs::read_to_string(&path).expect("the snapshot");
    assert!(
        was == grid,
        "it was\n{was}\nit is\n{grid}\nright so? cargo xtask quality --bless"
    );
}

#[test]
fn the_room_hears_every_sample_of_a_clean_call() {
    let format = Format::named("L16").expect("a format of the grid");
    let speech = sound::Sound::speech(4, Duration::from_secs(4));
    let speech = Sound::new(8_000, speech.samples().to_vec()).at_rate(format.rate.hz());
    let fixed = sidetone_quality::run::fixed(60);
    let take = lab::call(&format, &speech, Impairment::none(1), fixed);
    let wanted = &speech.samples[16_000..48_000];
    let heard = take.heard.samples.windows(wanted.len());
    assert!(heard.into_iter().any(|part| part == wanted));
}

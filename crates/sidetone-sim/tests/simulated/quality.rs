//! Why calls sound bad: each cause provoked in a whole engine's call, and healthy calls that raise
//! nothing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sidetone::engine::config::Config;
use sidetone::engine::event::{CallError, CallEvent};
use sidetone::face::call::Call;
use sidetone::face::prompt::Prompt;
use sidetone::media::quality::cause::{Cause, Causes};
use sidetone::media::quality::{Quality, Way};
use sidetone_sim::network::link::{Link, Loss};
use sidetone_sim::peer::rtp::Habits;
use sidetone_sim::peer::sip::call::SipCall;
use sidetone_sim::peer::sip::{Profile, SipPeer};
use sidetone_sim::peer::sound::Sound;
use sidetone_sim::sim::Sim;

use crate::stage::SECOND;

/// Every change of quality, and the sum at the end.
type Changes = (Vec<(Way, Causes)>, Option<Quality>);

/// What a call's flow was told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Changes>>);

impl Told {
    /// All causes that were ever told of one way.
    fn causes(&self, way: Way) -> Causes {
        let told = self.0.lock().expect("one thread");
        let own = told.0.iter().filter(|(w, _)| *w == way);
        own.fold(Causes::NONE, |all, (_, causes)| all.and(*causes))
    }

    /// The last that was told of one way.
    fn last(&self, way: Way) -> Option<Causes> {
        let told = self.0.lock().expect("one thread");
        told.0.iter().rfind(|(w, _)| *w == way).map(|(_, c)| *c)
    }

    fn quality(&self) -> Quality {
        self.0
            .lock()
            .expect("one thread")
            .1
            .expect("the call's end")
    }
}

/// Answers, speaks all the time (or never), and writes down what it is told.
async fn flow(call: Call, speech: Option<Prompt>, told: Told) -> Result<(), CallError> {
    call.answer().await?;
    let _playing = match &speech {
        Some(speech) => Some(call.play(speech).looped().start().await?),
        None => None,
    };
    while let Some(event) = call.next_event().await {
        match event {
            CallEvent::Quality(change) => {
                let mut told = told.0.lock().expect("one thread");
                told.0.push((change.way, change.causes));
            }
            CallEvent::Ended(end) => {
                let media = end.media.expect("the call had media");
                told.0.lock().expect("one thread").1 = Some(media.quality);
            }
            _ => {}
        }
    }
    Ok(())
}

/// A call between an engine that speaks and a peer, over a link; `act` is what the peer does, and
/// runs for the whole call.
struct Trial {
    to_engine: Link,
    to_peer: Link,
    habits: Habits,
    engine_speaks: bool,
}

impl Default for Trial {
    fn default() -> Self {
        let link = Link::delay(Duration::from_millis(20)).jitter(Duration::from_millis(10));
        Self {
            to_engine: link,
            to_peer: link,
            habits: Habits::default(),
            engine_speaks: true,
        }
    }
}

impl Trial {
    fn run(self, act: impl AsyncFnOnce(&Sim, &SipCall)) -> Told {
        let sim = Sim::seeded(5);
        let engine = sim.engine("engine", Config::default()).expect("an engine");
        let profile = Profile {
            habits: self.habits,
            ..Profile::default()
        };
        let alice = SipPeer::with_profile(&sim, "alice", profile).expect("a peer");
        let speech = Sound::speech(9, SECOND * 7);
        let speech = Prompt::from_wav(&speech.to_wav()).expect("a WAV file");
        let speech = self.engine_speaks.then_some(speech);
        let told = Told::default();
        let kept = told.clone();
        sim.spawn(async move {
            engine
                .serve(move |call| flow(call, speech.clone(), kept.clone()))
                .await
        });
        sim.block_on(async {
            let call = alice.call("sip:100@engine").await.expect("an answer");
            sim.network()
                .set_path("alice", "engine", self.to_engine)
                .expect("hosts");
            sim.network()
                .set_path("engine", "alice", self.to_peer)
                .expect("hosts");
            act(&sim, &call).await;
            let perfect = Link::delay(Duration::from_millis(5));
            sim.network()
                .set_link("alice", "engine", perfect)
                .expect("hosts");
            call.hang_up().await.expect("an answer to BYE");
            sim.sleep(SECOND * 5).await;
        });
        told
    }
}

/// Talks for so long.
fn talk(seconds: u32) -> impl AsyncFnOnce(&Sim, &SipCall) {
    async move |sim: &Sim, call: &SipCall| {
        call.media().keep_saying(&Sound::speech(3, SECOND * 11));
        sim.sleep(SECOND * seconds).await;
    }
}

fn assert_only(told: &Told, way: Way, cause: Cause) {
    assert_eq!(told.causes(way), Causes::NONE.with(cause));
}

#[test]
fn healthy_calls_raise_nothing() {
    let trials = [
        Trial::default(),
        Trial {
            to_engine: Link::delay(Duration::from_millis(60))
                .jitter(Duration::from_millis(30))
                .loss(Loss::Random(0.003)),
            habits: Habits {
                drift_ppm: 150,
                ..Habits::default()
            },
            ..Trial::default()
        },
        Trial {
            engine_speaks: false,
            ..Trial::default()
        },
    ];
    for trial in trials {
        let told = trial.run(talk(180));
        assert_eq!(told.causes(Way::Receive), Causes::NONE);
        assert_eq!(told.causes(Way::Send), Causes::NONE);
        let quality = told.quality();
        let rating = quality.receive.call.rating.expect("packets came");
        assert!(rating.mos_lq > 4.1, "{rating:?}");
        assert!(quality.send.call.rating.expect("reports came").mos_cq > 4.0);
        assert_eq!(quality.receive.bad_for, Duration::ZERO);
    }
}

#[test]
fn loss_on_the_way_is_told_of_both_ways() {
    let lossy = Link::delay(Duration::from_millis(20)).loss(Loss::Random(0.08));
    let told = Trial {
        to_engine: lossy,
        to_peer: lossy,
        ..Trial::default()
    }
    .run(talk(40));
    assert_only(&told, Way::Receive, Cause::NetworkLoss);
    assert_only(&told, Way::Send, Cause::NetworkLoss);
    let quality = told.quality();
    assert!(
        (0.06..0.1).contains(&quality.receive.call.loss),
        "{quality:?}"
    );
    assert!((0.06..0.1).contains(&quality.send.call.loss), "{quality:?}");
    assert!(quality.receive.call.rating.expect("packets").mos_lq < 4.0);
    assert!(quality.receive.bad_for > SECOND * 30);
    assert!(quality.receive.bursts.lost() > 100);
}

#[test]
fn a_stream_that_recovers_is_told_to_be_good_again() {
    let told = Trial::default().run(async |sim: &Sim, call: &SipCall| {
        call.media().keep_saying(&Sound::speech(3, SECOND * 11));
        sim.sleep(SECOND * 10).await;
        let good = Link::delay(Duration::from_millis(20));
        let bad = good.loss(Loss::bursty(0.15, 4.0));
        sim.network()
            .set_path("alice", "engine", bad)
            .expect("hosts");
        sim.sleep(SECOND * 10).await;
        sim.network()
            .set_path("alice", "engine", good)
            .expect("hosts");
        sim.sleep(SECOND * 20).await;
    });
    assert_only(&told, Way::Receive, Cause::NetworkLoss);
    assert_eq!(told.last(Way::Receive), Some(Causes::NONE));
    let quality = told.quality().receive;
    assert!(quality.causes.is_empty() && !quality.past_causes.is_empty());
    let worst = quality.worst.expect("a worst second").mos_lq;
    assert!(worst < quality.call.rating.expect("packets").mos_lq);
    assert!(
        (SECOND * 8..SECOND * 20).contains(&quality.bad_for),
        "{quality:?}"
    );
}

#[test]
fn packets_that_come_too_late_are_told_apart_from_lost_ones() {
    let told = Trial {
        to_engine: Link::delay(Duration::from_millis(20)).reorder(0.08, SECOND),
        ..Trial::default()
    }
    .run(talk(40));
    assert_only(&told, Way::Receive, Cause::LateArrival);
    assert!(told.quality().receive.call.discard > 0.03);
}

#[test]
fn a_clock_far_off_is_told() {
    let told = Trial {
        habits: Habits {
            drift_ppm: 1_500,
            ..Habits::default()
        },
        ..Trial::default()
    }
    .run(talk(60));
    assert_only(&told, Way::Receive, Cause::Drift);
}

/// Half as many packets again as there is time for.
#[test]
fn a_sender_that_overruns_the_buffer_is_told() {
    let told = Trial {
        habits: Habits {
            drift_ppm: 500_000,
            ..Habits::default()
        },
        ..Trial::default()
    }
    .run(talk(40));
    assert!(
        told.causes(Way::Receive).contains(Cause::BufferOverrun),
        "{:?}",
        told.causes(Way::Receive)
    );
}

#[test]
fn a_peer_that_stops_sending_is_told_and_told_to_be_back() {
    let told = Trial {
        engine_speaks: false,
        ..Trial::default()
    }
    .run(async |sim: &Sim, call: &SipCall| {
        let media = call.media();
        media.keep_saying(&Sound::speech(3, SECOND * 11));
        sim.sleep(SECOND * 10).await;
        media.hush();
        media.set_habits(|habits| habits.sends_silence = false);
        sim.sleep(SECOND * 10).await;
        media.keep_saying(&Sound::speech(3, SECOND * 11));
        sim.sleep(SECOND * 10).await;
    });
    assert_only(&told, Way::Receive, Cause::SenderSilence);
    assert_eq!(told.last(Way::Receive), Some(Causes::NONE));
}

/// Three minutes in which every counter is green: packets come one after another, none is lost, and
/// nobody is heard.
#[test]
fn digital_silence_from_the_peer_is_one_way_audio() {
    let told = Trial::default().run(async |sim: &Sim, _: &SipCall| {
        sim.sleep(SECOND * 180).await;
    });
    let causes = told.causes(Way::Receive);
    let expected = Causes::NONE
        .with(Cause::SenderSilence)
        .with(Cause::OneWayAudio);
    assert_eq!(causes, expected);
    let quality = told.quality().receive;
    assert_eq!((quality.call.loss, quality.call.discard), (0.0, 0.0));
    assert!(
        quality.call.rating.expect("packets").mos_lq > 4.3,
        "all counters are green"
    );
    assert!(quality.bad_for > SECOND * 160);
}

#[test]
fn a_peer_that_never_sends_is_one_way_audio() {
    let told = Trial {
        habits: Habits {
            sends_silence: false,
            ..Habits::default()
        },
        ..Trial::default()
    }
    .run(async |sim: &Sim, _: &SipCall| sim.sleep(SECOND * 20).await);
    assert!(told.causes(Way::Receive).contains(Cause::OneWayAudio));
}

/// The peer is heard well, and nothing that we send arrives: its reports do not know our stream.
#[test]
fn a_peer_that_does_not_hear_us_is_one_way_audio() {
    let told = Trial {
        to_peer: Link::delay(Duration::from_millis(20)).loss(Loss::Random(1.0)),
        ..Trial::default()
    }
    .run(talk(60));
    assert_only(&told, Way::Send, Cause::OneWayAudio);
    assert_eq!(told.causes(Way::Receive), Causes::NONE);
}

#[test]
fn sound_cut_off_at_full_scale_is_told() {
    let told = Trial::default().run(async |sim: &Sim, call: &SipCall| {
        let speech = Sound::speech(3, SECOND * 11);
        let loud: Vec<i16> = speech
            .samples()
            .iter()
            .map(|s| s.saturating_mul(30))
            .collect();
        call.media().keep_saying(&Sound::new(loud));
        sim.sleep(SECOND * 20).await;
    });
    assert_only(&told, Way::Receive, Cause::Clipping);
}

#[test]
fn what_comes_back_is_suspected_to_be_echo() {
    let told = Trial::default().run(async |sim: &Sim, call: &SipCall| {
        let media = call.media();
        let end = sim.now() + SECOND * 30;
        while sim.now() < end {
            let heard = media.hear_for(Duration::from_millis(100)).await;
            let back: Vec<i16> = heard.samples().iter().map(|s| s / 8).collect();
            media.say(&Sound::new(back));
        }
    });
    assert_only(&told, Way::Receive, Cause::EchoSuspected);
}

#[test]
fn long_ways_are_told() {
    let far = Link::delay(Duration::from_millis(450));
    let told = Trial {
        to_engine: far,
        to_peer: far,
        ..Trial::default()
    }
    .run(talk(60));
    assert_only(&told, Way::Receive, Cause::Delay);
    assert_only(&told, Way::Send, Cause::Delay);
    let rating = told.quality().receive.call.rating.expect("packets");
    assert!(rating.mos_lq > 4.3 && rating.mos_cq < 3.2, "{rating:?}");
}

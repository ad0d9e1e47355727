//! Digits in every way that they travel, and tones of machines, through whole engines.

use std::time::Duration;

use sidetone::call::collect::Collect;
use sidetone::call::keys::{DigitPolicy, DigitTransport};
use sidetone::engine::config::Config;
use sidetone::engine::event::CallEvent;
use sidetone::face::engine::Engine;
use sidetone::media::detect::MachineTone;
use sidetone::media::dtmf::detect::DtmfDetector;
use sidetone::media::dtmf::{Digit, DtmfEvent};
use sidetone::media::frame::{Frame, SampleRate};
use sidetone::media::leg::ears::Listening;
use sidetone::media::tone::national::{Country, Signal};
use sidetone::media::tone::{Generator, Tone};
use sidetone_sim::peer::sip::{Dial, Profile, SipPeer};
use sidetone_sim::peer::sound::Sound;
use sidetone_sim::sim::Sim;

use crate::stage::{Diary, SECOND, serve};

const RATE: SampleRate = SampleRate::HZ_8000;

fn start(sim: &Sim) -> Engine {
    sim.engine("engine", Config::default()).expect("an engine")
}

/// A telephone behind a gateway that knows no telephone events.
fn without_events() -> Profile {
    let mut profile = Profile::default();
    profile.abilities.telephone_event = None;
    profile
}

fn play(tone: &Tone, duration: Duration) -> Vec<i16> {
    let mut samples = vec![0; RATE.samples_in(duration) as usize];
    Generator::new(tone, RATE).fill(&mut samples);
    samples
}

/// The tones of keys, 80 ms each and as long between them, after some silence.
fn keys(digits: &str) -> Sound {
    let mut samples = vec![0; 4_000];
    for name in digits.chars() {
        let held = Duration::from_millis(80);
        let tone = Tone::dtmf(name, held).expect("a digit");
        samples.extend(play(&tone, held * 2));
    }
    Sound::new(samples)
}

/// The digits in the sound that somebody heard.
fn digits_in(samples: &[i16]) -> String {
    let mut detector = DtmfDetector::new(RATE);
    let mut digits = String::new();
    for part in samples.chunks(160) {
        detector.process(&Frame::from_samples(RATE, part));
        while let Some(event) = detector.poll_event() {
            if let DtmfEvent::Started { digit } = event {
                digits.push(digit.to_char());
            }
        }
    }
    digits
}

fn serve_pin(sim: &Sim, engine: &Engine, policy: DigitPolicy) -> Diary {
    let diary = Diary::default();
    let own = diary.clone();
    serve(sim, engine, move |call| {
        let diary = own.clone();
        async move {
            call.set_digits(policy).await?;
            call.answer().await?;
            let pin = call.collect(Collect::digits(8).terminated_by('#')).await?;
            diary.write(format!("{} {:?}", pin.digits, pin.end));
            call.hang_up().await
        }
    });
    diary
}

#[test]
fn an_ivr_collects_digits_that_come_as_tones() {
    let sim = Sim::seeded(1);
    let engine = start(&sim);
    let diary = serve_pin(&sim, &engine, DigitPolicy::default());
    let alice = SipPeer::with_profile(&sim, "alice", without_events()).expect("a peer");
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        call.media().say(&keys("1199*0#"));
        call.ended().await;
    });
    assert_eq!(diary.lines(), ["1199*0 Terminator('#')"]);
}

#[test]
fn a_digit_that_comes_in_three_ways_counts_once() {
    let sim = Sim::seeded(2);
    let engine = start(&sim);
    let policy = DigitPolicy {
        receive: DigitTransport::InBand,
        ..DigitPolicy::default()
    };
    let diary = serve_pin(&sim, &engine, policy);
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        for digit in ["4", "4", "7", "#"] {
            call.media().say(&keys(digit));
            call.media().hear_for(Duration::from_millis(700)).await;
            call.media().start_pressing(digit);
            let body = format!("Signal={digit}\r\nDuration=100\r\n");
            let body = ("application/dtmf-relay", body.as_str());
            if digit != "#" {
                call.request("INFO", &[], body).await.expect("an answer");
            }
            call.media().hear_for(SECOND * 2).await;
        }
        call.ended().await;
    });
    assert_eq!(diary.lines(), ["447 Terminator('#')"]);
}

#[test]
fn a_bridge_turns_tones_into_events_and_events_into_tones() {
    let sim = Sim::seeded(3);
    let engine = start(&sim);
    let agent = SipPeer::open(&sim, "agent").expect("a peer");
    serve(&sim, &engine, move |caller| async move {
        caller.answer().await?;
        let agent = caller.engine().dial("sip:1@agent").await?;
        let bridge = caller.bridge(&agent).await?;
        bridge.ended().await?;
        Ok(())
    });
    let alice = SipPeer::with_profile(&sim, "alice", without_events()).expect("a peer");
    sim.block_on(async {
        let placing = alice.call("sip:100@engine");
        let answering = async {
            let call = agent.incoming().await.expect("a call");
            call.answer().await.expect("an acknowledgement");
            call
        };
        let (call, other) = tokio::join!(placing, answering);
        let call = call.expect("an answer");
        call.media().hear_for(SECOND).await;
        call.media().say(&keys("159"));
        let heard = other.media().hear_for(SECOND * 3).await;
        // Told as events, and not heard besides.
        let told: String = other.media().digits().iter().map(|d| d.digit).collect();
        assert_eq!(told, "159");
        assert_eq!(digits_in(heard.samples()), "");
        other.media().start_pressing("26");
        let heard = call.media().hear_for(SECOND * 3).await;
        assert_eq!(digits_in(heard.samples()), "26");
    });
}

#[test]
fn digits_are_sent_as_the_policy_says() {
    for (transport, expected) in [
        (DigitTransport::Auto, "events"),
        (DigitTransport::Info, "info"),
        (DigitTransport::InBand, "tones"),
    ] {
        let sim = Sim::seeded(4);
        let engine = start(&sim);
        let diary = Diary::default();
        let own = diary.clone();
        serve(&sim, &engine, move |call| {
            let diary = own.clone();
            async move {
                let policy = DigitPolicy {
                    send: transport,
                    ..DigitPolicy::default()
                };
                call.set_digits(policy).await?;
                call.answer().await?;
                call.send_digits("12#").await?;
                while let Some(event) = call.next_event().await {
                    if matches!(event, CallEvent::DigitsSent) {
                        diary.write("sent");
                    }
                }
                Ok(())
            }
        });
        let alice = SipPeer::open(&sim, "alice").expect("a peer");
        sim.block_on(async {
            let call = alice.call("sip:100@engine").await.expect("an answer");
            let heard = call.media().hear_for(SECOND * 3).await;
            let events: String = call.media().digits().iter().map(|d| d.digit).collect();
            let tones = digits_in(heard.samples());
            match expected {
                "events" => assert_eq!((events.as_str(), tones.as_str()), ("12#", "")),
                "tones" => assert_eq!((events.as_str(), tones.as_str()), ("", "12#")),
                _ => {
                    assert_eq!((events.as_str(), tones.as_str()), ("", ""));
                    for digit in ["1", "2", "#"] {
                        let info = call.next_request().await;
                        let body = String::from_utf8_lossy(&info.body()).into_owned();
                        assert!(body.contains(&format!("Signal={digit}")), "{body}");
                    }
                }
            }
            call.hang_up().await.expect("an answer");
        });
        sim.run_for(SECOND * 5);
        assert_eq!(diary.lines(), ["sent"], "{expected}");
    }
}

#[test]
fn digits_that_a_worker_refuses_are_told_to_the_flow() {
    let sim = Sim::seeded(5);
    let engine = start(&sim);
    let diary = Diary::default();
    let own = diary.clone();
    serve(&sim, &engine, move |call| {
        let diary = own.clone();
        async move {
            call.answer().await?;
            for _ in 0..3 {
                call.send_digits(&"1".repeat(30)).await?;
            }
            while let Some(event) = call.next_event().await {
                if let CallEvent::DigitsFailed { digits } = event {
                    diary.write(format!("{} failed", digits.len()));
                }
            }
            Ok(())
        }
    });
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        call.media().hear_for(SECOND * 2).await;
        call.hang_up().await.expect("an answer");
    });
    sim.run_for(SECOND * 5);
    assert_eq!(diary.lines(), ["30 failed", "30 failed"]);
}

#[test]
fn an_answering_machine_is_known_by_its_beep() {
    let sim = Sim::seeded(6);
    let engine = start(&sim);
    let diary = Diary::default();
    let own = diary.clone();
    serve(&sim, &engine, move |call| {
        let diary = own.clone();
        async move {
            call.listen(Listening {
                tones: true,
                ..Listening::default()
            })
            .await?;
            call.answer().await?;
            while let Some(event) = call.next_event().await {
                if let CallEvent::Tone(tone) = event {
                    diary.write(format!("{tone:?}"));
                    if tone == MachineTone::Beep {
                        call.hang_up().await?;
                    }
                }
            }
            Ok(())
        }
    });
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        let mut samples = Sound::speech(7, SECOND * 3).samples().to_vec();
        samples.extend([0; 800]);
        let beep = Tone::beep();
        samples.extend(play(&beep, SECOND));
        call.media().say(&Sound::new(samples));
        call.ended().await;
    });
    assert_eq!(diary.lines(), ["Beep"]);
}

#[test]
fn a_caller_hears_its_nations_ringback_before_the_answer() {
    let sim = Sim::seeded(7);
    let engine = start(&sim);
    serve(&sim, &engine, |call| async move {
        call.early_media().await?;
        let tone = Country::UnitedKingdom.tone(Signal::Ringback);
        let ringback = call.play_tone(tone).start().await?;
        call.unless_ended(std::future::pending::<()>()).await?;
        drop(ringback);
        Ok(())
    });
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    sim.block_on(async {
        let call = alice
            .dial("sip:100@engine", Dial::default())
            .expect("a call");
        call.expect(183).await.expect("early media");
        let heard = call.media().hear_for(SECOND).await;
        assert!(
            heard.tone_level(400.0) > -30.0,
            "{}",
            heard.tone_level(400.0)
        );
        assert!(heard.tone_level(450.0) > -30.0);
        call.cancel();
    });
}

/// The digit type is what both ends name a key by.
#[test]
fn every_key_has_its_tones() {
    for name in "0123456789*#ABCD".chars() {
        assert!(Digit::from_char(name).is_some());
        assert_eq!(
            digits_in(keys(&name.to_string()).samples()),
            name.to_string()
        );
    }
}

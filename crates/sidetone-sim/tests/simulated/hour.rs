//! The examples' own call flows, unchanged, in virtual time: an hour of IVR traffic in seconds, and
//! a service desk with its agents.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_bridge::desk::Desk;
use agent_bridge::settings::{Settings, Strategy};
use ivr::flow::Ivr;
use sidetone::engine::config::Config;
use sidetone::rng::Rng;
use sidetone_sim::engine::Machine;
use sidetone_sim::network::link::{Link, Loss};
use sidetone_sim::peer::sip::call::End;
use sidetone_sim::peer::sip::{Profile, SipPeer};
use sidetone_sim::peer::sound::Sound;
use sidetone_sim::seed;
use sidetone_sim::sim::{Handle, Sim};

use crate::stage::SECOND;

/// What a flow reports, line by line.
#[derive(Clone, Default)]
struct Report(Arc<Mutex<Vec<String>>>);

impl Report {
    fn progress(&self) -> Arc<dyn Fn(String) + Send + Sync> {
        let lines = self.0.clone();
        Arc::new(move |line| lines.lock().expect("one thread").push(line))
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("one thread").clone()
    }

    fn count(&self, what: &str) -> usize {
        let lines = self.lines();
        lines.iter().filter(|line| line.contains(what)).count()
    }
}

fn below(rng: &mut Rng, millis: u64) -> Duration {
    Duration::from_millis(rng.below(millis))
}

/// One caller's whim: orders, asks, says nothing, mistypes, or leaves at any moment.
async fn call_once(sim: &Handle, peer: &SipPeer, rng: &mut Rng) {
    let Ok(call) = peer.call("sip:ivr@ivr").await else {
        return;
    };
    sim.sleep(below(rng, 4_000)).await;
    match rng.below(6) {
        0 => call.media().start_pressing("1"),
        1 => {
            call.media().press("2").await;
            sim.sleep(below(rng, 3_000)).await;
            let order = format!("{}#", rng.below(10_000));
            call.media().press(&order).await;
        }
        2 => call.media().start_pressing("9"),
        3 => call.media().start_pressing("7*0"),
        4 => {}
        _ => {
            sim.sleep(below(rng, 20_000)).await;
            drop(call.hang_up().await);
            return;
        }
    }
    // Long enough for any read-out; then the caller has enough.
    if sim.timeout(SECOND * 40, call.ended()).await.is_none() {
        drop(call.hang_up().await);
    }
}

/// Everything that an hour leaves behind.
#[derive(PartialEq)]
struct Outcome {
    trace: String,
    digest: u64,
    media: u64,
    report: Vec<String>,
    calls: usize,
    orders: usize,
}

fn an_hour(seed: u64, callers: usize) -> Outcome {
    let sim = Sim::new(seed);
    sim.network().set_default_link(
        Link::delay(Duration::from_millis(20))
            .jitter(Duration::from_millis(10))
            .loss(Loss::Random(0.002)),
    );
    let report = Report::default();
    let ivr = Ivr::new(None, report.progress()).expect("the embedded prompts");
    let (engine, machine) = sim.machine("ivr", Config::default()).expect("an engine");
    let ivr = Arc::new(ivr);
    sim.spawn({
        let engine = engine.clone();
        async move { ivr.serve(&engine).await }
    });
    let mut callers: Vec<_> = (0..callers)
        .map(|n| {
            let peer = SipPeer::open(&sim, &format!("caller{n}")).expect("a peer");
            let (handle, mut rng) = (sim.handle(), sim.fork_rng());
            sim.spawn(async move {
                let end = handle.now() + SECOND * 3600;
                while handle.now() < end {
                    handle.sleep(below(&mut rng, 4_000)).await;
                    call_once(&handle, &peer, &mut rng).await;
                }
            })
        })
        .collect();
    sim.block_on(async {
        for caller in callers.drain(..) {
            caller.await;
        }
        sim.sleep(SECOND * 120).await;
    });
    assert_eq!(engine.call_count(), 0);
    assert_eq!(legs(&machine), 0);
    let trace = sim.trace();
    Outcome {
        trace: trace.text().to_owned(),
        digest: trace.digest(),
        media: trace.media_packets(),
        calls: report.count("incoming"),
        orders: report.count("order \""),
        report: report.lines(),
    }
}

fn legs(machine: &Machine) -> usize {
    machine.workers().iter().map(|worker| worker.legs).sum()
}

#[test]
fn an_hour_of_ivr_traffic_repeats_itself_byte_by_byte() {
    let seed = seed::from_environment().unwrap_or(1);
    let first = an_hour(seed, 10);
    assert!(first.calls > 1_000, "{} calls", first.calls);
    assert!(first.orders > 100, "{} orders", first.orders);
    assert!(first.media > 2_000_000, "{} packets", first.media);
    let second = an_hour(seed, 10);
    assert!(first == second, "seed {seed} gave two different hours");
}

#[test]
fn another_seed_gives_another_hour() {
    let (first, second) = (an_hour(1, 1), an_hour(2, 1));
    assert!(first.trace != second.trace && first.digest != second.digest);
    assert!(first.report != second.report);
}

/// A desk on the host `desk`, with these agents.
fn desk(sim: &Sim, agents: &[&SipPeer], strategy: Strategy) -> (Report, Machine) {
    let report = Report::default();
    let settings = Settings {
        agents: agents.iter().map(|agent| agent.uri("agent")).collect(),
        strategy,
        ring_seconds: 10,
        recordings: PathBuf::from("recordings"),
        ..Settings::default()
    };
    let desk = Arc::new(Desk::new(&settings, report.progress()).expect("the embedded prompts"));
    let (engine, machine) = sim.machine("desk", Config::default()).expect("an engine");
    sim.spawn(async move { desk.serve(&engine).await });
    (report, machine)
}

/// An agent who answers after a while, and says a sentence to each caller.
fn work(sim: &Sim, peer: &SipPeer, after: Duration, sentence: &Sound) {
    let (peer, sentence, handle) = (peer.clone(), sentence.clone(), sim.handle());
    sim.spawn(async move {
        loop {
            let call = peer.incoming().await.expect("media ports");
            call.ring(180);
            let gone = handle.timeout(after, call.ended()).await.is_some();
            if !gone && call.answer().await.is_ok() {
                call.media().speak(&sentence).await;
            }
        }
    });
}

fn peer(sim: &Sim, host: &str) -> SipPeer {
    SipPeer::with_profile(sim, host, Profile::default()).expect("a peer")
}

#[test]
fn the_desk_connects_a_caller_with_the_first_agent_who_answers_and_records() {
    let sim = Sim::seeded(3);
    let (caller, slow, quick) = (
        peer(&sim, "caller"),
        peer(&sim, "slow"),
        peer(&sim, "quick"),
    );
    let (report, machine) = desk(&sim, &[&slow, &quick], Strategy::RingAll);
    let (question, answer) = (Sound::speech(1, SECOND * 2), Sound::speech(2, SECOND * 2));
    work(&sim, &slow, SECOND * 8, &Sound::speech(3, SECOND));
    work(&sim, &quick, SECOND * 3, &answer);
    sim.block_on(async {
        let call = caller.call("sip:100@desk").await.expect("an answer");
        let greeting = call.media().hear_for(SECOND * 2).await;
        assert!(!greeting.is_silent(), "a greeting");
        call.media().press("2").await;
        let music = call.media().hear_for(SECOND * 2).await;
        assert!(!music.is_silent(), "music on hold");
        let heard = call.media().hear_for(SECOND * 5).await;
        assert!(heard.find(&answer).is_some_and(|m| m.likeness > 0.9));
        call.media().speak(&question).await;
        call.hang_up().await.expect("an answer to BYE");
        sim.sleep(SECOND * 60).await;
    });
    let answered = format!("agent {} answered", quick.uri("agent"));
    assert_eq!(report.count(&answered), 1, "{:?}", report.lines());
    assert_eq!(report.count("the caller left"), 1, "{:?}", report.lines());
    assert_eq!(slow.received("CANCEL"), 1);
    assert_eq!(legs(&machine), 0);
    let path = &machine.disk().paths()[0];
    let wav = machine.disk().read(path).expect("the recording");
    let [left, right] = Sound::of_recording(&wav).expect("stereo");
    assert!(
        left.as_heard()
            .find(&question)
            .is_some_and(|m| m.likeness > 0.9)
    );
    assert!(
        right
            .as_heard()
            .find(&answer)
            .is_some_and(|m| m.likeness > 0.9)
    );
}

#[test]
fn the_desk_says_sorry_when_no_agent_answers() {
    let sim = Sim::seeded(3);
    let (caller, lazy) = (peer(&sim, "caller"), peer(&sim, "lazy"));
    let (report, machine) = desk(&sim, &[&lazy], Strategy::RoundRobin);
    sim.block_on(async {
        let call = caller.call("sip:100@desk").await.expect("an answer");
        sim.sleep(SECOND * 2).await;
        call.media().press("2").await;
        let end = sim.timeout(SECOND * 40, call.ended()).await;
        assert!(matches!(end, Some(End::Theirs { .. })), "{end:?}");
        sim.sleep(SECOND * 60).await;
    });
    assert_eq!(report.count("no agent answered"), 1, "{:?}", report.lines());
    assert_eq!(legs(&machine), 0);
}

#[test]
fn agents_take_callers_in_turn() {
    let sim = Sim::seeded(3);
    let (caller, first, second) = (
        peer(&sim, "caller"),
        peer(&sim, "first"),
        peer(&sim, "second"),
    );
    let (report, machine) = desk(&sim, &[&first, &second], Strategy::RoundRobin);
    for agent in [&first, &second] {
        work(&sim, agent, SECOND, &Sound::speech(2, SECOND));
    }
    sim.block_on(async {
        for _ in 0..4 {
            let call = caller.call("sip:100@desk").await.expect("an answer");
            sim.sleep(SECOND).await;
            call.media().press("2").await;
            sim.sleep(SECOND * 5).await;
            call.hang_up().await.expect("an answer to BYE");
            sim.sleep(SECOND).await;
        }
        sim.sleep(SECOND * 60).await;
    });
    assert_eq!(first.received("INVITE"), 2, "{:?}", report.lines());
    assert_eq!(second.received("INVITE"), 2);
    assert_eq!(report.count("bridged"), 4);
    assert_eq!(legs(&machine), 0);
}

//! Many calls at once that do whatever callers, agents and networks do; in the end nothing is left.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use sidetone::call::collect::Collect;
use sidetone::engine::config::Config;
use sidetone::engine::event::CallError;
use sidetone::face::call::Call;
use sidetone::face::engine::Engine;
use sidetone::face::prompt::Prompt;
use sidetone::rng::Rng;
use sidetone_sim::engine::Machine;
use sidetone_sim::network::link::{Link, Loss};
use sidetone_sim::peer::offer::{Abilities, Direction};
use sidetone_sim::peer::rtp::{Habits, Law};
use sidetone_sim::peer::sip::call::SipCall;
use sidetone_sim::peer::sip::{Dial, Profile, SipPeer, Transport};
use sidetone_sim::peer::sound::Sound;
use sidetone_sim::seed;
use sidetone_sim::sim::{Handle, Sim};

use crate::stage::SECOND;

fn below(rng: &mut Rng, millis: u64) -> Duration {
    Duration::from_millis(rng.below(millis))
}

/// A flow with everything in it: early media, digits, recording, hold, a dialled agent, a bridge.
async fn flow(
    caller: Call,
    prompt: Prompt,
    agents: Vec<String>,
    whim: u64,
) -> Result<(), CallError> {
    let engine = caller.engine();
    let mut rng = Rng::new(whim);
    if rng.below(3) == 0 {
        caller.ring().await?;
        engine.sleep(below(&mut rng, 1_500)).await;
    }
    if rng.below(8) == 0 {
        return caller.reject(486).await;
    }
    if rng.below(4) == 0 && caller.early_media().await.is_ok() {
        let _stopped = engine
            .timeout(below(&mut rng, 1_000), caller.play(&prompt))
            .await;
    }
    caller.answer().await?;
    if rng.below(2) == 0 {
        drop(caller.record(format!("{}.wav", caller.id())).await?);
    }
    let menu = Collect::digits(2)
        .first_digit_within(SECOND)
        .next_digit_within(SECOND);
    caller.prompt_and_collect(&prompt, menu).await?;
    let music = caller.play(&prompt).looped().start().await?;
    if rng.below(4) == 0 {
        // The party may refuse, and another change may be under way.
        let _refused = caller.hold().await;
        engine.sleep(below(&mut rng, 2_000)).await;
        let _refused = caller.resume().await;
    }
    let agent = &agents[rng.below(agents.len() as u64) as usize];
    let dialling = engine.dial(agent).ring_timeout(SECOND * 5);
    let Ok(agent) = caller.unless_ended(dialling).await? else {
        music.stop().await?;
        return caller.hang_up().await;
    };
    music.stop().await?;
    let bridge = caller.bridge(&agent).await?;
    let patience = below(&mut rng, 20_000);
    engine.timeout(patience, bridge.ended()).await;
    match rng.below(3) {
        0 => {
            drop(bridge);
            agent.hang_up().await?;
            caller.play(&prompt).await?;
            caller.hang_up().await
        }
        // Handles are dropped in the middle of it all.
        _ => Ok(()),
    }
}

/// What a party does while the call is up, and how it leaves.
async fn behave(sim: &Handle, call: &SipCall, rng: &mut Rng) {
    call.media().keep_saying(&Sound::speech(1, SECOND * 2));
    for _ in 0..rng.below(4) {
        sim.sleep(below(rng, 3_000)).await;
        match rng.below(6) {
            0 => call.media().press("1#").await,
            // A partition may take every repetition of the answer, and nothing limits how long it is
            // waited for after a provisional one (RFC 3261 §17.1.1.2).
            1 => drop(
                sim.timeout(SECOND * 100, call.redirect_media(Direction::SendOnly))
                    .await,
            ),
            2 => drop(
                sim.timeout(SECOND * 100, call.redirect_media(Direction::SendReceive))
                    .await,
            ),
            3 => drop(call.request("INFO", &[], ("text/plain", "hello")).await),
            4 => drop(call.request("OPTIONS", &[], ("", "")).await),
            _ => {}
        }
        if call.end().is_some() {
            return;
        }
    }
    sim.sleep(below(rng, 20_000)).await;
    if rng.below(3) > 0 && call.end().is_none() {
        drop(call.hang_up().await);
    }
}

async fn place_calls(sim: Handle, peer: SipPeer, mut rng: Rng, calls: u32) {
    for _ in 0..calls {
        sim.sleep(below(&mut rng, 3_000)).await;
        let dial = Dial {
            offer: rng.below(4) > 0,
            ..Dial::default()
        };
        let target = match peer.address().port() {
            5061 => "sip:x@engine;transport=tcp",
            _ => "sip:x@engine",
        };
        let call = peer.dial(target, dial).expect("a call");
        let patience = match rng.below(3) {
            0 => below(&mut rng, 3_000),
            _ => SECOND * 40,
        };
        match sim.timeout(patience, call.answered()).await {
            None => call.cancel(),
            Some(Err(_)) => {}
            Some(Ok(())) => behave(&sim, &call, &mut rng).await,
        }
    }
}

async fn take_calls(sim: Handle, peer: SipPeer, mut rng: Rng) {
    loop {
        let call = peer.incoming().await.expect("media ports");
        let (sim, mut rng) = (sim.clone(), rng.fork());
        sim.clone().spawn(async move {
            if rng.below(2) == 0 {
                call.ring(180);
            }
            if rng.below(4) == 0 {
                call.ring_with_media();
            }
            sim.sleep(below(&mut rng, 7_000)).await;
            if rng.below(5) == 0 {
                call.refuse(603);
            } else if call.answer().await.is_ok() {
                behave(&sim, &call, &mut rng).await;
            }
        });
    }
}

fn profile(n: usize) -> Profile {
    let tcp = n.is_multiple_of(3);
    Profile {
        transport: if tcp { Transport::Tcp } else { Transport::Udp },
        port: if tcp { 5061 } else { 5060 },
        abilities: Abilities {
            laws: vec![if n.is_multiple_of(2) { Law::A } else { Law::Mu }],
            telephone_event: (!n.is_multiple_of(5)).then_some(96 + n as u8),
            srtp: None,
        },
        habits: Habits {
            drift_ppm: n as i32 * 37 - 100,
            sends_silence: !n.is_multiple_of(4),
            ..Habits::default()
        },
        ..Profile::default()
    }
}

struct Outcome {
    flows: u32,
    digest: u64,
}

fn chaos(seed: u64, link: Link, partitions: bool) -> Outcome {
    let sim = Sim::new(seed);
    sim.network().set_default_link(link);
    let config = {
        let mut config = Config::default();
        config.media_workers = 1 + (seed % 3) as u16;
        config.media_timeout = Some(SECOND * 10);
        config
    };
    let (engine, machine) = sim.machine("engine", config).expect("an engine");
    let agents: Vec<SipPeer> = (0..3)
        .map(|n| SipPeer::with_profile(&sim, &format!("agent{n}"), profile(n)).expect("a peer"))
        .collect();
    let flows = Rc::new(Cell::new(0));
    serve(&sim, &engine, &agents, flows.clone());
    for agent in &agents {
        sim.spawn(take_calls(sim.handle(), agent.clone(), sim.fork_rng()));
    }
    let callers: Vec<_> = (0..6)
        .map(|n| {
            let peer = SipPeer::with_profile(&sim, &format!("caller{n}"), profile(n));
            let peer = peer.expect("a peer");
            sim.spawn(place_calls(sim.handle(), peer, sim.fork_rng(), 8))
        })
        .collect();
    sim.block_on(async {
        if partitions {
            let mut rng = sim.fork_rng();
            for n in 0..6 {
                let start = sim.now() + SECOND * 10 + below(&mut rng, 100_000);
                let end = start + below(&mut rng, 40_000);
                let host = format!("caller{n}");
                let cut = sim.network().partition("engine", &host, start, Some(end));
                cut.expect("hosts");
            }
        }
        for caller in callers {
            caller.await;
        }
        sim.sleep(SECOND * 400).await;
    });
    assert_clean(&engine, &machine);
    Outcome {
        flows: flows.get(),
        digest: sim.trace().digest(),
    }
}

fn serve(sim: &Sim, engine: &Engine, agents: &[SipPeer], flows: Rc<Cell<u32>>) {
    let prompt = Prompt::from_wav(&Sound::speech(9, SECOND * 2).to_wav()).expect("a WAV file");
    let agents: Vec<String> = agents.iter().map(|agent| agent.uri("agent")).collect();
    let (engine, rng) = (engine.clone(), Cell::new(sim.fork_rng().next_u64()));
    sim.spawn(async move {
        engine
            .serve(move |caller| {
                flows.set(flows.get() + 1);
                let whim = Rng::new(rng.get()).next_u64();
                rng.set(whim);
                flow(caller, prompt.clone(), agents.clone(), whim)
            })
            .await;
    });
}

fn assert_clean(engine: &Engine, machine: &Machine) {
    assert_eq!(engine.call_count(), 0, "calls are left");
    for worker in machine.workers() {
        assert_eq!((worker.legs, worker.rooms), (0, 0), "media is left");
        assert_eq!(worker.dropped_events, 0);
        assert_eq!(worker.skipped_ticks, 0);
    }
    let sip = machine.sip_counters().expect("a running engine");
    assert_eq!(sip.dropped_malformed, 0, "{sip:?}");
}

fn seeds(default: std::ops::Range<u64>) -> Vec<u64> {
    match seed::from_environment() {
        Some(seed) => vec![seed],
        None => default.collect(),
    }
}

fn bad() -> Link {
    Link::delay(Duration::from_millis(50))
        .jitter(Duration::from_millis(60))
        .loss(Loss::bursty(0.1, 3.0))
        .reorder(0.05, Duration::from_millis(80))
        .duplicate(0.05)
}

#[test]
fn nothing_is_left_after_chaos_on_a_good_network() {
    for seed in seeds(100..108) {
        let outcome = chaos(seed, Link::default(), false);
        assert!(outcome.flows >= 40, "{} flows", outcome.flows);
    }
}

#[test]
fn nothing_is_left_after_chaos_on_a_bad_network() {
    for seed in seeds(200..208) {
        let outcome = chaos(seed, bad(), false);
        assert!(outcome.flows >= 30, "{} flows", outcome.flows);
    }
}

#[test]
fn nothing_is_left_after_chaos_with_partitions() {
    for seed in seeds(300..308) {
        let outcome = chaos(seed, bad(), true);
        assert!(outcome.flows >= 20, "{} flows", outcome.flows);
    }
}

#[test]
fn chaos_repeats_itself() {
    for seed in seeds(400..402) {
        let digest = |seed| chaos(seed, bad(), true).digest;
        assert_eq!(digest(seed), digest(seed), "seed {seed}");
    }
}

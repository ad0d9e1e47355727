//! Trunks in the simulator: failover, health, limits, caps and who comes from where.

use sidetone::b2bua::plan::{Plan, Target};
use sidetone::b2bua::trunk::cap::Cap;
use sidetone::b2bua::trunk::{Address, Trunk, TrunkEvent, TrunkState};
use sidetone::engine::config::Config;
use sidetone::face::call::Call;
use sidetone::face::engine::Engine;
use sidetone::id::TrunkId;
use sidetone::sip::health::Pinging;
use sidetone::sip::registrar::config::{Anybody, RegistrarConfig};
use sidetone_sim::peer::sip::call::{CallError as PeerError, End};
use sidetone_sim::peer::sip::{Dial, SipPeer};
use sidetone_sim::sim::Sim;

use crate::stage::SECOND;

fn peer(sim: &Sim, name: &str) -> SipPeer {
    SipPeer::open(sim, name).expect("a peer")
}

fn address(peer: &SipPeer, priority: u16) -> Address {
    Address::new(&format!("sip:{}", peer.address())).ranked(priority, 1)
}

fn add(sim: &Sim, engine: &Engine, trunk: Trunk) -> TrunkId {
    let engine = engine.clone();
    sim.block_on(async move { engine.add_trunk(trunk).await })
        .expect("a trunk")
}

/// Connects every caller with the number that it dials, at the trunk.
fn serve(sim: &Sim, engine: &Engine, trunk: TrunkId) {
    let engine = engine.clone();
    sim.set_time_limit(3_600 * SECOND);
    sim.spawn(async move {
        let flow = move |caller: Call| async move {
            let called = caller
                .caller()
                .map(|caller| caller.to())
                .unwrap_or_default();
            let number = called.trim_start_matches("sip:").split('@').next();
            let plan = Plan::to(Target::trunk(trunk, number.unwrap_or_default()));
            caller.connect(plan).await?.ended().await
        };
        engine.serve(flow).await;
    });
}

fn quick() -> Pinging {
    Pinging {
        interval: 5 * SECOND,
        retry: 5 * SECOND,
        ..Pinging::default()
    }
}

#[test]
fn a_call_finds_the_address_that_works() {
    let sim = Sim::seeded(1);
    let alice = peer(&sim, "alice");
    let [dead, busy, good] = ["dead", "busy", "good"].map(|name| peer(&sim, name));
    let engine = sim
        .engine("exchange", Config::default())
        .expect("an engine");
    let addresses = [address(&dead, 0), address(&busy, 1), address(&good, 2)];
    let trunk = add(
        &sim,
        &engine,
        Trunk::new("carrier", addresses).pinging(None),
    );
    serve(&sim, &engine, trunk);
    dead.die();
    sim.block_on(async {
        let call = alice
            .dial("sip:4930@exchange", Dial::default())
            .expect("a call");
        busy.incoming().await.expect("a call").refuse(503);
        let inward = good.incoming().await.expect("a call");
        let uri = inward
            .invite()
            .expect("an INVITE")
            .request_uri()
            .expect("a URI");
        assert_eq!(uri.user(), Some("4930"));
        inward.answer().await.expect("an ACK");
        call.answered().await.expect("an answer");
        // The next one goes to what works straight away.
        let again = alice
            .dial("sip:4931@exchange", Dial::default())
            .expect("a call");
        let second = good.incoming().await.expect("a call");
        second.refuse(486);
        assert_eq!(again.ended().await, End::Refused(486));
        call.hang_up().await.expect("an answer");
        sim.sleep(SECOND).await;
        let (state, counters) = engine.trunk(trunk).await.expect("a trunk");
        assert_eq!(state, TrunkState::Degraded);
        assert_eq!((counters.calls, counters.failures), (0, 2), "{counters:?}");
    });
}

#[test]
fn a_trunk_that_answers_no_pings_is_down_until_it_does() {
    let sim = Sim::seeded(1);
    let (alice, far) = (peer(&sim, "alice"), peer(&sim, "far"));
    let engine = sim
        .engine("exchange", Config::default())
        .expect("an engine");
    let trunk = Trunk::new("carrier", [address(&far, 0)]).pinging(Some(quick()));
    let trunk = add(&sim, &engine, trunk);
    serve(&sim, &engine, trunk);
    sim.block_on(async {
        let mut watch = engine.watch_trunks().await.expect("a watch");
        let state = |state| TrunkEvent::State {
            trunk: "carrier".into(),
            state,
        };
        sim.sleep(SECOND).await;
        far.drop_incoming(12);
        assert_eq!(watch.next().await, Some(state(TrunkState::Down)));
        let refused = alice.call("sip:1@exchange").await;
        assert!(
            matches!(refused, Err(PeerError::Refused(500))),
            "{refused:?}"
        );
        assert_eq!(watch.next().await, Some(state(TrunkState::Up)));
        let call = alice
            .dial("sip:1@exchange", Dial::default())
            .expect("a call");
        far.incoming()
            .await
            .expect("a call")
            .answer()
            .await
            .expect("an ACK");
        call.hang_up().await.expect("an answer");
    });
}

#[test]
fn limits_hold_both_ways_and_callers_are_known() {
    let sim = Sim::seeded(1);
    let (alice, far) = (peer(&sim, "alice"), peer(&sim, "far"));
    let engine = sim
        .engine("exchange", Config::default())
        .expect("an engine");
    let trunk = Trunk::new("carrier", [address(&far, 0)])
        .max_calls(2)
        .pinging(None);
    let trunk = add(&sim, &engine, trunk);
    serve(&sim, &engine, trunk);
    sim.block_on(async {
        let out = alice
            .dial("sip:1@exchange", Dial::default())
            .expect("a call");
        let inward = far.incoming().await.expect("a call");
        inward.answer().await.expect("an ACK");
        out.answered().await.expect("an answer");
        let second = alice
            .dial("sip:2@exchange", Dial::default())
            .expect("a call");
        let waiting = far.incoming().await.expect("a call");
        // A third, from either side.
        let third = alice.call("sip:3@exchange").await;
        assert!(matches!(third, Err(PeerError::Refused(500))), "{third:?}");
        let back = far.call("sip:3@exchange").await;
        assert!(matches!(back, Err(PeerError::Refused(503))), "{back:?}");
        second.cancel();
        waiting.ended().await;
        out.hang_up().await.expect("an answer");
        sim.sleep(SECOND).await;
        let (_, counters) = engine.trunk(trunk).await.expect("a trunk");
        assert_eq!(counters.calls, 0);
        assert_eq!(counters.refused_calls, 2);
    });
}

#[test]
fn a_stolen_account_stops_at_the_cap() {
    let sim = Sim::seeded(1);
    let (thief, far) = (peer(&sim, "thief"), peer(&sim, "far"));
    let mut config = Config::default();
    config.caps = vec![Cap::new("premium", ["0900"]).rate(3, 3_600 * SECOND)];
    let engine = sim.engine("exchange", config).expect("an engine");
    let trunk = add(
        &sim,
        &engine,
        Trunk::new("carrier", [address(&far, 0)]).pinging(None),
    );
    serve(&sim, &engine, trunk);
    sim.spawn({
        let far = far.clone();
        async move {
            loop {
                far.incoming().await.expect("a call").refuse(486);
            }
        }
    });
    sim.block_on(async {
        let mut watch = engine.watch_trunks().await.expect("a watch");
        let mut told = Vec::new();
        for number in 0..10 {
            let call = thief.call(&format!("sip:0900{number}@exchange")).await;
            told.push(match call {
                Err(PeerError::Refused(status)) => status,
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(told, [486, 486, 486, 403, 403, 403, 403, 403, 403, 403]);
        let event = watch.next().await.expect("an event");
        let TrunkEvent::CapReached { cap, account, .. } = event else {
            panic!("{event:?}");
        };
        assert_eq!(
            (cap.as_str(), account),
            ("premium", thief.address().ip().to_string())
        );
        // Other numbers go through.
        let other = thief.call("sip:0691@exchange").await;
        assert!(matches!(other, Err(PeerError::Refused(486))), "{other:?}");
    });
    assert_eq!(far.received("INVITE"), 4);
}

#[test]
fn an_account_that_has_nothing_left_to_spend_is_cut_off() {
    let sim = Sim::seeded(1);
    let (thief, far) = (peer(&sim, "thief"), peer(&sim, "far"));
    let mut config = Config::default();
    let hour = 3_600 * SECOND;
    // 100 an hour, at 60 a minute.
    config.caps = vec![Cap::new("premium", ["0900"]).spend(100, hour).price("", 60)];
    let engine = sim.engine("exchange", config).expect("an engine");
    let trunk = Trunk::new("carrier", [address(&far, 0)]).pinging(None);
    let trunk = add(&sim, &engine, trunk);
    serve(&sim, &engine, trunk);
    sim.block_on(async {
        let mut watch = engine.watch_trunks().await.expect("a watch");
        let out = thief.dial("sip:09001@exchange", Dial::default());
        let out = out.expect("a call");
        let inward = far.incoming().await.expect("a call");
        inward.ring(180);
        // Ringing costs nothing.
        sim.sleep(30 * SECOND).await;
        inward.answer().await.expect("an ACK");
        out.answered().await.expect("an answer");
        sim.sleep(100 * SECOND).await;
        assert_eq!(out.end(), None);
        sim.sleep(5 * SECOND).await;
        assert!(out.end().is_some() && inward.end().is_some(), "they go on");
        let event = watch.next().await.expect("an event");
        let TrunkEvent::CapReached { cap, number, .. } = event else {
            panic!("{event:?}");
        };
        assert_eq!((cap.as_str(), number.as_str()), ("premium", "09001"));
        let again = thief.call("sip:09002@exchange").await;
        assert!(matches!(again, Err(PeerError::Refused(403))), "{again:?}");
        // Half an hour later half of it is back, but not a minute of it.
        sim.sleep(1_800 * SECOND).await;
        let again = thief.call("sip:09002@exchange").await;
        assert!(matches!(again, Err(PeerError::Refused(403))), "{again:?}");
        sim.sleep(600 * SECOND).await;
        let out = thief.dial("sip:09003@exchange", Dial::default());
        far.incoming().await.expect("a call").refuse(486);
        out.expect("a call").ended().await;
    });
}

#[test]
fn a_trunk_that_registers_is_dialled_as_whom_it_registers() {
    let sim = Sim::seeded(1);
    let alice = peer(&sim, "alice");
    let mut config = Config::default();
    config.registrar = Some(RegistrarConfig::new("carrier").policy(Anybody));
    let carrier = sim.engine("carrier", config).expect("an engine");
    let engine = sim
        .engine("exchange", Config::default())
        .expect("an engine");
    let at = carrier.listening()[0];
    let taking = carrier.clone();
    sim.spawn(async move {
        let flow = |call: Call| async move {
            call.answer().await?;
            call.ended().await.map(drop)
        };
        taking.serve(flow).await;
    });
    let trunk = Trunk::new("carrier", [Address::new(&format!("sip:{at}"))])
        .registering("sip:4930@carrier")
        .pinging(None);
    let trunk = add(&sim, &engine, trunk);
    serve(&sim, &engine, trunk);
    sim.block_on(async {
        sim.sleep(SECOND).await;
        let found = carrier.bindings("sip:4930@carrier").await;
        assert_eq!(found.expect("bindings").len(), 1);
        let (state, _) = engine.trunk(trunk).await.expect("a trunk");
        assert_eq!(state, TrunkState::Up);
        let call = alice.call("sip:110@exchange").await.expect("an answer");
        call.hang_up().await.expect("an answer");
        let (_, counters) = engine.trunk(trunk).await.expect("a trunk");
        assert_eq!(counters.outgoing, 1);
        // The carrier's calls come to where it is registered.
        engine.remove_trunk(trunk).await.expect("removed");
        sim.sleep(SECOND).await;
        let found = carrier.bindings("sip:4930@carrier").await;
        assert!(found.expect("bindings").is_empty(), "still registered");
    });
}

//! Data bound to calls, in the simulator: over every way between engines, and kept over transfers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sidetone::call::data::carriage::{DataPolicy, PURPOSE, Taken};
use sidetone::call::data::reference::{DataStore, Fetched, ReferenceKey, References, Stored};
use sidetone::call::data::{CallData, MAX_BYTES};
use sidetone::engine::config::Config;
use sidetone::engine::event::{CallError, CallEvent};
use sidetone::face::call::Call;
use sidetone::face::engine::Engine;
use sidetone::sip::header::Name;
use sidetone::sip::transport::trust::TrustDomain;
use sidetone::time::WallTime;
use sidetone_sim::network::link::{Link, Loss};
use sidetone_sim::peer::sip::{Dial, SipPeer};
use sidetone_sim::peer::sound::Sound;
use sidetone_sim::sim::Sim;

use crate::stage::SECOND;

type Collected = Arc<Mutex<Vec<CallData>>>;

/// Data of this many bytes, encoded.
fn sized(bytes: usize) -> CallData {
    let mut data = CallData::default();
    data.set("vip", true).expect("room");
    let room = bytes - data.encoded_len() - 5;
    data.set("x", vec![b'\n'; room]).expect("room");
    assert_eq!(data.encoded_len(), bytes);
    data
}

fn config(policy: DataPolicy) -> Config {
    let mut config = Config::default();
    config.call_data = policy;
    config
}

fn uri(engine: &Engine) -> String {
    format!("sip:desk@{}", engine.listening()[0])
}

/// Answers, and writes down the data of each call.
fn take_calls(sim: &Sim, engine: &Engine, taken: &Collected) {
    let (engine, taken) = (engine.clone(), taken.clone());
    sim.spawn(async move {
        engine
            .serve(|call| {
                let taken = taken.clone();
                async move {
                    let data = call.data().await?;
                    taken.lock().expect("one thread").push(data);
                    call.answer().await?;
                    call.ended().await.map(drop)
                }
            })
            .await;
    });
}

/// A store in memory.
#[derive(Debug, Default)]
struct Memory(Mutex<BTreeMap<String, Vec<u8>>>);

impl DataStore for Memory {
    fn put(&self, data: Vec<u8>, _expires: WallTime) -> Stored<'_> {
        let mut kept = self.0.lock().expect("one thread");
        let id = format!("case-{}", kept.len());
        kept.insert(id.clone(), data);
        Box::pin(std::future::ready(Some(id)))
    }

    fn get<'a>(&'a self, id: &'a str) -> Fetched<'a> {
        let found = self.0.lock().expect("one thread").get(id).cloned();
        Box::pin(std::future::ready(found))
    }
}

fn references(store: &Arc<Memory>, secret: &[u8]) -> References {
    let key = ReferenceKey::new(secret).expect("a key");
    References::new(store.clone(), key)
}

#[test]
fn data_reaches_another_engine_whatever_its_size() {
    for (size, loss) in [
        (20, 0.0),
        (128, 0.3),
        (129, 0.0),
        (1_000, 0.3),
        (MAX_BYTES, 0.0),
        (MAX_BYTES, 0.1),
    ] {
        let sim = Sim::seeded(size as u64);
        let ours = sim
            .engine("ours", config(DataPolicy::default()))
            .expect("an engine");
        let everybodys = DataPolicy::default().taking(Taken::Everybodys);
        let theirs = sim.engine("theirs", config(everybodys)).expect("an engine");
        let bad = Link::delay(Duration::from_millis(30)).loss(Loss::Random(loss));
        sim.network().set_default_link(bad);
        let taken = Collected::default();
        take_calls(&sim, &theirs, &taken);
        let data = sized(size);
        sim.block_on(async {
            let call = ours.dial(&uri(&theirs)).data(data.clone());
            let call = call.await.expect("an answer");
            assert_eq!(call.data().await, Ok(data.clone()));
            call.hang_up().await.expect("hung up");
            sim.sleep(SECOND).await;
        });
        assert_eq!(*taken.lock().expect("one thread"), [data], "{size}");
    }
}

#[test]
fn data_travels_as_configured_and_no_other_way() {
    let sim = Sim::seeded(1);
    let bob = SipPeer::open(&sim, "bob").expect("a peer");
    let invite = |policy: DataPolicy, size: usize, name: &str| {
        let engine = sim.engine(name, config(policy)).expect("an engine");
        let (bob, uri) = (bob.clone(), bob.uri("bob"));
        sim.block_on(async move {
            let call = engine.dial(&uri).data(sized(size)).start().await?;
            let incoming = bob.incoming().await.expect("media ports");
            let invite = incoming.invite().expect("an INVITE");
            call.hang_up().await?;
            incoming.ended().await;
            Ok::<_, CallError>(invite)
        })
    };
    let small = invite(DataPolicy::default(), 100, "a").expect("sent");
    let value = small
        .user_to_user()
        .next()
        .expect("a value")
        .expect("a value");
    assert_eq!(
        (value.purpose(), value.data()),
        (PURPOSE, &sized(100).encode()[..])
    );
    let large = invite(DataPolicy::default(), 1_000, "b").expect("sent");
    assert!(large.header(Name::UserToUser).is_none());
    assert!(
        large
            .content_type()
            .unwrap()
            .unwrap()
            .is("multipart", "mixed")
    );
    assert!(large.description().starts_with(b"v=0"));
    let part = large.part("application", "vnd.sidetone.call-data");
    assert_eq!(&part.expect("a part")[..], sized(1_000).encode());
    let mut closed = DataPolicy::default();
    closed.in_body = false;
    let refused = invite(closed, 129, "c");
    assert!(matches!(refused, Err(CallError::Invalid(_))), "{refused:?}");
}

#[test]
fn strangers_data_is_not_taken_and_what_is_broken_counted() {
    let sim = Sim::seeded(1);
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    for (policy, value, expected) in [
        (DataPolicy::default(), sized(30).encode(), (0, 0)),
        (
            DataPolicy::default().taking(Taken::Everybodys),
            sized(30).encode(),
            (2, 0),
        ),
        (
            DataPolicy::default().taking(Taken::Everybodys),
            b"\x01junk".to_vec(),
            (0, 1),
        ),
        (
            DataPolicy::default().taking(Taken::Nobodys),
            sized(30).encode(),
            (0, 0),
        ),
    ] {
        let name = format!("engine{}{}", expected.0, policy.taken as u8);
        let engine = sim.engine(&name, config(policy)).expect("an engine");
        let taken = Collected::default();
        take_calls(&sim, &engine, &taken);
        sim.block_on(async {
            let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
            let headers = vec![format!(
                "User-to-User: {hex};encoding=hex;purpose={PURPOSE}"
            )];
            let dial = Dial {
                headers,
                ..Dial::default()
            };
            let call = alice.dial(&uri(&engine), dial).expect("a way");
            call.answered().await.expect("an answer");
            call.hang_up().await.expect("an answer to BYE");
            let refused = engine.report().await.expect("a report").core.data_refused;
            assert_eq!(
                (taken.lock().unwrap()[0].len(), refused),
                (expected.0, expected.1)
            );
        });
    }
}

#[test]
fn a_signed_reference_is_followed_and_a_forged_one_is_not() {
    for (secret, expected) in [(&[7; 16], 2), (&[8; 16], 0)] {
        let sim = Sim::seeded(1);
        let store = Arc::new(Memory::default());
        let ours = DataPolicy::default().references(references(&store, &[7; 16]));
        let ours = sim.engine("ours", config(ours)).expect("an engine");
        let theirs = DataPolicy::default().taking(Taken::Everybodys);
        let theirs = theirs.references(references(&store, secret));
        let theirs = sim.engine("theirs", config(theirs)).expect("an engine");
        let taken = Collected::default();
        take_calls(&sim, &theirs, &taken);
        sim.block_on(async {
            let call = ours.dial(&uri(&theirs)).data(sized(20_000));
            let call = call.await.expect("an answer");
            call.hang_up().await.expect("hung up");
            sim.sleep(SECOND).await;
            let refused = theirs.report().await.expect("a report").core.data_refused;
            assert_eq!(refused, u64::from(expected == 0));
        });
        assert_eq!(taken.lock().unwrap()[0].len(), expected);
        assert_eq!(store.0.lock().unwrap().len(), 1);
    }
}

/// A caller with data is connected with an agent, whose transfers are followed.
async fn desk(caller: Call, agent: String) -> Result<(), CallError> {
    caller.answer().await?;
    caller.set_value("customer", "4711").await?;
    let agent = caller.engine().dial(&agent).on_behalf_of(&caller).await?;
    let room = caller.engine().room().await?;
    room.join(&caller).await?;
    room.join(&agent).await?;
    let mut followers = Vec::new();
    loop {
        match agent.next_event().await {
            Some(CallEvent::TransferRequested(_)) => {
                agent.set_value("note", "said so").await?;
                followers.push(agent.accept_transfer().await?);
            }
            Some(CallEvent::Ended(_)) | None => break,
            Some(_) => {}
        }
    }
    let follower = followers.pop().expect("a follower");
    follower.set_value("solved", true).await?;
    let data = caller.data().await?;
    assert_eq!(data.text("customer"), Some("4711"));
    assert_eq!(
        (data.text("note"), data.boolean("solved")),
        (Some("said so"), Some(true))
    );
    caller.ended().await.map(drop)
}

#[test]
fn data_outlives_blind_and_attended_transfers() {
    for attended in [false, true] {
        let sim = Sim::seeded(1);
        let engine = sim.engine("engine", Config::default()).expect("an engine");
        let [alice, bob, carol] =
            ["alice", "bob", "carol"].map(|host| SipPeer::open(&sim, host).expect("a peer"));
        let agent = bob.uri("bob");
        let served = engine.clone();
        sim.spawn(async move { served.serve(move |call| desk(call, agent.clone())).await });
        sim.block_on(async {
            let dialling = sim.spawn({
                let alice = alice.clone();
                async move { alice.call("sip:100@engine").await.expect("an answer") }
            });
            let agent = bob.incoming().await.expect("media ports");
            let values = |invite: &sidetone::sip::message::Message| {
                let value = invite
                    .user_to_user()
                    .next()
                    .expect("a value")
                    .expect("a value");
                CallData::decode(value.data()).expect("data")
            };
            let given = values(&agent.invite().expect("an INVITE"));
            assert_eq!(given.text("customer"), Some("4711"));
            agent.answer().await.expect("an ACK");
            let caller = dialling.await;
            sim.sleep(SECOND).await;
            let target = match attended {
                true => format!(
                    "{}?Replaces=x%3Bto-tag%3D1%3Bfrom-tag%3D2",
                    carol.uri("carol")
                ),
                false => carol.uri("carol"),
            };
            let refer = [format!("Refer-To: <{target}>")];
            agent
                .request("REFER", &refer, ("", ""))
                .await
                .expect("an answer");
            let third = carol.incoming().await.expect("media ports");
            let invite = third.invite().expect("an INVITE");
            assert_eq!(invite.header(Name::Replaces).is_some(), attended);
            let given = values(&invite);
            assert_eq!(given.text("customer"), Some("4711"));
            assert_eq!(given.text("note"), Some("said so"));
            third.answer().await.expect("an ACK");
            agent.hang_up().await.expect("an answer to BYE");
            sim.sleep(SECOND).await;
            caller.hang_up().await.expect("an answer to BYE");
            sim.sleep(SECOND).await;
        });
        assert_eq!(engine.call_count(), 0);
    }
}

#[test]
fn a_referral_carries_data_within_the_trust_domain_only() {
    for trusted in [false, true] {
        let sim = Sim::seeded(1);
        let store = Arc::new(Memory::default());
        let mut config = config(DataPolicy::default().references(references(&store, &[7; 16])));
        for listener in &mut config.listeners {
            listener.trusted = trusted;
        }
        let engine = sim.engine("engine", config).expect("an engine");
        let alice = SipPeer::open(&sim, "alice").expect("a peer");
        let served = engine.clone();
        sim.spawn(async move {
            served
                .serve(|call| async move {
                    call.answer().await?;
                    for size in [60, 5_000] {
                        call.set_data(sized(size)).await?;
                        let _declined = call.transfer("sip:sales@192.0.2.77").await;
                    }
                    call.hang_up().await
                })
                .await;
        });
        sim.block_on(async {
            let _call = alice.call("sip:100@engine").await.expect("an answer");
            for name in ["User-to-User", "Call-Info"] {
                let refer = alice.next_request().await;
                let target = refer.refer_to().expect("a value").expect("Refer-To");
                let carried = target.uri().header(name);
                assert_eq!(carried.is_some(), trusted, "{target}");
                assert!(carried.is_none_or(|value| value.contains(PURPOSE)));
                alice.respond(&refer, 603, &[]);
            }
            sim.sleep(SECOND).await;
        });
    }
}

#[test]
fn one_leg_is_replaced_without_a_word_to_the_other() {
    let sim = Sim::seeded(1);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let [alice, robot, bob] =
        ["alice", "robot", "bob"].map(|host| SipPeer::open(&sim, host).expect("a peer"));
    let (first, second) = (robot.uri("robot"), bob.uri("bob"));
    let served = engine.clone();
    sim.spawn(async move {
        served
            .serve(move |caller| {
                let (first, second) = (first.clone(), second.clone());
                async move {
                    caller.answer().await?;
                    let robot = caller.engine().dial(&first).await?;
                    robot.set_value("intent", "card lost").await?;
                    let mut bridge = caller.bridge(&robot).await?;
                    let agent = caller.engine().dial(&second).await?;
                    assert!(bridge.replace(&agent, &robot).await.is_err());
                    bridge.replace(&robot, &agent).await?;
                    assert_eq!(agent.data().await?.text("intent"), Some("card lost"));
                    robot.hang_up().await?;
                    let end = bridge.ended().await?;
                    assert_eq!(end.call, caller.id());
                    Ok::<(), CallError>(())
                }
            })
            .await;
    });
    sim.block_on(async {
        let answer = |peer: &SipPeer| {
            let peer = peer.clone();
            sim.spawn(async move {
                let call = peer.incoming().await.expect("media ports");
                call.answer().await.expect("an ACK");
                call
            })
        };
        let (robot, agent) = (answer(&robot), answer(&bob));
        let caller = alice.call("sip:100@engine").await.expect("an answer");
        let (robot, agent) = (robot.await, agent.await);
        robot.ended().await;
        let before = (alice.received("INVITE"), alice.received("UPDATE"));
        let voice = Sound::speech(7, SECOND * 2);
        let media = caller.media().clone();
        let hearing = sim.spawn(async move { media.hear_for(SECOND * 4).await });
        agent.media().speak(&voice).await;
        assert!(hearing.await.find(&voice).is_some_and(|f| f.likeness > 0.9));
        assert_eq!((alice.received("INVITE"), alice.received("UPDATE")), before);
        assert_eq!(before, (0, 0));
        caller.hang_up().await.expect("an answer to BYE");
        agent.ended().await;
    });
}

/// Everybody in the simulated network belongs to the trust domain.
fn trusting(policy: DataPolicy) -> Config {
    let mut config = config(policy);
    config.trust = TrustDomain::default().network("0.0.0.0/0".parse().expect("a network"));
    config
}

/// The data of a call once the other side has changed it.
async fn changed(call: &Call) -> CallData {
    loop {
        match call.next_event().await {
            Some(CallEvent::DataChanged) => return call.data().await.expect("data"),
            Some(_) => {}
            None => panic!("the call has ended"),
        }
    }
}

#[test]
fn what_changes_while_a_call_is_up_is_told_to_the_other_side() {
    let sim = Sim::seeded(1);
    let telling = || trusting(DataPolicy::default().telling_changes());
    let ours = sim.engine("ours", telling()).expect("an engine");
    let theirs = sim.engine("theirs", telling()).expect("an engine");
    let serving = theirs.clone();
    let answered = sim.spawn(async move {
        let call = serving.incoming().await.expect("a caller");
        call.answer().await.expect("an ACK");
        call
    });
    sim.block_on(async {
        let call = ours.dial(&uri(&theirs)).await.expect("an answer");
        let agent = answered.await;
        call.set_value("customer", "4711").await.expect("room");
        let seen = changed(&agent).await;
        assert_eq!(seen, call.data().await.expect("data"));
        // Large ones too, and the other way.
        agent
            .set_value("notes", "x".repeat(9_000))
            .await
            .expect("room");
        assert_eq!(changed(&call).await, agent.data().await.expect("data"));
        call.hang_up().await.expect("up");
        sim.sleep(SECOND * 40).await;
    });
}

#[test]
fn an_answer_brings_data_too() {
    let sim = Sim::seeded(1);
    let bob = SipPeer::open(&sim, "bob").expect("a peer");
    for (taken, expected) in [(Taken::Everybodys, 2), (Taken::Nobodys, 0)] {
        let policy = DataPolicy::default().taking(taken);
        let name = format!("engine{expected}");
        let engine = sim.engine(&name, config(policy)).expect("an engine");
        sim.block_on(async {
            let call = engine.dial(&bob.uri("bob")).start().await.expect("a way");
            let inward = bob.incoming().await.expect("media ports");
            let hex: String = sized(30)
                .encode()
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect();
            let row = format!("User-to-User: {hex};encoding=hex;purpose={PURPOSE}");
            inward.respond(200, true, &[row]);
            call.answered().await.expect("an answer");
            assert_eq!(call.data().await.expect("data").len(), expected);
            call.hang_up().await.expect("up");
            sim.sleep(SECOND).await;
        });
    }
}

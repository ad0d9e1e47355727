//! Attended transfers between callers of the engine in the simulator: who is connected with two through
//! us connects the two with each other (RFC 3515, RFC 3891, RFC 5589 §7).

use std::sync::Arc;
use std::time::Duration;

use sidetone::b2bua::plan::{Plan, Policy, Transfers};
use sidetone::call::cause::Cause;
use sidetone::call::data::CallData;
use sidetone::call::data::carriage::PURPOSE;
use sidetone::engine::config::Config;
use sidetone::engine::event::CallEvent;
use sidetone::face::call::Call;
use sidetone::face::engine::Engine;
use sidetone::sip::transport::trust::TrustDomain;
use sidetone_sim::peer::offer::Direction;
use sidetone_sim::peer::sip::call::SipCall;
use sidetone_sim::peer::sip::{Dial, SipPeer};
use sidetone_sim::peer::sound::Sound;
use sidetone_sim::sim::Sim;

use crate::b2bua::{assert_clean, peer, to};
use crate::stage::{Diary, SECOND, serve};

/// An engine that connects all callers with the desk. What is known of a caller is bound to its call, and
/// written down when it changes; the flow of a caller named `impatient` hangs up after a minute.
fn exchange(sim: &Sim, desk: &SipPeer, transfers: Transfers, trusted: bool) -> (Engine, Diary) {
    let mut config = Config::default();
    if trusted {
        config.trust = TrustDomain::default().network("0.0.0.0/0".parse().expect("a network"));
    }
    let engine = sim.engine("exchange", config).expect("an engine");
    let mut policy = Policy::default();
    policy.transfers = transfers;
    let plan = Plan::to(to(desk)).policy(Arc::new(policy));
    let diary = Diary::default();
    let written = diary.clone();
    serve(sim, &engine, move |caller| {
        let (plan, diary) = (plan.clone(), written.clone());
        async move {
            let name = caller
                .caller()
                .map(|caller| caller.from())
                .unwrap_or_default();
            let name = ["alice", "carol", "dave", "impatient"]
                .into_iter()
                .find(|known| name.contains(known))
                .unwrap_or("unknown");
            caller.set_value(name, true).await?;
            let passage = caller.connect(plan).await?;
            let told = async {
                loop {
                    match passage.caller().next_event().await {
                        Some(CallEvent::DataChanged) => tell(&diary, name, passage.caller()).await,
                        Some(_) => {}
                        None => return,
                    }
                }
            };
            let served = async {
                if name == "impatient" {
                    passage.caller().engine().sleep(60 * SECOND).await;
                    passage.hang_up(Cause::normal()).await
                } else {
                    passage.ended().await
                }
            };
            let (_, ended) = tokio::join!(told, served);
            diary.write(format!("{name}: over"));
            ended
        }
    });
    (engine, diary)
}

async fn tell(diary: &Diary, name: &str, call: &Call) {
    let data = call.data().await.expect("data");
    let known: Vec<String> = data.iter().map(|(key, _)| key.to_owned()).collect();
    diary.write(format!("{name}: {}", known.join(" ")));
}

/// A caller, connected with the desk: both of its ends.
async fn connected(caller: &SipPeer, desk: &SipPeer) -> (SipCall, SipCall) {
    let out = caller
        .dial("sip:desk@exchange", Dial::default())
        .expect("a call");
    let inward = desk.incoming().await.expect("a call");
    inward.answer().await.expect("an ACK");
    out.answered().await.expect("an answer");
    (out, inward)
}

/// The Refer-To by which `desk` asks for the place that it has in a call that came to it.
fn place_of(desk: &SipPeer, call: &SipCall, further: &str) -> String {
    let invite = call.invite().expect("an INVITE");
    let contact = invite.contact().expect("Contact").uri().to_string();
    let theirs = invite
        .from()
        .expect("From")
        .tag()
        .expect("a tag")
        .to_owned();
    let log = desk.log();
    let answers = log.iter().filter(|entry| entry.sent);
    let answer = answers
        .map(|entry| &entry.message)
        .find(|message| {
            message.status().is_some_and(|status| status.code() == 200)
                && message.call_id().ok() == Some(call.call_id().as_str())
        })
        .expect("the 200");
    let own = answer.to().expect("To").tag().expect("a tag").to_owned();
    let id = call.call_id().replace('@', "%40");
    format!("Refer-To: <{contact}?Replaces={id}%3Bto-tag%3D{theirs}%3Bfrom-tag%3D{own}{further}>")
}

async fn refer(call: &SipCall, refer_to: String) -> u16 {
    let answer = call.request("REFER", &[refer_to], ("", "")).await;
    answer.expect("an answer").status().map_or(0, |s| s.code())
}

async fn assert_talk(a: &SipCall, b: &SipCall) {
    let voice = Sound::speech(2, SECOND);
    let mut heard = Vec::new();
    for (speaks, hears) in [(a, b), (b, a)] {
        let speaking = speaks.media().speak(&voice);
        let (_, sound) = tokio::join!(speaking, hears.media().hear_for(SECOND));
        heard.push(!sound.is_silent());
    }
    assert_eq!(heard, [true, true], "{:?} {:?}", a.end(), b.end());
}

#[test]
fn a_desk_connects_two_of_its_callers_with_each_other() {
    for trusted in [false, true] {
        let sim = Sim::seeded(1);
        sim.set_time_limit(600 * SECOND);
        let [alice, carol, desk] = ["alice", "carol", "desk"].map(|name| peer(&sim, name));
        let (engine, diary) = exchange(&sim, &desk, Transfers::Performed, trusted);
        sim.block_on(async {
            let (a, desk_a) = connected(&alice, &desk).await;
            desk_a
                .redirect_media(Direction::SendOnly)
                .await
                .expect("an answer");
            let (c, desk_c) = connected(&carol, &desk).await;
            sim.sleep(SECOND).await;
            let mut data = CallData::default();
            data.set("note", "said so").expect("room");
            let hex: String = data
                .encode()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let brought = format!("&User-to-User={hex}%3Bpurpose%3D{PURPOSE}%3Bencoding%3Dhex");
            let invited = carol.received("INVITE");
            assert_eq!(
                refer(&desk_a, place_of(&desk, &desk_c, &brought)).await,
                202
            );
            let news = desk_a.next_request().await;
            assert!(news.body().starts_with(b"SIP/2.0 200"), "{news:?}");
            // The one call of the desk is hung up, the other one where it does not hang up itself.
            desk_c.ended().await;
            sim.sleep(SECOND).await;
            assert!(a.end().is_none() && c.end().is_none());
            assert_talk(&a, &c).await;
            sim.sleep(6 * SECOND).await;
            assert!(desk_a.end().is_some());
            assert_talk(&a, &c).await;
            assert_eq!(carol.received("INVITE"), invited, "nothing is said to her");
            let known = if trusted {
                "alice carol note"
            } else {
                "alice carol"
            };
            let told = [format!("alice: {known}"), format!("carol: {known}")];
            assert_eq!(diary.lines(), told);
            c.hang_up().await.expect("an answer");
            a.ended().await;
            sim.sleep(SECOND).await;
            let mut over = diary.lines().split_off(2);
            over.sort();
            assert_eq!(over, ["alice: over", "carol: over"]);
        });
        assert_clean(&sim, &engine);
    }
}

#[test]
fn who_was_connected_may_connect_again_and_each_flow_may_end_it() {
    let sim = Sim::seeded(1);
    sim.set_time_limit(600 * SECOND);
    let [alice, impatient, carol, desk] =
        ["alice", "impatient", "carol", "desk"].map(|name| peer(&sim, name));
    let (engine, diary) = exchange(&sim, &desk, Transfers::Performed, false);
    sim.block_on(async {
        let (a, desk_a) = connected(&alice, &desk).await;
        let (i, desk_i) = connected(&impatient, &desk).await;
        assert_eq!(refer(&desk_a, place_of(&desk, &desk_i, "")).await, 202);
        sim.sleep(10 * SECOND).await;
        assert_talk(&a, &i).await;
        // Alice, whom the desk has connected, calls the desk once more, which has Carol on the line, and
        // connects the impatient one with it; then the desk connects him with Carol.
        let (a2, desk_a2) = connected(&alice, &desk).await;
        let answer = a2.expect(200).await.expect("the 200");
        let tag = |address: Option<&str>| address.expect("a tag").to_owned();
        let (theirs, own) = (
            tag(answer.to().expect("To").tag()),
            tag(answer.from().expect("From").tag()),
        );
        let contact = answer.contact().expect("Contact").uri().to_string();
        let id = a2.call_id().replace('@', "%40");
        let place =
            format!("Refer-To: <{contact}?Replaces={id}%3Bto-tag%3D{theirs}%3Bfrom-tag%3D{own}>");
        assert_eq!(refer(&a, place).await, 202);
        sim.sleep(10 * SECOND).await;
        assert!(a.end().is_some() && a2.end().is_some());
        assert_talk(&i, &desk_a2).await;
        let (c, desk_c) = connected(&carol, &desk).await;
        assert_eq!(refer(&desk_a2, place_of(&desk, &desk_c, "")).await, 202);
        sim.sleep(10 * SECOND).await;
        assert_talk(&i, &c).await;
        assert!(i.end().is_none() && c.end().is_none());
        // The flow of one of the two ends what both have now.
        i.ended().await;
        c.ended().await;
        sim.sleep(SECOND).await;
        let over = diary
            .lines()
            .into_iter()
            .filter(|line| line.ends_with("over"));
        let mut over: Vec<String> = over.collect();
        over.sort();
        let all = [
            "alice: over",
            "alice: over",
            "carol: over",
            "impatient: over",
        ];
        assert_eq!(over, all);
    });
    assert_clean(&sim, &engine);
}

#[test]
fn what_cannot_be_joined_is_declined_and_stays_as_it_is() {
    for transfers in [Transfers::Refused, Transfers::Performed] {
        let sim = Sim::seeded(1);
        sim.set_time_limit(600 * SECOND);
        let [alice, carol, desk] = ["alice", "carol", "desk"].map(|name| peer(&sim, name));
        let (engine, _) = exchange(&sim, &desk, transfers, false);
        sim.block_on(async {
            let (a, desk_a) = connected(&alice, &desk).await;
            let (c, desk_c) = connected(&carol, &desk).await;
            if transfers == Transfers::Refused {
                assert_eq!(refer(&desk_a, place_of(&desk, &desk_c, "")).await, 603);
            }
            // Only while it rings; itself; one that is over by then.
            let early = place_of(&desk, &desk_c, "%3Bearly-only");
            assert_eq!(refer(&desk_a, early).await, 603);
            assert_eq!(refer(&desk_a, place_of(&desk, &desk_a, "")).await, 603);
            assert_talk(&a, &desk_a).await;
            assert_talk(&c, &desk_c).await;
            c.hang_up().await.expect("an answer");
            desk_c.ended().await;
            assert_eq!(refer(&desk_a, place_of(&desk, &desk_c, "")).await, 603);
            sim.sleep(10 * SECOND).await;
            assert_talk(&a, &desk_a).await;
            a.hang_up().await.expect("an answer");
            desk_a.ended().await;
        });
        assert_clean(&sim, &engine);
    }
}

/// Transfers at any moment, of calls that end at any moment.
#[test]
fn random_transfers_leave_nothing_behind() {
    for seed in 1..=3 {
        let sim = Sim::seeded(seed);
        sim.set_time_limit(3_600 * SECOND);
        let names = ["alice", "carol", "dave"];
        let callers = names.map(|name| peer(&sim, name));
        let desk = peer(&sim, "desk");
        let (engine, _) = exchange(&sim, &desk, Transfers::Performed, false);
        let mut rng = sidetone::rng::Rng::new(seed);
        sim.block_on(async {
            for _ in 0..12 {
                let mut pairs = Vec::new();
                for caller in &callers {
                    pairs.push(connected(caller, &desk).await);
                }
                for _ in 0..4 {
                    let (from, to) = (rng.below(3) as usize, rng.below(3) as usize);
                    let place = place_of(&desk, &pairs[to].1, "");
                    let row = [place];
                    let call = pairs[from].1.clone();
                    let referring =
                        async move { drop(call.request("REFER", &row, ("", "")).await) };
                    sim.spawn(referring);
                    if rng.below(3) == 0 {
                        let ends = rng.below(3) as usize;
                        let call = match rng.below(2) {
                            0 => pairs[ends].0.clone(),
                            _ => pairs[ends].1.clone(),
                        };
                        sim.spawn(async move { drop(call.hang_up().await) });
                    }
                    sim.sleep(Duration::from_millis(rng.below(4_000))).await;
                }
                for (out, inward) in &pairs {
                    for call in [out, inward] {
                        if call.end().is_none() {
                            drop(call.hang_up().await);
                        }
                    }
                }
                sim.sleep(8 * SECOND).await;
                assert_eq!(engine.call_count(), 0, "seed {seed}");
            }
        });
        assert_clean(&sim, &engine);
    }
}

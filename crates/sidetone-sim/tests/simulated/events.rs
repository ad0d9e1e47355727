//! Messages, subscriptions, publications and watched peers between two engines, over bad networks.

use std::time::Duration;

use sidetone::engine::config::Config;
use sidetone::engine::event::{CallError, CallEvent};
use sidetone::face::engine::Engine;
use sidetone::face::events::{Subscription, SubscriptionEvent};
use sidetone::face::message::Receipt;
use sidetone::sip::agent::event::{PublicationState, SubscriptionState};
use sidetone::sip::event::dialog_info::{DialogInfo, DialogState, Dialogs, Direction};
use sidetone::sip::event::package::{Asking, Decision, EventConfig, Package};
use sidetone::sip::event::packages::{DialogPackage, MessageSummary, Presence};
use sidetone::sip::event::pidf::{PIDF, Presence as Pidf, Tuple};
use sidetone::sip::event::summary::Summary;
use sidetone::sip::health::{Health, Trouble};
use sidetone_sim::network::link::{Link, Loss};
use sidetone_sim::sim::Sim;

use crate::stage::SECOND;

/// Presence that anybody may publish, since nobody signs in here.
#[derive(Debug)]
struct OpenPresence;

impl Package for OpenPresence {
    fn name(&self) -> &str {
        Presence.name()
    }
    fn content_type(&self) -> &str {
        Presence.content_type()
    }
    fn admits_publication(&self, _: &Asking<'_>) -> Decision {
        Decision::Grant
    }
    fn accepts(&self, document: &[u8]) -> bool {
        Presence.accepts(document)
    }
    fn compose(&self, entity: &str, documents: &[bytes::Bytes]) -> bytes::Bytes {
        Presence.compose(entity, documents)
    }
}

fn served() -> Config {
    let mut config = Config::default();
    config.events = Some(
        EventConfig::new("pbx.example")
            .package(OpenPresence)
            .package(DialogPackage)
            .package(MessageSummary)
            .strangers(),
    );
    config
}

/// A server of events, somebody who uses it, and the server's URI without a user.
fn pair(sim: &Sim, loss: f64) -> (Engine, Engine, String) {
    let pbx = sim.engine("pbx", served()).expect("an engine");
    let desk = sim.engine("desk", Config::default()).expect("an engine");
    let link = Link::delay(Duration::from_millis(20)).loss(Loss::Random(loss));
    sim.network().set_link("pbx", "desk", link).expect("hosts");
    let host = pbx.listening()[0].to_string();
    (pbx, desk, host)
}

async fn document(subscription: &mut Subscription) -> bytes::Bytes {
    loop {
        match subscription.next().await.expect("a document") {
            SubscriptionEvent::Document(document) => return document.body(),
            SubscriptionEvent::State(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn messages_go_out_of_calls_and_within_them() {
    for (seed, loss) in [(1, 0.0), (2, 0.2)] {
        let sim = Sim::seeded(seed);
        let (pbx, desk, host) = pair(&sim, loss);
        let target = format!("sip:6001@{host}");
        sim.block_on(async {
            // Nobody reads them.
            let unread = desk.message(&target, "hello").await;
            assert_eq!(unread, Err(CallError::Refused(480)));
            let mut inbox = pbx.messages().await.expect("an inbox");
            let reader = async {
                for _ in 0..4 {
                    let message = inbox.next().await.expect("a message");
                    match message.text().as_str() {
                        "read" => message.accept(),
                        "keep" => message.keep(),
                        "refuse" => message.reject(603),
                        _ => drop(message),
                    }
                }
            };
            let writer = async {
                let say = |text| desk.message(&target, text).from("sip:alice@desk");
                assert_eq!(say("read").await, Ok(Receipt::Arrived));
                assert_eq!(say("keep").await, Ok(Receipt::Kept));
                assert_eq!(say("refuse").await, Err(CallError::Refused(603)));
                assert_eq!(say("drop").await, Err(CallError::Refused(480)));
            };
            tokio::join!(reader, writer);
            let large = desk.message(&target, &"x".repeat(1_300)).await;
            assert!(matches!(large, Err(CallError::Invalid(_))), "{large:?}");
            let evil = desk.message(&target, "x").header("X: y\r\nEvil", "z").await;
            assert!(matches!(evil, Err(CallError::Invalid(_))), "{evil:?}");
            let callee = async {
                let call = pbx.incoming().await.expect("a caller");
                call.answer().await.expect("an answer");
                assert_eq!(call.send_message("from pbx").await, Ok(Receipt::Arrived));
                let _ended = call.ended().await;
            };
            let caller = async {
                let call = desk.dial(&target).await.expect("a call");
                let text = loop {
                    if let CallEvent::Message { body, .. } = call.next_event().await.expect("one") {
                        break body;
                    }
                };
                assert_eq!(&text[..], b"from pbx");
                // The answer may have to be sent again.
                desk.sleep(5 * SECOND).await;
                call.hang_up().await.expect("an end");
                assert!(call.send_message("late").await.is_err());
            };
            tokio::join!(callee, caller);
        });
    }
}

#[test]
fn the_calls_of_a_user_are_told_as_they_go() {
    for (seed, loss) in [(3, 0.0), (4, 0.15)] {
        let sim = Sim::seeded(seed);
        let (pbx, desk, host) = pair(&sim, loss);
        sim.block_on(async {
            let subscribed = desk.subscribe(&format!("sip:6001@{host}"), "dialog");
            let mut lamp = subscribed.await.expect("a subscription");
            lamp.granted().await.expect("granted");
            let mut table = Dialogs::default();
            let first = DialogInfo::parse(&document(&mut lamp).await).expect("a document");
            assert_eq!((first.partial, first.dialogs.len()), (false, 0));
            table.merge(&first);
            // 6001 calls; From is believed where nobody signs in.
            let pbx_side = async {
                let call = pbx.incoming().await.expect("a caller");
                pbx.sleep(2 * SECOND).await;
                call.ring().await.expect("ringing");
                pbx.sleep(2 * SECOND).await;
                call.answer().await.expect("an answer");
                pbx.sleep(2 * SECOND).await;
                call.hang_up().await.expect("an end");
            };
            let target = format!("sip:100@{host}");
            let caller = format!("sip:6001@{host}");
            let phone = async {
                let call = desk.dial(&target).from(&caller).start().await;
                let _ended = call.expect("a call").ended().await;
            };
            let watcher = async {
                let mut seen = Vec::new();
                while seen.last() != Some(&None) {
                    let info = DialogInfo::parse(&document(&mut lamp).await).expect("a document");
                    table.merge(&info);
                    let call = table.iter().next();
                    if let Some(call) = call {
                        assert_eq!(call.direction, Some(Direction::Initiator));
                        assert_eq!(call.remote.as_deref(), Some(target.as_str()));
                    }
                    seen.push(call.map(|call| call.state));
                }
                seen
            };
            let ((), (), seen) = tokio::join!(pbx_side, phone, watcher);
            let all = [
                Some(DialogState::Trying),
                Some(DialogState::Early),
                Some(DialogState::Confirmed),
                None,
            ];
            // Where a NOTIFY takes long, what comes meanwhile is told in one.
            match loss == 0.0 {
                true => assert_eq!(seen, all),
                false => assert!(seen.iter().all(|state| all.contains(state)), "{seen:?}"),
            }
        });
    }
}

#[test]
fn presence_is_published_watched_and_taken_back() {
    for (seed, loss) in [(5, 0.0), (6, 0.25)] {
        let sim = Sim::seeded(seed);
        sim.set_time_limit(2 * 3600 * SECOND);
        let (pbx, desk, host) = pair(&sim, loss);
        let alice = format!("sip:alice@{host}");
        let pidf = |open| {
            let mut presence = Pidf::new("sip:alice@pbx.example");
            presence.tuples.push(Tuple::new("desk", open));
            presence.to_xml()
        };
        sim.block_on(async {
            let subscribed = desk.subscribe(&alice, "presence").accept(PIDF).expires(120);
            let mut watcher = subscribed.await.expect("a subscription");
            let mut next = async || Pidf::parse(&document(&mut watcher).await).expect("PIDF");
            assert!(!next().await.is_open());
            let publish = desk
                .publish(&alice, "presence", PIDF, pidf(true))
                .expires(120);
            let mut publication = publish.await.expect("a publication");
            let state = publication.changed().await.expect("a state");
            assert!(
                matches!(state, PublicationState::Published { .. }),
                "{state:?}"
            );
            while !next().await.is_open() {}
            // For an hour both are refreshed, and nothing is lost.
            desk.sleep(3600 * SECOND).await;
            publication.update(pidf(false)).await.expect("an update");
            while next().await.is_open() {}
            publication.withdraw().await;
            desk.sleep(SECOND * 60).await;
            let state = pbx.state_of("presence", "alice").await.expect("an engine");
            let state = Pidf::parse(&state.expect("a package")).expect("PIDF");
            assert_eq!(state.tuples[0].id, "none");
            let report = pbx.report().await.expect("a report");
            assert_eq!(report.events.expired, 0, "{:?}", report.events);
            assert_eq!(report.events.subscribed, 1, "{:?}", report.events);
        });
    }
}

#[test]
fn a_mailbox_is_told_by_the_engine_itself() {
    let sim = Sim::seeded(7);
    let (pbx, desk, host) = pair(&sim, 0.0);
    sim.block_on(async {
        let subscribed = desk.subscribe(&format!("sip:6001@{host}"), "message-summary");
        let mut mailbox = subscribed.await.expect("a subscription");
        let mut next = async || Summary::parse(&document(&mut mailbox).await).expect("a summary");
        assert!(!next().await.waiting);
        let three = Summary::voice("sip:6001@pbx.example", 3, 1).to_text();
        let put = pbx.set_state("message-summary", "6001", Some(three.into()));
        put.await.expect("a package");
        let told = next().await;
        assert_eq!((told.waiting, told.new_messages()), (true, 3));
        let unknown = pbx.set_state("conference", "6001", None).await;
        assert!(matches!(unknown, Err(CallError::Invalid(_))));
        let refused = desk
            .subscribe(&format!("sip:6001@{host}"), "conference")
            .await
            .expect("sent")
            .granted()
            .await;
        assert_eq!(refused, Err(CallError::Refused(489)));
        let broken = desk
            .subscribe(&format!("sip:6001@{host}"), "a\r\nEvil: x")
            .await;
        assert!(matches!(broken, Err(CallError::Invalid(_))));
    });
}

#[test]
fn dropped_handles_and_a_stopping_engine_leave_nothing() {
    let sim = Sim::seeded(8);
    let (pbx, desk, host) = pair(&sim, 0.0);
    let alice = format!("sip:alice@{host}");
    sim.block_on(async {
        let first = desk.subscribe(&alice, "dialog").await.expect("one");
        let second = desk.subscribe(&alice, "presence").await.expect("another");
        first.granted().await.expect("granted");
        second.granted().await.expect("granted");
        drop(first);
        desk.sleep(SECOND).await;
        let ended = pbx.report().await.expect("a report").events.ended;
        assert_eq!(ended, 1);
        let mut second = second;
        pbx.shutdown(SECOND).await;
        let mut lapsed = false;
        while !lapsed {
            lapsed = matches!(
                second.next().await,
                Some(SubscriptionEvent::State(SubscriptionState::Lapsed { .. }))
            );
        }
    });
}

#[test]
fn a_trunk_is_up_busy_while_it_drains_and_gone() {
    let sim = Sim::seeded(9);
    let (pbx, desk, host) = pair(&sim, 0.05);
    sim.block_on(async {
        let watch = desk
            .watch(&format!("sip:{host}"))
            .interval(5 * SECOND)
            .retry(SECOND);
        let mut trunk = watch.await.expect("a watch");
        let change = trunk.changed().await.expect("a change");
        assert_eq!(change.health, Health::Up);
        assert!(change.round_trip.expect("an answer") >= Duration::from_millis(40));
        let callee = async {
            let call = pbx.incoming().await.expect("a caller");
            call.answer().await.expect("an answer");
            pbx.shutdown(30 * SECOND).await;
        };
        let target = format!("sip:100@{host}");
        let watcher = async {
            let _call = desk.dial(&target).await.expect("a call");
            let draining = trunk.changed().await.expect("a change").health;
            assert_eq!(draining, Health::Down(Trouble::Busy));
            let gone = trunk.changed().await.expect("a change").health;
            assert_eq!(gone, Health::Down(Trouble::Silent));
        };
        tokio::join!(callee, watcher);
    });
}

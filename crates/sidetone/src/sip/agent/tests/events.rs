//! Subscriptions and publications between agents, with loss, forks and strangers (RFC 6665, RFC 3903).

use super::*;
use crate::sip::agent::command::{PublicationId, Publish, Subscribe, SubscribeId};
use crate::sip::agent::event::{Lapse, PublicationState, SubscriptionState};
use crate::sip::auth::client::Account;
use crate::sip::auth::server::VerifierConfig;
use crate::sip::event::dialog_info::{
    DIALOG_INFO, Dialog, DialogInfo, DialogState, Dialogs, Merged,
};
use crate::sip::event::notifier::Reason;
use crate::sip::event::package::{Asking, Decision, EventConfig, Package};
use crate::sip::event::packages::{DialogPackage, MessageSummary, Presence};
use crate::sip::event::pidf::{self, PIDF, Tuple};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn open_server() -> EventConfig {
    EventConfig::new("192.0.2.2")
        .package(Presence)
        .package(DialogPackage)
        .package(MessageSummary)
        .strangers()
}

/// A subscriber (0) and a server (1) that lets strangers in.
fn net(seed: u64) -> Net {
    let mut net = Net::new(seed);
    net.add("192.0.2.1:5060", ignore, |_| {});
    net.add("192.0.2.2:5060", ignore, |config| {
        config.events = Some(open_server());
    });
    net
}

fn alice() -> NameAddr {
    NameAddr::new(&"sip:alice@192.0.2.1".parse::<Uri>().unwrap())
}

fn subscribe_with(net: &mut Net, event: &str, change: impl FnOnce(&mut Subscribe)) -> SubscribeId {
    let target = "sip:bob@192.0.2.2".parse().unwrap();
    let mut command = Subscribe::new(target, alice(), event);
    change(&mut command);
    let now = net.now;
    let id = net.agent(0).subscribe(now, command).unwrap();
    net.collect();
    id
}

fn subscribe(net: &mut Net, event: &str) -> SubscribeId {
    subscribe_with(net, event, |_| {})
}

fn states(net: &mut Net) -> Vec<SubscriptionState> {
    let events = net.nodes[0].events.iter();
    let states = events.filter_map(|event| match event {
        Event::Subscription { state, .. } => Some(state.clone()),
        _ => None,
    });
    states.collect()
}

/// The bodies of the NOTIFYs that have come, in order.
fn bodies(net: &Net) -> Vec<String> {
    let events = net.nodes[0].events.iter();
    let bodies = events.filter_map(|event| match event {
        Event::Notified { request, .. } => {
            Some(String::from_utf8(request.body().to_vec()).unwrap())
        }
        _ => None,
    });
    bodies.collect()
}

fn put_calls(net: &mut Net, dialogs: Vec<Dialog>) {
    let document = DialogInfo::full("sip:bob@192.0.2.2", dialogs).to_xml();
    let now = net.now;
    let put = net
        .agent(1)
        .put_state(now, "dialog", "bob", 1, Some(document.into()));
    assert!(put);
    net.collect();
}

#[test]
fn a_subscriber_is_told_at_once_and_then_what_changes() {
    let mut net = net(1);
    let id = subscribe(&mut net, "dialog");
    net.run(SECOND);
    assert!(matches!(
        states(&mut net)[..],
        [
            SubscriptionState::Subscribing,
            SubscriptionState::Active { .. }
        ]
    ));
    put_calls(&mut net, vec![Dialog::new("1", DialogState::Early)]);
    net.run(2 * SECOND);
    put_calls(&mut net, vec![Dialog::new("1", DialogState::Confirmed)]);
    net.run(2 * SECOND);
    put_calls(&mut net, vec![]);
    net.run(2 * SECOND);
    let mut table = Dialogs::default();
    let mut lengths = Vec::new();
    for body in bodies(&net) {
        let info = DialogInfo::parse(body.as_bytes()).unwrap();
        assert_eq!(table.merge(&info), Merged::Taken, "{body}");
        lengths.push(table.len());
    }
    assert_eq!(lengths, [0, 1, 1, 0]);
    let now = net.now;
    net.agent(0).unsubscribe(now, id);
    net.run(SECOND);
    assert_eq!(
        states(&mut net).last(),
        Some(&SubscriptionState::Ended {
            lapse: Lapse::TakenBack
        })
    );
    assert_eq!(net.agent(1).subscribed(), 0);
    net.settle();
    assert!(net.agent(0).subscriber_tags.is_empty());
    let server = net.agent(1).event_server.as_ref().unwrap();
    assert!(server.notifier.is_clean());
}

#[test]
fn a_subscription_is_refreshed_for_a_day() {
    for loss in [0.0, 0.2] {
        let mut net = net(2);
        net.weather.loss = loss;
        subscribe_with(&mut net, "presence", |command| command.expires = 600);
        net.run(24 * 60 * MINUTE);
        let counters = net.agent(1).event_counters();
        assert_eq!(counters.subscribed, 1, "{counters:?}");
        // After 80 to 90 % of ten minutes each.
        assert!((155..=185).contains(&counters.refreshed), "{counters:?}");
        let lapsed = states(&mut net)
            .iter()
            .any(|state| matches!(state, SubscriptionState::Lapsed { .. }));
        assert!(!lapsed);
        assert_eq!(net.agent(1).subscribed(), 1);
    }
}

#[test]
fn one_notify_is_under_way_at_a_time_and_they_are_not_too_many() {
    let mut net = net(3);
    subscribe(&mut net, "dialog");
    net.run(SECOND);
    let before = bodies(&net).len();
    for number in 0..100 {
        let id = number.to_string();
        put_calls(&mut net, vec![Dialog::new(&id, DialogState::Early)]);
        net.run(Duration::from_millis(50));
    }
    net.run(2 * SECOND);
    let told = bodies(&net).len() - before;
    // One a second at most, in five seconds; the last state is told whatever became of those before.
    assert!((4..=7).contains(&told), "{told}");
    let mut table = Dialogs::default();
    for body in bodies(&net) {
        table.merge(&DialogInfo::parse(body.as_bytes()).unwrap());
    }
    let ids: Vec<_> = table.iter().map(|dialog| dialog.id.clone()).collect();
    assert_eq!(ids, ["99"]);
}

#[test]
fn expiry_and_vanishing_end_a_subscription() {
    let mut net = net(4);
    subscribe_with(&mut net, "presence", |command| command.expires = 120);
    net.run(SECOND);
    // The subscriber vanishes: its subscription runs out, and the last NOTIFY is in vain.
    net.drop_if = Some(|_| true);
    net.run(4 * MINUTE);
    assert_eq!(net.agent(1).subscribed(), 0);
    let counters = net.agent(1).event_counters();
    assert_eq!((counters.ended, counters.undelivered), (1, 1));
}

#[test]
fn a_notifier_that_vanishes_is_asked_again_with_pauses() {
    let mut net = net(5);
    subscribe_with(&mut net, "presence", |command| command.expires = 120);
    net.run(SECOND);
    net.drop_if = Some(|_| true);
    net.run(10 * MINUTE);
    assert!(
        states(&mut net).iter().any(|state| matches!(
            state,
            SubscriptionState::Lapsed {
                lapse: Lapse::Silent,
                ..
            }
        )),
        "{:?}",
        states(&mut net)
    );
    net.drop_if = None;
    net.run(60 * MINUTE);
    assert!(matches!(
        states(&mut net).last(),
        Some(SubscriptionState::Active { .. })
    ));
}

#[test]
fn a_draining_server_sends_its_subscribers_away_for_a_while() {
    let mut net = net(6);
    subscribe(&mut net, "presence");
    net.run(MINUTE);
    let now = net.now;
    net.agent(1).drain();
    net.agent(1).end_subscriptions(now);
    net.run(5 * SECOND);
    assert_eq!(net.agent(1).subscribed(), 0);
    let lapsed = states(&mut net);
    let Some(SubscriptionState::Lapsed { lapse, .. }) = lapsed.last() else {
        panic!("{lapsed:?}");
    };
    assert_eq!(*lapse, Lapse::Ended(Reason::Probation));
}

#[test]
fn unknown_packages_resources_and_times_are_refused() {
    let mut net = net(7);
    for (event, target, expires, status) in [
        ("conference", "sip:bob@192.0.2.2", 600, 489),
        ("presence", "sip:bob@192.0.2.7;maddr=192.0.2.2", 600, 404),
        ("presence", "sip:192.0.2.2", 600, 404),
    ] {
        net.nodes[0].events.clear();
        subscribe_with(&mut net, event, |command| {
            command.target = target.parse().unwrap();
            command.expires = expires;
        });
        net.run(SECOND);
        let states = states(&mut net);
        let code = StatusCode::new(status).unwrap();
        let refused = states.iter().any(|state| {
            matches!(
                state,
                SubscriptionState::Ended { lapse: Lapse::Refused(it) }
                | SubscriptionState::Lapsed { lapse: Lapse::Refused(it), .. } if *it == code
            )
        });
        assert!(refused, "{event} {target}: {states:?}");
    }
    // What is too brief is asked for anew.
    net.nodes[0].events.clear();
    subscribe_with(&mut net, "presence", |command| command.expires = 5);
    net.run(SECOND);
    assert!(matches!(
        states(&mut net).last(),
        Some(SubscriptionState::Active { .. })
    ));
    assert!(net.agent(1).event_counters().refused_invalid > 0);
}

/// A package where somebody has to decide.
#[derive(Debug)]
struct Asked;

impl Package for Asked {
    fn name(&self) -> &str {
        "x-asked"
    }
    fn content_type(&self) -> &str {
        "text/plain"
    }
    fn admits(&self, _: &Asking<'_>) -> Decision {
        Decision::Wait
    }
    fn accepts(&self, _: &[u8]) -> bool {
        true
    }
    fn compose(&self, _: &str, _: &[bytes::Bytes]) -> bytes::Bytes {
        bytes::Bytes::from_static(b"secret")
    }
}

#[test]
fn what_waits_for_a_decision_is_told_nothing() {
    for grant in [true, false] {
        let mut net = Net::new(8);
        net.add("192.0.2.1:5060", ignore, |_| {});
        net.add("192.0.2.2:5060", ignore, |config| {
            config.events = Some(EventConfig::new("192.0.2.2").package(Asked).strangers());
        });
        subscribe(&mut net, "x-asked");
        net.run(SECOND);
        assert_eq!(states(&mut net).last(), Some(&SubscriptionState::Pending));
        assert_eq!(bodies(&net), [""]);
        let Some(Event::SubscriptionWaits(waiting)) = net.nodes[1].events.first().cloned() else {
            panic!("{:?}", net.events(1));
        };
        assert_eq!(waiting.resource, "bob");
        assert_eq!(waiting.from, "sip:alice@192.0.2.1");
        let now = net.now;
        let id = waiting.subscription;
        assert!(net.agent(1).decide_subscription(now, id, grant));
        assert!(!net.agent(1).decide_subscription(now, id, grant));
        net.run(SECOND);
        match grant {
            true => assert_eq!(bodies(&net), ["", "secret"]),
            false => assert_eq!(
                states(&mut net).last(),
                Some(&SubscriptionState::Ended {
                    lapse: Lapse::Ended(Reason::Rejected)
                })
            ),
        }
    }
}

#[test]
fn strangers_are_challenged_even_where_callers_are_not() {
    let mut net = Net::new(9);
    net.add("192.0.2.1:5060", ignore, |_| {});
    net.add("192.0.2.2:5060", ignore, |config| {
        config.authentication = Some(VerifierConfig::new("r"));
        config.events = Some(
            EventConfig::new("192.0.2.2")
                .package(Presence)
                .package(MessageSummary),
        );
    });
    subscribe(&mut net, "presence");
    net.run(SECOND);
    assert_eq!(
        states(&mut net).last(),
        Some(&SubscriptionState::Ended {
            lapse: Lapse::Refused(StatusCode::UNAUTHORIZED)
        })
    );
    let account = || Some(Account::new("r", "alice", Secret::password("wonder")));
    subscribe_with(&mut net, "presence", |command| {
        command.account = account();
        command.expires = 600;
    });
    net.run(60 * MINUTE);
    assert!(matches!(
        states(&mut net).last(),
        Some(SubscriptionState::Active { .. })
    ));
    // Somebody else's mailbox is none of hers, her own is.
    for (user, fine) in [("bob", false), ("alice", true)] {
        subscribe_with(&mut net, "message-summary", |command| {
            command.account = account();
            command.target = format!("sip:{user}@192.0.2.2").parse().unwrap();
        });
        net.run(SECOND);
        let state = states(&mut net).last().cloned().unwrap();
        let active = matches!(state, SubscriptionState::Active { .. });
        assert_eq!(active, fine, "{user}: {state:?}");
    }
}

fn presence(open: bool) -> Body {
    let mut presence = pidf::Presence::new("sip:bob@192.0.2.2");
    presence.tuples.push(Tuple::new("desk", open));
    Body {
        content_type: PIDF.into(),
        bytes: presence.to_xml().into(),
    }
}

/// A watcher and publisher (0), and a server (1) where both sign in.
fn published(seed: u64, loss: f64) -> (Net, PublicationId) {
    let mut net = Net::new(seed);
    net.weather.loss = loss;
    net.add("192.0.2.1:5060", ignore, |_| {});
    net.add("192.0.2.2:5060", ignore, |config| {
        config.authentication = Some(VerifierConfig::new("r"));
        let mut events = EventConfig::new("192.0.2.2").package(Presence);
        events.max_publications_per_resource = 2;
        config.events = Some(events);
    });
    let id = publish(&mut net, "bob");
    (net, id)
}

fn publish(net: &mut Net, user: &str) -> PublicationId {
    let target = "sip:bob@192.0.2.2".parse().unwrap();
    let mut command = Publish::new(target, alice(), "presence", presence(true));
    command.account = Some(Account::new("r", user, Secret::password("wonder")));
    command.expires = 600;
    let now = net.now;
    let id = net.agent(0).publish(now, command).unwrap();
    net.collect();
    id
}

fn publications(net: &Net) -> Vec<PublicationState> {
    let events = net.nodes[0].events.iter();
    let states = events.filter_map(|event| match event {
        Event::Publication { state, .. } => Some(state.clone()),
        _ => None,
    });
    states.collect()
}

#[test]
fn a_publication_is_told_changed_refreshed_and_taken_back() {
    for (seed, loss) in [(10, 0.0), (11, 0.2), (12, 0.3)] {
        let (mut net, id) = published(seed, loss);
        subscribe_with(&mut net, "presence", |command| {
            command.account = Some(Account::new("r", "alice", Secret::password("wonder")));
        });
        net.run(MINUTE);
        let state = |net: &mut Net| {
            let state = net.agent(1).state_of("presence", "bob").unwrap();
            pidf::Presence::parse(&state).unwrap().is_open()
        };
        assert!(state(&mut net), "seed {seed}");
        net.run(3 * 60 * MINUTE);
        assert_eq!(net.agent(1).published(), 1, "seed {seed}");
        assert_eq!(net.agent(1).event_counters().expired, 0, "seed {seed}");
        let now = net.now;
        net.agent(0).republish(now, id, presence(false)).unwrap();
        net.run(MINUTE);
        assert!(!state(&mut net), "seed {seed}");
        let last = bodies(&net).pop().unwrap();
        assert!(!pidf::Presence::parse(last.as_bytes()).unwrap().is_open());
        let now = net.now;
        net.agent(0).unpublish(now, id);
        net.run(MINUTE);
        assert_eq!(net.agent(1).published(), 0, "seed {seed}");
        assert_eq!(
            publications(&net).last(),
            Some(&PublicationState::Withdrawn)
        );
        let again = net.agent(0).republish(now, id, presence(true));
        assert!(again.is_err());
    }
}

#[test]
fn a_compositor_that_has_forgotten_is_told_anew() {
    let (mut net, _) = published(13, 0.0);
    net.run(SECOND);
    assert_eq!(net.agent(1).published(), 1);
    // The server starts anew.
    let config = net.agent(1).config.clone();
    net.nodes[1].agent = Agent::new(config, Rng::new(99));
    net.run(12 * MINUTE);
    assert_eq!(net.agent(1).published(), 1);
    let counters = net.agent(1).event_counters();
    assert_eq!(counters.refused_invalid, 1, "{counters:?}");
}

#[test]
fn nobody_publishes_for_others_nor_without_bound() {
    let (mut net, _) = published(14, 0.0);
    net.run(SECOND);
    publish(&mut net, "alice");
    net.run(SECOND);
    let failed = |net: &Net, code: u16| {
        publications(net).iter().any(|state| {
            matches!(state, PublicationState::Failed { status: Some(it), .. } if it.code() == code)
        })
    };
    assert!(failed(&net, 403));
    publish(&mut net, "bob");
    publish(&mut net, "bob");
    net.run(SECOND);
    assert_eq!(net.agent(1).published(), 2);
    assert!(failed(&net, 503));
}

#[test]
fn a_publisher_that_vanishes_is_forgotten() {
    let (mut net, _) = published(15, 0.0);
    net.run(SECOND);
    net.drop_if = Some(|_| true);
    net.run(11 * MINUTE);
    assert_eq!(net.agent(1).published(), 0);
    assert_eq!(net.agent(1).event_counters().expired, 1);
    let server = net.agent(1).event_server.as_ref().unwrap();
    assert!(server.compositor.is_empty());
}

fn request(method: &str, number: u32, headers: &str, body: &str) -> String {
    format!(
        "{method} sip:bob@192.0.2.2 SIP/2.0\n\
         Via: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bK{method}{number}\n\
         Max-Forwards: 70\nFrom: <sip:x@x.example>;tag=f\nCall-ID: c{number}\n\
         CSeq: {number} {method}\n{headers}Content-Length: {}\n\n{body}",
        body.len()
    )
}

fn answer_to(net: &mut Net, request: &str) -> Message {
    net.raw.clear();
    net.inject("198.51.100.1:5060", 1, request);
    net.run(Duration::from_millis(100));
    let answers = net.raw.iter().map(|(_, bytes)| bytes.clone());
    let mut answers = answers.filter(|bytes| bytes.starts_with(b"SIP/2.0"));
    Message::parse(answers.next().expect("an answer").into()).unwrap()
}

#[test]
fn each_malformed_publication_gets_its_answer() {
    let mut net = net(16);
    let to = "To: <sip:bob@192.0.2.2>\n";
    let pidf = presence(true);
    let document = std::str::from_utf8(&pidf.bytes).unwrap().to_owned();
    let typed = "Event: presence\nContent-Type: application/pidf+xml\n";
    // Strangers may not publish presence: the package asks for the owner.
    let answer = answer_to(
        &mut net,
        &request("PUBLISH", 1, &format!("{to}{typed}"), &document),
    );
    assert_eq!(answer.status().unwrap().code(), 403);
    let answer = answer_to(&mut net, &request("PUBLISH", 2, to, &document));
    assert_eq!(answer.status().unwrap().code(), 489);
    let events = answer
        .header(crate::sip::header::Name::AllowEvents)
        .unwrap();
    assert_eq!(events.text(), "presence, dialog, message-summary");
}

/// A package that anybody may publish.
#[derive(Debug)]
struct Board;

impl Package for Board {
    fn name(&self) -> &str {
        "x-board"
    }
    fn content_type(&self) -> &str {
        "text/plain"
    }
    fn admits_publication(&self, _: &Asking<'_>) -> Decision {
        Decision::Grant
    }
    fn accepts(&self, document: &[u8]) -> bool {
        document != b"bad"
    }
    fn compose(&self, _: &str, documents: &[bytes::Bytes]) -> bytes::Bytes {
        documents.concat().into()
    }
}

#[test]
fn the_steps_of_rfc_3903_6_are_taken_in_order() {
    let mut net = Net::new(17);
    net.add("192.0.2.1:5060", ignore, |_| {});
    net.add("192.0.2.2:5060", ignore, |config| {
        let mut events = EventConfig::new("192.0.2.2").package(Board).strangers();
        events.max_document = 100;
        config.events = Some(events);
    });
    let to = "To: <sip:bob@192.0.2.2>\nEvent: x-board\nContent-Type: text/plain\n";
    let mut number = 0;
    let mut ask = |net: &mut Net, headers: &str, body: &str| {
        number += 1;
        answer_to(
            net,
            &request("PUBLISH", number, &format!("{to}{headers}"), body),
        )
    };
    let code = |answer: &Message| answer.status().unwrap().code();
    let tag = |answer: &Message| {
        let tag = answer.header(crate::sip::header::Name::SipETag).unwrap();
        tag.text().into_owned()
    };
    let first = ask(&mut net, "Expires: 600\n", "a");
    assert_eq!((code(&first), first.expires().unwrap()), (200, Some(600)));
    // Refreshed: no body, another tag; the old one is good for nothing any more.
    let old = tag(&first);
    let second = ask(&mut net, &format!("SIP-If-Match: {old}\n"), "");
    assert_eq!(
        (code(&second), second.expires().unwrap()),
        (200, Some(3600))
    );
    assert_ne!(tag(&second), old);
    assert_eq!(
        code(&ask(&mut net, &format!("SIP-If-Match: {old}\n"), "b")),
        412
    );
    let changed = ask(&mut net, &format!("SIP-If-Match: {}\n", tag(&second)), "b");
    assert_eq!(code(&changed), 200);
    assert_eq!(&net.agent(1).state_of("x-board", "bob").unwrap()[..], b"b");
    for (headers, body, wanted) in [
        ("", "", 400),
        ("Expires: 0\n", "c", 400),
        ("Expires: 5\n", "c", 423),
        ("", "bad", 400),
        ("SIP-If-Match: 0000000000000000\n", "", 412),
        ("SIP-If-Match: x\n", "", 412),
        ("SIP-If-Match: 1, 2\n", "", 412),
    ] {
        let answer = ask(&mut net, headers, body);
        assert_eq!(code(&answer), wanted, "{headers}{body}");
    }
    let long = "x".repeat(101);
    assert_eq!(code(&ask(&mut net, "", &long)), 413);
    let removed = ask(
        &mut net,
        &format!("SIP-If-Match: {}\nExpires: 0\n", tag(&changed)),
        "",
    );
    assert_eq!((code(&removed), removed.expires().unwrap()), (200, Some(0)));
    assert_eq!(net.agent(1).published(), 0);
    let odd = to.replace("text/plain", "text/html");
    let answer = answer_to(&mut net, &request("PUBLISH", 99, &odd, "c"));
    assert_eq!(code(&answer), 415);
    assert!(answer.accept().any(|it| it.unwrap().is("text", "plain")));
}

#[test]
fn guesses_find_no_subscription() {
    let mut net = net(18);
    subscribe(&mut net, "presence");
    net.run(SECOND);
    let state = "Event: presence\nSubscription-State: active;expires=600\n";
    // NOTIFY without a subscription, and with guessed tags of ours.
    for tag in ["", ";tag=1", ";tag=0123456789abcdef"] {
        let headers =
            format!("To: <sip:alice@192.0.2.1>{tag}\nContact: <sip:x@198.51.100.1>\n{state}");
        let notify = request("NOTIFY", 1, &headers, "");
        net.raw.clear();
        net.inject("198.51.100.1:5060", 0, &notify);
        net.run(SECOND);
        assert!(
            net.raw_text().starts_with("SIP/2.0 481"),
            "{tag}: {}",
            net.raw_text()
        );
    }
    // SUBSCRIBE in dialogs that are none.
    for tag in ["1", "0123456789abcdef"] {
        let headers = format!(
            "To: <sip:bob@192.0.2.2>;tag={tag}\nContact: <sip:x@198.51.100.1>\nEvent: presence\nExpires: 0\n"
        );
        let answer = answer_to(&mut net, &request("SUBSCRIBE", 1, &headers, ""));
        assert_eq!(answer.status().unwrap().code(), 481);
    }
    assert_eq!(net.agent(1).subscribed(), 1);
    assert_eq!(bodies(&net).len(), 1);
}

#[test]
fn tables_are_bounded_by_source_and_in_all() {
    let mut net = Net::new(19);
    net.add("192.0.2.1:5060", ignore, |_| {});
    net.add("192.0.2.2:5060", ignore, |config| {
        let mut events = open_server();
        (
            events.max_subscriptions,
            events.max_subscriptions_per_source,
        ) = (5, 3);
        config.events = Some(events);
    });
    let mut codes = Vec::new();
    for number in 0..8 {
        let host = if number < 4 { 1 } else { 2 };
        let headers = format!(
            "To: <sip:bob@192.0.2.2>\nContact: <sip:x@198.51.100.{host}>\nEvent: presence\nExpires: 600\n"
        );
        let text = request("SUBSCRIBE", number, &headers, "");
        net.raw.clear();
        net.inject(&format!("198.51.100.{host}:5060"), 1, &text);
        net.run(Duration::from_millis(50));
        let (_, answer) = net.raw.first().cloned().unwrap();
        codes.push(
            Message::parse(answer.into())
                .unwrap()
                .status()
                .unwrap()
                .code(),
        );
    }
    assert_eq!(codes, [200, 200, 200, 503, 200, 200, 503, 503]);
    assert_eq!(net.agent(1).event_counters().refused_full, 3);
    // Nobody answers the NOTIFYs, and so nothing is kept.
    net.run(MINUTE);
    assert_eq!(net.agent(1).subscribed(), 0);
    let server = net.agent(1).event_server.as_ref().unwrap();
    assert!(server.notifier.is_clean());
}

#[test]
fn a_forked_subscribe_has_one_notifier_or_all_of_them() {
    for forks in [false, true] {
        let mut net = Net::new(20);
        net.add("192.0.2.1:5060", ignore, |_| {});
        subscribe_with(&mut net, "presence", |command| {
            command.target = "sip:bob@192.0.2.50".parse().unwrap();
            command.forks = forks;
        });
        net.run(SECOND);
        let (_, sent) = net.raw.remove(0);
        let sent = Message::parse(sent.into()).unwrap();
        let tag = sent.from().unwrap().tag().unwrap().to_owned();
        let call_id = sent.call_id().unwrap().to_owned();
        let mut codes = Vec::new();
        for (number, notifier) in ["a", "b", "a"].into_iter().enumerate() {
            let notify = format!(
                "NOTIFY sip:sidetone@192.0.2.1 SIP/2.0\n\
                 Via: SIP/2.0/UDP 192.0.2.60:5060;branch=z9hG4bK{number}\nMax-Forwards: 70\n\
                 From: <sip:bob@192.0.2.50>;tag={notifier}\nTo: <sip:alice@192.0.2.1>;tag={tag}\n\
                 Call-ID: {call_id}\nCSeq: {} NOTIFY\nEvent: presence\n\
                 Contact: <sip:{notifier}@192.0.2.60>\n\
                 Subscription-State: active;expires=600\nContent-Length: 0\n\n",
                number + 1
            );
            net.raw.clear();
            net.inject("192.0.2.60:5060", 0, &notify);
            net.run(Duration::from_millis(100));
            let (_, answer) = net.raw.first().cloned().unwrap();
            codes.push(
                Message::parse(answer.into())
                    .unwrap()
                    .status()
                    .unwrap()
                    .code(),
            );
        }
        let second = if forks { 200 } else { 481 };
        assert_eq!(codes, [200, second, 200]);
        let seen = net.events(0);
        let seen = seen.iter().filter(|event| *event == "notified 2").count();
        assert_eq!(seen, usize::from(forks));
    }
}

#[test]
fn a_fetch_is_one_notify() {
    let mut net = net(21);
    let headers =
        "To: <sip:bob@192.0.2.2>\nContact: <sip:x@198.51.100.1>\nEvent: presence\nExpires: 0\n";
    let answer = answer_to(&mut net, &request("SUBSCRIBE", 1, headers, ""));
    assert_eq!(answer.expires().unwrap(), Some(0));
    let text = net.raw_text();
    let notify = text.split("NOTIFY ").nth(1).unwrap();
    assert!(notify.contains("Subscription-State: terminated;reason=timeout"));
    assert!(notify.contains("<basic>closed</basic>"));
    // The same request by another way is a loop, not another subscription.
    let again = request("SUBSCRIBE", 1, headers, "").replace("bKSUB", "bKWAY");
    let answer = answer_to(&mut net, &again);
    assert_eq!(answer.status().unwrap().code(), 482);
    // What the subscriber does not understand it is not sent.
    let headers = format!("{headers}Accept: text/plain\n");
    let answer = answer_to(&mut net, &request("SUBSCRIBE", 2, &headers, ""));
    assert_eq!(answer.status().unwrap().code(), 406);
    let headers = headers.replace("text/plain", "application/*");
    let answer = answer_to(&mut net, &request("SUBSCRIBE", 3, &headers, ""));
    assert_eq!(answer.status().unwrap().code(), 200);
}

#[test]
fn no_stranger_draws_more_than_he_sends() {
    let mut net = Net::new(22);
    net.add("192.0.2.1:5060", ignore, |_| {});
    net.add("192.0.2.2:5060", ignore, |config| {
        config.authentication = Some(VerifierConfig::new("r"));
        config.events = Some(EventConfig::new("192.0.2.2").package(Presence));
        config.product = Some("Sidetone/0.1.0".into());
    });
    let methods = [
        "OPTIONS",
        "MESSAGE",
        "SUBSCRIBE",
        "PUBLISH",
        "NOTIFY",
        "REFER",
    ];
    for (number, method) in methods.into_iter().enumerate() {
        // As short as a request can be.
        let text = format!(
            "{method} sip:b@192.0.2.2 SIP/2.0\r\nv: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK{number}\r\n\
             f: <sip:x@y>;tag=1\r\nt: <sip:b@192.0.2.2>\r\ni: {number}\r\nCSeq: 1 {method}\r\n\
             Max-Forwards: 70\r\no: presence\r\nm: <sip:z@203.0.113.9>\r\n\r\n"
        );
        net.raw.clear();
        let now = net.now;
        net.agent(1).handle_datagram(
            now,
            ListenerId(0),
            "198.51.100.1:5060".parse().unwrap(),
            text.as_bytes(),
        );
        net.collect();
        net.run(MINUTE);
        let drawn: usize = net.raw.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(
            drawn <= 3 * text.len(),
            "{method}: {drawn} for {}",
            text.len()
        );
        // And nothing goes to whom he names.
        assert!(
            net.raw
                .iter()
                .all(|(to, _)| to.ip().to_string() == "198.51.100.1")
        );
    }
}

#[test]
fn forged_notifies_in_a_dialog_change_nothing() {
    let mut net = net(23);
    subscribe(&mut net, "presence");
    net.run(SECOND);
    let known = net.agent(0).subscriptions.values().next().unwrap();
    assert_eq!(DIALOG_INFO, "application/dialog-info+xml");
    let deadline = known.deadline();
    let told = bodies(&net).len();
    // The right package in the wrong dialog, the wrong package in the right one.
    let state = "Subscription-State: terminated;reason=rejected\n";
    let headers =
        format!("To: <sip:alice@192.0.2.1>;tag=ffffffffffffffff\nEvent: presence\n{state}");
    net.inject("192.0.2.2:5060", 0, &request("NOTIFY", 1, &headers, ""));
    net.run(SECOND);
    assert_eq!(bodies(&net).len(), told);
    let known = net.agent(0).subscriptions.values().next().unwrap();
    assert_eq!(known.deadline(), deadline);
}

//! Peers that are watched, and OPTIONS as they are answered.

use super::*;
use crate::sip::agent::command::Options;
use crate::sip::auth::client::Account;
use crate::sip::auth::server::VerifierConfig;
use crate::sip::health::{Health, Pinging, Trouble, WatchId};
use crate::sip::registrar::config::RegistrarConfig;
use crate::sip::transport::access::{AccessList, Admission};

const SECOND: Duration = Duration::from_secs(1);

fn watch(net: &mut Net, target: &str, change: impl FnOnce(&mut Options)) -> WatchId {
    let from: Uri = "sip:us@192.0.2.1".parse().unwrap();
    let mut query = Options::new(target.parse().unwrap(), NameAddr::new(&from));
    change(&mut query);
    let now = net.now;
    let id = net.agent(0).watch(now, query, Pinging::default()).unwrap();
    net.collect();
    id
}

fn changes(net: &mut Net) -> Vec<Health> {
    let events = std::mem::take(&mut net.nodes[0].events).into_iter();
    let changes = events.filter_map(|event| match event {
        Event::Health(change) => Some(change.health),
        _ => None,
    });
    changes.collect()
}

#[test]
fn a_peer_is_up_drains_and_vanishes() {
    let mut net = Net::pair(2, ignore);
    let id = watch(&mut net, "sip:192.0.2.2", |_| {});
    net.run(SECOND);
    assert_eq!(changes(&mut net), [Health::Up]);
    net.run(300 * SECOND);
    assert_eq!(changes(&mut net), []);
    // Each 27 to 33 s.
    let asked = net.sent(0).len();
    assert!((10..=12).contains(&asked), "{asked}");
    net.agent(1).drain();
    net.run(40 * SECOND);
    assert_eq!(changes(&mut net), [Health::Down(Trouble::Busy)]);
    // It vanishes, and the datagrams with it.
    net.nodes[1].address = "192.0.2.99:5060".parse().unwrap();
    net.run(60 * SECOND);
    assert_eq!(changes(&mut net), [Health::Down(Trouble::Silent)]);
    assert!(!net.agent(0).health(id).is_usable());
    net.agent(0).unwatch(id);
    net.settle();
    assert!(net.agent(0).errands.is_empty());
}

#[test]
fn loss_does_not_make_a_peer_down() {
    for seed in 0..20 {
        let mut net = Net::pair(seed, ignore);
        net.weather.loss = 0.1;
        net.weather.jitter = Duration::from_millis(50);
        watch(&mut net, "sip:192.0.2.2", |_| {});
        net.run(3600 * SECOND);
        // A question goes out four times within 4 s, and two in a row have to fail.
        assert_eq!(changes(&mut net), [Health::Up], "seed {seed}");
    }
}

#[test]
fn a_name_that_nobody_knows_is_unreachable() {
    let mut net = Net::pair(3, ignore);
    watch(&mut net, "sip:nobody.example", |_| {});
    net.run(60 * SECOND);
    assert_eq!(changes(&mut net), [Health::Down(Trouble::Unreachable)]);
}

#[test]
fn a_peer_that_asks_for_credentials_gets_them_once() {
    let mut net = Net::new(5);
    net.add("192.0.2.1:5060", ignore, |_| {});
    net.add("192.0.2.2:5060", ignore, |config| {
        config.authentication = Some(VerifierConfig::new("r"));
        for listener in &mut config.listeners {
            listener.access = AccessList::all(Admission::Authenticate);
        }
    });
    watch(&mut net, "sip:192.0.2.2", |query| {
        query.account = Some(Account::new("r", "alice", Secret::password("wonder")));
    });
    net.run(200 * SECOND);
    assert_eq!(changes(&mut net), [Health::Up]);
    let counters = net.agent(0).counters();
    // Later questions are signed ahead of being asked.
    assert_eq!(counters.challenges_answered, 1, "{counters:?}");
    assert_eq!(net.agent(1).counters().challenged, 1);
}

#[test]
fn as_many_are_watched_as_may_be_and_no_more() {
    let mut net = Net::new(6);
    net.add("192.0.2.1:5060", ignore, |config| config.max_watches = 1);
    let first = watch(&mut net, "sip:192.0.2.2", |_| {});
    let from: Uri = "sip:us@192.0.2.1".parse().unwrap();
    let query = Options::new("sip:192.0.2.3".parse().unwrap(), NameAddr::new(&from));
    let again = net.agent(0).watch(Instant::ZERO, query, Pinging::default());
    assert_eq!(again, Err(crate::sip::agent::command::CommandError::Full));
    net.agent(0).unwatch(first);
    watch(&mut net, "sip:192.0.2.3", |_| {});
}

#[test]
fn options_are_answered_with_what_is_served() {
    let mut net = Net::pair(7, ignore);
    net.add("192.0.2.3:5060", ignore, |config| {
        config.registrar = Some(RegistrarConfig::new("192.0.2.3"));
    });
    for (node, registers) in [(1, false), (2, true)] {
        let request = format!(
            "OPTIONS sip:192.0.2.{} SIP/2.0\nVia: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK1\n\
             Max-Forwards: 70\nFrom: <sip:x@198.51.100.1>;tag=1\nTo: <sip:y@192.0.2.2>\n\
             Call-ID: {node}\nCSeq: 1 OPTIONS\nContent-Length: 0\n\n",
            node + 1
        );
        net.raw.clear();
        net.inject("198.51.100.1:5060", node, &request);
        net.run(SECOND);
        let (_, bytes) = net.raw.remove(0);
        let response = Message::parse(bytes.into()).unwrap();
        assert_eq!(response.status(), Some(StatusCode::OK));
        assert_eq!(response.allow().has("REGISTER"), registers);
        assert!(response.accept().next().is_some());
        assert!(response.supported().has("timer"));
        net.agent(node).drain();
        net.inject("198.51.100.1:5060", node, &request.replace("bK1", "bK2"));
        net.run(SECOND);
        let (_, bytes) = net.raw.remove(0);
        let response = Message::parse(bytes.into()).unwrap();
        assert_eq!(response.status(), Some(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(response.retry_after().unwrap().unwrap().seconds, 5);
    }
}

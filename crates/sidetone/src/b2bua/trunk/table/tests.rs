//! Trunks: who gets which call, and who gets none.

use super::*;
use crate::b2bua::trunk::Address;
use crate::time::Duration;

const NOW: Instant = Instant::ZERO;

fn trunks() -> Trunks {
    Trunks::new(Vec::new(), Rng::new(1))
}

fn carrier() -> Trunk {
    Trunk::new(
        "carrier",
        [
            Address::new("sip:192.0.2.1").ranked(0, 3),
            Address::new("sip:192.0.2.2:5070;transport=tcp").ranked(0, 1),
            Address::new("sip:192.0.2.3").ranked(1, 1),
        ],
    )
}

fn events(trunks: &mut Trunks) -> Vec<TrunkEvent> {
    std::iter::from_fn(|| trunks.poll_event()).collect()
}

fn state(state: TrunkState) -> TrunkEvent {
    TrunkEvent::State {
        trunk: "carrier".into(),
        state,
    }
}

#[test]
fn addresses_are_used_by_priority_and_weight() {
    let mut trunks = trunks();
    let id = trunks.add(NOW, carrier()).unwrap();
    let mut counts = [0; 3];
    for _ in 0..1_000 {
        let permit = trunks.begin(NOW, id, "a", "1", &[]).unwrap();
        counts[permit.address().unwrap()] += 1;
        trunks.end(NOW, &permit);
    }
    assert!((700..800).contains(&counts[0]), "{counts:?}");
    assert_eq!(counts[2], 0);
    // One after the other, each once.
    let mut tried = Vec::new();
    while let Ok(permit) = trunks.begin(NOW, id, "a", "1", &tried) {
        tried.push(permit.address().unwrap());
        trunks.end(NOW, &permit);
    }
    assert_eq!(tried.len(), 3);
    assert_eq!(tried[2], 2);
    assert_eq!(trunks.counters(id).unwrap().calls, 0);
}

#[test]
fn a_trunk_goes_down_with_its_last_address_and_comes_back() {
    let mut trunks = trunks();
    let id = trunks.add(NOW, carrier()).unwrap();
    for address in 0..3 {
        trunks.handle_health(NOW, id, address, false);
    }
    let expected = [state(TrunkState::Degraded), state(TrunkState::Down)];
    assert_eq!(events(&mut trunks), expected);
    let refused = trunks.begin(NOW, id, "a", "1", &[]);
    assert_eq!(refused, Err(TrunkRefusal::Down));
    trunks.handle_health(NOW, id, 2, true);
    let permit = trunks.begin(NOW, id, "a", "1", &[]).unwrap();
    assert_eq!(permit.address(), Some(2));
    assert_eq!(events(&mut trunks), [state(TrunkState::Degraded)]);
    assert_eq!(trunks.counters(id).unwrap().refused_down, 1);
}

#[test]
fn an_address_that_nobody_watches_rests_after_a_failure() {
    let mut trunks = trunks();
    let id = trunks.add(NOW, Trunk::new("carrier", [Address::new("sip:192.0.2.1")]));
    let id = id.unwrap();
    let permit = trunks.begin(NOW, id, "a", "1", &[]).unwrap();
    trunks.handle_failure(NOW, &permit);
    trunks.end(NOW, &permit);
    assert_eq!(
        trunks.begin(NOW, id, "a", "1", &[]),
        Err(TrunkRefusal::Down)
    );
    let later = NOW + Duration::from_secs(30);
    assert!(trunks.begin(later, id, "a", "1", &[]).is_ok());
    let expected = [state(TrunkState::Down), state(TrunkState::Up)];
    assert_eq!(events(&mut trunks), expected);
}

#[test]
fn calls_and_calls_a_second_are_bounded_both_ways() {
    let mut trunks = trunks();
    let id = trunks.add(NOW, carrier().max_calls(2)).unwrap();
    let first = trunks.begin(NOW, id, "a", "1", &[]).unwrap();
    trunks.take_in(NOW, id).unwrap();
    assert_eq!(trunks.take_in(NOW, id), Err(TrunkRefusal::Calls));
    assert_eq!(
        trunks.begin(NOW, id, "a", "1", &[]),
        Err(TrunkRefusal::Calls)
    );
    let full = TrunkEvent::Full {
        trunk: "carrier".into(),
    };
    assert_eq!(events(&mut trunks), [full]);
    trunks.end(NOW, &first);
    assert!(trunks.take_in(NOW, id).is_ok());
    let fast = trunks.add(NOW, carrier().calls_per_second(3)).unwrap();
    let taken = (0..9).filter(|_| trunks.take_in(NOW, fast).is_ok()).count();
    assert_eq!(taken, 3);
    assert_eq!(trunks.counters(fast).unwrap().refused_rate, 6);
    assert!(trunks.take_in(NOW + Duration::from_secs(1), fast).is_ok());
}

#[test]
fn a_failed_registration_is_a_trunk_that_is_down() {
    let mut trunks = trunks();
    let trunk = carrier().registering("sip:1@carrier.example");
    let id = trunks.add(NOW, trunk).unwrap();
    trunks.handle_registration(NOW, id, false, Vec::new());
    assert_eq!(
        trunks.begin(NOW, id, "a", "1", &[]),
        Err(TrunkRefusal::Down)
    );
    trunks.handle_registration(NOW, id, true, vec!["sip:edge.example;lr".into()]);
    let permit = trunks.begin(NOW, id, "a", "49#", &[2, 0]).unwrap();
    let (uri, routes) = trunks.route(&permit, "49#").unwrap();
    assert_eq!(uri, "sip:49%23@192.0.2.2:5070;transport=tcp");
    assert_eq!(routes, ["sip:edge.example;lr"]);
}

#[test]
fn callers_are_known_by_their_address() {
    let mut trunks = trunks();
    let wide = carrier().source("198.51.100.0/24".parse().unwrap());
    let wide = trunks.add(NOW, wide).unwrap();
    let narrow = Trunk::new("other", [Address::new("sip:trunk.example")])
        .source("198.51.100.8/32".parse().unwrap());
    let narrow = trunks.add(NOW, narrow).unwrap();
    for (source, expected) in [
        ("192.0.2.1", Some(wide)),
        ("::ffff:192.0.2.1", Some(wide)),
        ("198.51.100.7", Some(wide)),
        ("198.51.100.8", Some(narrow)),
        ("203.0.113.1", None),
    ] {
        let found = trunks.identify(source.parse().unwrap(), &[]);
        assert_eq!(found, expected, "{source}");
    }
}

#[test]
fn a_certificate_says_more_than_an_address() {
    let mut trunks = trunks();
    let open = trunks.add(NOW, carrier()).unwrap();
    let known = Trunk::new("known", [Address::new("sips:203.0.113.5")]).domain("Trunk.example");
    let known = trunks.add(NOW, known).unwrap();
    let by = |source: &str, domains: &[&str]| {
        let domains: Vec<String> = domains.iter().map(ToString::to_string).collect();
        trunks.identify(source.parse().unwrap(), &domains)
    };
    assert_eq!(by("192.0.2.1", &["trunk.example"]), Some(known));
    assert_eq!(by("192.0.2.1", &["other.example"]), Some(open));
    // Its address alone proves nothing.
    assert_eq!(by("203.0.113.5", &[]), None);
    assert_eq!(by("203.0.113.5", &["evil.trunk.example"]), None);
}

#[test]
fn what_is_no_number_is_not_dialled() {
    let mut trunks = trunks();
    let id = trunks.add(NOW, carrier()).unwrap();
    for number in [
        "",
        "1@evil.example",
        "1;phone-context=x",
        "1?Replaces=x",
        "1\r\nX: y",
        "1%40",
    ] {
        let refused = trunks.begin(NOW, id, "a", number, &[]);
        assert_eq!(refused, Err(TrunkRefusal::Number), "{number:?}");
    }
    for uri in ["", "x", "sip:a@h", "tel:1", "sip:h\r\n"] {
        let added = trunks.add(NOW, Trunk::new("bad", [Address::new(uri)]));
        assert_eq!(added, Err(TrunkError::Address(uri.into())), "{uri:?}");
    }
    assert_eq!(
        trunks.add(NOW, Trunk::new("none", [])),
        Err(TrunkError::Addresses)
    );
}

#[test]
fn a_cap_that_is_reached_is_told_once() {
    let cap = Cap::new("premium", ["0900"]).max_calls(1);
    let mut trunks = Trunks::new(vec![cap], Rng::new(1));
    let id = trunks.add(NOW, carrier()).unwrap();
    let permit = trunks.begin(NOW, id, "6001", "0900-1", &[]).unwrap();
    for _ in 0..3 {
        let refused = trunks.begin(NOW, id, "6001", "09001", &[]);
        assert_eq!(refused, Err(TrunkRefusal::Cap));
    }
    let reached = TrunkEvent::CapReached {
        cap: "premium".into(),
        account: "6001".into(),
        number: "09001".into(),
    };
    assert_eq!(events(&mut trunks), [reached]);
    trunks.end(NOW, &permit);
    assert!(trunks.begin(NOW, id, "6001", "09001", &[]).is_ok());
    assert_eq!(trunks.counters(id).unwrap().refused_cap, 3);
}

//! Look-ups against zones in memory.

use super::*;

const ALL: [(Transport, bool); 8] = [
    (Transport::Udp, true),
    (Transport::Tcp, true),
    (Transport::Tls, true),
    (Transport::Wss, true),
    (Transport::Udp, false),
    (Transport::Tcp, false),
    (Transport::Tls, false),
    (Transport::Wss, false),
];

fn wanted(host: &str) -> Wanted<'_> {
    Wanted {
        host,
        port: None,
        transport: None,
        secure: false,
    }
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Record {
    Record::Srv {
        priority,
        weight,
        port,
        target: target.into(),
    }
}

fn naptr(order: u16, preference: u16, services: &str, replacement: &str) -> Record {
    Record::Naptr {
        order,
        preference,
        flags: "s".into(),
        services: services.into(),
        replacement: replacement.into(),
    }
}

fn at(ip: &str) -> Record {
    Record::Address(ip.parse().unwrap())
}

/// Resolves with the records of a zone; gives what was asked and what was found.
fn run(
    wanted: &Wanted<'_>,
    able: &[(Transport, bool)],
    zone: &[(&str, Kind, Record)],
    seed: u64,
) -> (Vec<String>, Vec<String>) {
    let mut resolution = Resolution::new(wanted, able, Rng::new(seed));
    let mut asked = Vec::new();
    while let Some(question) = resolution.poll_question() {
        assert!(!resolution.is_done());
        asked.push(format!("{:?} {}", question.kind, question.name));
        let answers = zone
            .iter()
            .filter(|(name, kind, _)| *name == question.name && *kind == question.kind);
        let answers: Vec<Record> = answers.map(|(.., record)| record.clone()).collect();
        resolution.handle_answer(&question, &answers);
    }
    assert!(resolution.is_done());
    let found = resolution.destinations();
    let found = found
        .iter()
        .map(|to| format!("{} {}", to.transport.as_str(), to.address));
    (asked, found.collect())
}

/// The example of RFC 3263 §4.1: the domain likes TLS best, and has TCP and UDP besides.
fn example() -> Vec<(&'static str, Kind, Record)> {
    let named =
        |order, service, name| ("example.com", Kind::Naptr, naptr(order, 50, service, name));
    vec![
        named(100, "SIP+D2U", "_sip._udp.example.com"),
        named(90, "SIP+D2T", "_sip._tcp.example.com"),
        named(50, "SIPS+D2T", "_sips._tcp.example.com"),
        (
            "_sips._tcp.example.com",
            Kind::Srv,
            srv(1, 0, 5061, "a.example.com"),
        ),
        (
            "_sip._tcp.example.com",
            Kind::Srv,
            srv(1, 0, 5060, "a.example.com"),
        ),
        (
            "_sip._udp.example.com",
            Kind::Srv,
            srv(2, 0, 5060, "b.example.com"),
        ),
        (
            "_sip._udp.example.com",
            Kind::Srv,
            srv(1, 0, 5070, "a.example.com"),
        ),
        ("a.example.com", Kind::A, at("192.0.2.1")),
        ("a.example.com", Kind::Aaaa, at("2001:db8::1")),
        ("b.example.com", Kind::A, at("192.0.2.2")),
        ("example.com", Kind::A, at("192.0.2.9")),
    ]
}

#[test]
fn the_domain_says_which_transports_and_hosts() {
    let (_, found) = run(&wanted("Example.com."), &ALL, &example(), 1);
    let expected = [
        "TLS 192.0.2.1:5061",
        "TLS [2001:db8::1]:5061",
        "TCP 192.0.2.1:5060",
        "TCP [2001:db8::1]:5060",
        "UDP 192.0.2.1:5070",
        "UDP [2001:db8::1]:5070",
        "UDP 192.0.2.2:5060",
    ];
    assert_eq!(found, expected);
}

#[test]
fn only_what_we_have_is_asked_for() {
    let (asked, found) = run(
        &wanted("example.com"),
        &[(Transport::Udp, true)],
        &example(),
        1,
    );
    let questions = [
        "Naptr example.com",
        "Srv _sip._udp.example.com",
        "A a.example.com",
        "A b.example.com",
    ];
    assert_eq!(asked, questions);
    assert_eq!(found, ["UDP 192.0.2.1:5070", "UDP 192.0.2.2:5060"]);
}

#[test]
fn a_secure_uri_takes_nothing_but_tls() {
    let secure = Wanted {
        secure: true,
        ..wanted("example.com")
    };
    let (_, found) = run(&secure, &ALL, &example(), 1);
    assert_eq!(found, ["TLS 192.0.2.1:5061", "TLS [2001:db8::1]:5061"]);
    let bare = [("example.com", Kind::A, at("192.0.2.9"))];
    assert_eq!(run(&secure, &ALL, &bare, 1).1, ["TLS 192.0.2.9:5061"]);
    let (_, found) = run(&secure, &[(Transport::Udp, true)], &example(), 1);
    assert_eq!(found, [""; 0], "no listener for it");
}

#[test]
fn a_port_or_a_transport_shortens_the_way() {
    let with_port = Wanted {
        port: Some(5080),
        ..wanted("example.com")
    };
    let (asked, found) = run(&with_port, &ALL, &example(), 1);
    assert_eq!(asked, ["A example.com", "Aaaa example.com"]);
    assert_eq!(found, ["UDP 192.0.2.9:5080"]);
    let over_tcp = Wanted {
        transport: Some(Transport::Tcp),
        ..wanted("example.com")
    };
    let (asked, found) = run(&over_tcp, &[(Transport::Tcp, true)], &example(), 1);
    assert_eq!(asked, ["Srv _sip._tcp.example.com", "A a.example.com"]);
    assert_eq!(found, ["TCP 192.0.2.1:5060"]);
    let over_wss = Wanted {
        transport: Some(Transport::Wss),
        ..wanted("example.com")
    };
    let (asked, found) = run(&over_wss, &ALL, &example(), 1);
    assert_eq!(asked[0], "A example.com");
    assert_eq!(found, ["WSS 192.0.2.9:443"]);
}

#[test]
fn without_services_the_name_itself_is_used() {
    let bare = [("example.com", Kind::A, at("192.0.2.9"))];
    let (asked, found) = run(&wanted("example.com"), &ALL, &bare, 1);
    assert_eq!(asked[0], "Naptr example.com");
    assert_eq!(
        asked[1..4],
        [
            "Srv _sip._udp.example.com",
            "Srv _sip._tcp.example.com",
            "Srv _sips._tcp.example.com"
        ]
    );
    assert_eq!(found, ["UDP 192.0.2.9:5060"]);
    assert_eq!(run(&wanted("example.com"), &ALL, &[], 1).1, [""; 0]);
}

/// RFC 2782: within a priority each is first as often as its weight says.
#[test]
fn weights_share_the_load() {
    let records = [
        srv(1, 60, 1, "a"),
        srv(1, 30, 2, "b"),
        srv(1, 10, 3, "c"),
        srv(1, 0, 4, "d"),
        srv(2, 100, 5, "e"),
    ];
    let mut first = BTreeMap::new();
    for seed in 0..10_000 {
        let ordered = by_weight(&records, &mut Rng::new(seed));
        assert_eq!(ordered.len(), 5);
        assert_eq!(ordered[4].0, "e", "a lower priority comes last");
        *first.entry(ordered[0].0.clone()).or_insert(0) += 1;
    }
    let near = |name: &str, share: f64| {
        let seen = f64::from(first.get(name).copied().unwrap_or(0)) / 10_000.0;
        assert!((seen - share).abs() < 0.02, "{name}: {seen}");
    };
    near("a", 0.6);
    near("b", 0.3);
    near("c", 0.1);
    near("d", 0.01);
}

#[test]
fn a_service_that_is_denied_is_none() {
    assert_eq!(by_weight(&[srv(0, 0, 5060, ".")], &mut Rng::new(1)), []);
    assert_eq!(by_weight(&[srv(0, 0, 0, "a")], &mut Rng::new(1)), []);
}

#[test]
fn a_flood_of_records_is_cut_short() {
    let targets: Vec<String> = (0..100).map(|n| format!("h{n}.example.com")).collect();
    let mut zone: Vec<(&str, Kind, Record)> = Vec::new();
    for target in &targets {
        zone.push(("_sip._udp.example.com", Kind::Srv, srv(1, 1, 5060, target)));
        for host in 1..100 {
            zone.push((target, Kind::A, at(&format!("192.0.2.{host}"))));
        }
    }
    let over_udp = Wanted {
        transport: Some(Transport::Udp),
        ..wanted("example.com")
    };
    let (asked, found) = run(&over_udp, &[(Transport::Udp, true)], &zone, 1);
    assert_eq!(asked.len(), 1 + MAX_HOSTS);
    assert_eq!(found.len(), MAX_ADDRESSES, "they are all the same");
}

#[test]
fn answers_that_were_not_asked_for_change_nothing() {
    let mut resolution = Resolution::new(&wanted("example.com"), &ALL, Rng::new(1));
    for kind in [Kind::Srv, Kind::A, Kind::Aaaa, Kind::Naptr] {
        let question = Question {
            name: "evil.example".into(),
            kind,
        };
        resolution.handle_answer(&question, &[at("192.0.2.66"), srv(1, 1, 1, "evil.example")]);
    }
    assert_eq!(resolution.destinations(), []);
    assert_eq!(resolution.poll_question().unwrap().name, "example.com");
    let with_port = Wanted {
        port: Some(5060),
        ..wanted("example.com")
    };
    let mut resolution = Resolution::new(&with_port, &ALL, Rng::new(1));
    let question = resolution.poll_question().unwrap();
    let unusable = [at("0.0.0.0"), at("224.0.1.75"), at("2001:db8::1")];
    resolution.handle_answer(&question, &unusable);
    resolution.handle_answer(&question, &[at("192.0.2.1")]);
    assert_eq!(resolution.destinations(), [], "the first answer counts");
}

//! The rules of RFC 3261 §10.3 and their neighbours, bounds, order and hostile registrations.

use super::config::Anybody;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A registrar that remembers what it was sent last.
struct Lab {
    now: Instant,
    registrar: Registrar,
}

/// One REGISTER, to be changed by a test.
struct Sent<'a> {
    user: Option<&'a str>,
    aor: &'a str,
    uri: &'a str,
    call: &'a str,
    sequence: u32,
    source: &'a str,
    connection: Option<u64>,
    /// Header lines with CRLF.
    more: String,
}

impl Default for Sent<'_> {
    fn default() -> Self {
        Self {
            user: Some("6001"),
            aor: "sip:6001@pbx.example",
            uri: "sip:pbx.example",
            call: "call",
            sequence: 1,
            source: "192.0.2.9:5060",
            connection: None,
            more: String::new(),
        }
    }
}

impl Lab {
    fn new(change: impl FnOnce(&mut RegistrarConfig)) -> Self {
        let mut config = RegistrarConfig::new("pbx.example").alias("192.0.2.1");
        change(&mut config);
        let own = ["192.0.2.1:5060".parse().unwrap()];
        Self {
            now: Instant::ZERO,
            registrar: Registrar::new(config, &own),
        }
    }

    fn send(&mut self, sent: &Sent<'_>) -> Reply {
        let text = format!(
            "REGISTER {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
             From: <{}>;tag=1\r\nTo: <{}>\r\nCall-ID: {}\r\nCSeq: {} REGISTER\r\n{}\r\n",
            sent.uri, sent.source, sent.aor, sent.aor, sent.call, sent.sequence, sent.more
        );
        let request = Message::parse(bytes::Bytes::from(text)).unwrap();
        let source = sent.source.parse().unwrap();
        let flow = match sent.connection {
            Some(id) => Path::Stream {
                connection: ConnectionId(id),
            },
            None => Path::Datagram {
                listener: ListenerId(0),
                destination: source,
            },
        };
        let origin = Origin {
            flow,
            source,
            listener: Some(ListenerId(0)),
            user: sent.user,
        };
        self.registrar.handle_register(self.now, &request, &origin)
    }

    /// A REGISTER with these further header lines.
    fn register(&mut self, sequence: u32, lines: &[&str]) -> Reply {
        self.send(&Sent {
            sequence,
            more: lines.iter().map(|line| format!("{line}\r\n")).collect(),
            ..Sent::default()
        })
    }

    fn contacts(&self) -> Vec<String> {
        let bindings = self
            .registrar
            .bindings(self.now, &"sip:6001@pbx.example".parse().unwrap());
        bindings.iter().map(|b| b.contact().to_owned()).collect()
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        while let Some(at) = self.registrar.poll_timeout().filter(|at| *at <= self.now) {
            self.registrar.handle_timeout(at);
        }
    }

    fn events(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.registrar.poll_event())
            .map(|change| format!("{:?} {}", change.kind, change.binding.contact()))
            .collect()
    }
}

fn values(reply: &Reply, name: Name<'_>) -> Vec<String> {
    let of_name = reply.headers.iter().filter(|(n, _)| *n == name);
    of_name.map(|(_, value)| value.clone()).collect()
}

fn code(reply: &Reply) -> u16 {
    reply.status.code()
}

#[test]
fn a_binding_lives_as_long_as_it_is_refreshed() {
    let mut lab = Lab::new(|_| {});
    let reply = lab.register(1, &["Contact: <sip:a@192.0.2.9>", "Expires: 100"]);
    assert_eq!(code(&reply), 200);
    assert_eq!(
        values(&reply, Name::Contact),
        ["<sip:a@192.0.2.9>;expires=100"]
    );
    lab.wait(99 * SECOND);
    assert_eq!(lab.contacts(), ["sip:a@192.0.2.9"]);
    lab.register(2, &["Contact: <sip:a@192.0.2.9>;expires=60"]);
    lab.wait(60 * SECOND - Duration::from_nanos(1));
    assert_eq!(lab.registrar.len(), 1);
    // Asking changes nothing.
    let reply = lab.register(2, &[]);
    assert_eq!(
        values(&reply, Name::Contact),
        ["<sip:a@192.0.2.9>;expires=1"]
    );
    lab.wait(Duration::from_nanos(1));
    assert!(lab.registrar.is_empty() && lab.contacts().is_empty());
    assert_eq!(
        lab.events(),
        [
            "Registered sip:a@192.0.2.9",
            "Refreshed sip:a@192.0.2.9",
            "Expired sip:a@192.0.2.9"
        ]
    );
    assert_eq!(
        (lab.registrar.addresses(), lab.registrar.poll_timeout()),
        (0, None)
    );
}

#[test]
fn times_are_clamped_and_what_is_too_brief_is_refused() {
    let mut lab = Lab::new(|config| config.max_expires = 7200);
    for (lines, granted) in [
        (&["Contact: <sip:a@h.example>"][..], Ok("3600")),
        (&["Contact: <sip:a@h.example>;expires=9999999"], Ok("7200")),
        // Broken or too large numbers mean nothing; the default applies.
        (&["Contact: <sip:a@h.example>;expires=soon"], Ok("3600")),
        (&["Contact: <sip:a@h.example>;expires=59"], Err(423)),
        (&["Contact: <sip:a@h.example>", "Expires: 1"], Err(423)),
        (
            &["Contact: <sip:a@h.example>;expires=60", "Expires: 1"],
            Ok("60"),
        ),
    ] {
        lab.wait(SECOND);
        let sequence = (lab.now.as_nanos() / 1_000_000_000) as u32;
        let reply = lab.register(sequence, lines);
        match granted {
            Ok(seconds) => {
                let contact = &values(&reply, Name::Contact)[0];
                assert!(
                    contact.ends_with(&format!(";expires={seconds}")),
                    "{contact}"
                );
            }
            Err(status) => {
                assert_eq!(code(&reply), status);
                assert_eq!(values(&reply, Name::MinExpires), ["60"]);
            }
        }
    }
}

#[test]
fn an_update_is_made_as_a_whole_or_not_at_all() {
    let mut lab = Lab::new(|_| {});
    lab.register(5, &["Contact: <sip:a@h.example>"]);
    lab.events();
    for (sequence, lines, status) in [
        (
            6,
            &["Contact: <sip:b@h.example>, <sip:c@h.example>;expires=5"][..],
            423,
        ),
        (
            6,
            &["Contact: <sip:b@h.example>, <sip:c@h.example>;q=7"],
            400,
        ),
        (
            6,
            &["Contact: <sip:b@h.example>, <mailto:c@h.example>"],
            400,
        ),
        // The second contact was registered by this very number.
        (5, &["Contact: <sip:b@h.example>, <sip:a@h.example>"], 500),
        (4, &["Contact: <sip:a@h.example>;expires=0"], 500),
        (4, &["Contact: *", "Expires: 0"], 500),
    ] {
        assert_eq!(code(&lab.register(sequence, lines)), status, "{lines:?}");
        assert_eq!(lab.contacts(), ["sip:a@h.example"]);
    }
    assert!(lab.events().is_empty());
    // Another Call-ID begins anew: the device was restarted.
    let restarted = Sent {
        call: "another",
        more: "Contact: <sip:a@h.example>\r\n".into(),
        ..Sent::default()
    };
    assert_eq!(code(&lab.send(&restarted)), 200);
    assert_eq!(lab.events(), ["Refreshed sip:a@h.example"]);
}

#[test]
fn a_star_removes_all_and_is_not_to_be_abused() {
    let mut lab = Lab::new(|_| {});
    lab.register(1, &["Contact: <sip:a@h.example>, <sip:b@h.example>"]);
    lab.events();
    for lines in [
        &["Contact: *"][..],
        &["Contact: *", "Expires: 60"],
        &["Contact: *", "Contact: <sip:c@h.example>", "Expires: 0"],
        &["Contact: *, <sip:c@h.example>", "Expires: 0"],
        &["Contact: *;expires=0"],
        &["Contact: <*>", "Expires: 0"],
    ] {
        assert_eq!(code(&lab.register(2, lines)), 400, "{lines:?}");
    }
    assert_eq!(lab.registrar.len(), 2);
    // A stranger's star touches nobody else's bindings.
    let stranger = Sent {
        user: Some("6002"),
        sequence: 9,
        more: "Contact: *\r\nExpires: 0\r\n".into(),
        ..Sent::default()
    };
    assert_eq!(code(&lab.send(&stranger)), 403);
    assert_eq!(lab.registrar.len(), 2);
    assert_eq!(code(&lab.register(2, &["Contact: *", "Expires: 0"])), 200);
    assert_eq!(
        lab.events(),
        ["Removed sip:a@h.example", "Removed sip:b@h.example"]
    );
    assert!(lab.registrar.is_empty());
    // Where there is nothing, it is still granted.
    assert_eq!(code(&lab.register(3, &["Contact: *", "Expires: 0"])), 200);
}

#[test]
fn best_liked_first_and_of_those_the_newest() {
    let mut lab = Lab::new(|_| {});
    lab.register(
        1,
        &["Contact: <sip:a@h.example>;q=0.5, <sip:b@h.example>;q=0.9"],
    );
    lab.register(2, &["Contact: <sip:c@h.example>;q=0.9, <sip:d@h.example>"]);
    let order = ["d", "c", "b", "a"].map(|name| format!("sip:{name}@h.example"));
    assert_eq!(lab.contacts(), order);
    // The same URI by the rules of RFC 3261 §19.1.4 is the same binding.
    lab.register(3, &["Contact: <sip:%61@H.EXAMPLE>;q=0.001"]);
    assert_eq!(lab.registrar.len(), 4);
    assert_eq!(lab.contacts()[3], "sip:%61@H.EXAMPLE");
}

#[test]
fn only_ones_own_address_can_be_registered() {
    let mut lab = Lab::new(|_| {});
    let mut attempt = |user: Option<&str>, aor: &str, uri: &str| {
        let sent = Sent {
            user,
            aor,
            uri,
            more: "Contact: <sip:a@h.example>\r\n".into(),
            ..Sent::default()
        };
        let before = lab.registrar.len();
        let status = code(&lab.send(&sent));
        let changed = lab.registrar.len() != before;
        assert_eq!(changed, status == 200);
        lab = Lab::new(|_| {});
        status
    };
    for (user, aor, uri, status) in [
        (Some("6001"), "sip:6001@pbx.example", "sip:pbx.example", 200),
        (
            Some("6001"),
            "sip:6001@PBX.example.",
            "sip:192.0.2.1:5060",
            200,
        ),
        (
            Some("6001"),
            "sip:%36001@192.0.2.1:5070",
            "sip:pbx.example",
            200,
        ),
        (
            Some("6001@pbx.example"),
            "sip:6001@pbx.example",
            "sip:pbx.example",
            200,
        ),
        (Some("6002"), "sip:6001@pbx.example", "sip:pbx.example", 403),
        (
            Some("6001@evil.example"),
            "sip:6001@pbx.example",
            "sip:pbx.example",
            403,
        ),
        (Some(""), "sip:6001@pbx.example", "sip:pbx.example", 403),
        (
            Some("6001"),
            "sip:6001%40x@pbx.example",
            "sip:pbx.example",
            404,
        ),
        (
            Some("6001"),
            "sip:6001%00@pbx.example",
            "sip:pbx.example",
            404,
        ),
        (Some("a b"), "sip:A%20b@pbx.example", "sip:pbx.example", 403),
        (None, "sip:6001@pbx.example", "sip:pbx.example", 403),
        (
            Some("6001"),
            "sip:6001@evil.example",
            "sip:pbx.example",
            404,
        ),
        (
            Some("6001"),
            "sip:6001@pbx.example",
            "sip:evil.example",
            404,
        ),
        (Some("6001"), "sip:pbx.example", "sip:pbx.example", 404),
        (Some("6001"), "tel:6001", "sip:pbx.example", 404),
    ] {
        assert_eq!(attempt(user, aor, uri), status, "{user:?} {aor} {uri}");
    }
}

#[test]
fn contacts_that_would_harm_others_are_refused() {
    let mut lab = Lab::new(|_| {});
    for contact in [
        "<sip:a@0.0.0.0>",
        "<sip:a@[::]>",
        "<sip:a@224.0.0.1>",
        "<sip:a@255.255.255.255:0>",
        // Ourselves: calls would go round in circles.
        "<sip:a@192.0.2.1>",
        "<sip:a@192.0.2.1:5060;transport=udp>",
        // Header fields that the caller's INVITE would carry.
        "<sip:a@h.example?Replaces=x%3Bto-tag%3D1>",
        "<http://h.example/>",
        "<tel:+4930123>",
        "<sip:a@h.example",
        "sip:a@h.example\u{1}",
    ] {
        let reply = lab.register(1, &[&format!("Contact: {contact}")]);
        assert_eq!(code(&reply), 400, "{contact}");
    }
    let long = format!("Contact: <sip:{}@h.example>", "a".repeat(600));
    assert_eq!(code(&lab.register(1, &[&long])), 400);
    assert!(lab.registrar.is_empty());
}

#[test]
fn tables_are_bounded_by_address_by_source_and_in_all() {
    let mut lab = Lab::new(|config| {
        config.max_bindings_per_address = 2;
        config.max_bindings_per_source = 5;
        config.max_bindings = 8;
        config.policy = Arc::new(Anybody);
    });
    let mut attempt = |name: u32, device: u32, source: &str| {
        let aor = format!("sip:{name}@pbx.example");
        let sent = Sent {
            user: None,
            aor: &aor,
            call: &format!("{name}-{device}"),
            source,
            more: format!("Contact: <sip:{device}@h.example>\r\n"),
            ..Sent::default()
        };
        code(&lab.send(&sent))
    };
    let (one, other) = ("192.0.2.9:5060", "192.0.2.10:5060");
    assert_eq!([attempt(1, 1, one), attempt(1, 2, one)], [200, 200]);
    assert_eq!(attempt(1, 3, other), 503);
    assert_eq!([attempt(2, 1, one), attempt(3, 1, one)], [200, 200]);
    assert_eq!([attempt(4, 1, one), attempt(5, 1, one)], [200, 503]);
    // Others are served, until the table is full.
    assert_eq!([6, 7, 8].map(|name| attempt(name, 1, other)), [200; 3]);
    assert_eq!(attempt(9, 1, "192.0.2.11:5060"), 503);
    let many = "Contact: <sip:a@h.example>, <sip:b@h.example>, <sip:c@h.example>";
    assert_eq!(code(&lab.register(1, &[many])), 503);
    assert_eq!(lab.registrar.len(), 8);
    // Room is given back by expiry, to source and table alike.
    lab.wait(3600 * SECOND);
    assert!(lab.registrar.is_empty() && lab.registrar.sources.is_empty());
    assert_eq!(lab.registrar.counters().expired, 8);
}

#[test]
fn path_and_service_route_are_told() {
    let mut lab = Lab::new(|config| {
        config.service_route = vec!["sip:out.pbx.example;lr".parse().unwrap()];
    });
    let path = "Path: <sip:p1.example;lr>, <sip:p2.example;lr>";
    let contact = "Contact: <sip:a@h.example>";
    let reply = lab.register(1, &[path, contact]);
    assert!(values(&reply, Name::Path).is_empty());
    assert_eq!(
        values(&reply, Name::ServiceRoute),
        ["<sip:out.pbx.example;lr>"]
    );
    let reply = lab.register(2, &[path, contact, "Supported: path"]);
    assert_eq!(
        values(&reply, Name::Path),
        ["<sip:p1.example;lr>", "<sip:p2.example;lr>"]
    );
    let bindings = lab
        .registrar
        .bindings(lab.now, &"sip:6001@pbx.example".parse().unwrap());
    let route: Vec<_> = bindings[0].path().collect();
    assert_eq!(route, ["sip:p1.example;lr", "sip:p2.example;lr"]);
    let endless = "Path: <sip:p.example>\r\n".repeat(9);
    assert_eq!(code(&lab.register(3, &[contact, endless.trim_end()])), 400);
}

#[test]
fn a_device_has_a_binding_for_each_flow() {
    const DEVICE: &str = r#";+sip.instance="<urn:uuid:1>""#;
    let mut lab = Lab::new(|_| {});
    let send = |lab: &mut Lab, sequence, contact: &str, connection, vias: &str| {
        let more = format!("{vias}Contact: {contact}\r\nSupported: path, outbound\r\n");
        lab.send(&Sent {
            sequence,
            connection: Some(connection),
            more,
            ..Sent::default()
        })
    };
    let contact = |host: &str, reg_id: u32| format!("<sip:a@{host}>{DEVICE};reg-id={reg_id}");
    let reply = send(&mut lab, 1, &contact("10.0.0.1", 1), 1, "");
    assert_eq!(values(&reply, Name::Require), ["outbound"]);
    assert!(
        values(&reply, Name::Contact)[0].ends_with(r#";+sip.instance="<urn:uuid:1>";reg-id=1"#)
    );
    send(&mut lab, 2, &contact("10.0.0.1", 2), 2, "");
    // A new address on the same flow replaces the old one, whatever the Call-ID.
    send(&mut lab, 3, &contact("10.0.0.2", 1), 3, "");
    assert_eq!(lab.contacts(), ["sip:a@10.0.0.2", "sip:a@10.0.0.1"]);
    lab.events();
    // Its old connection means nothing any more; the new one is the binding's life.
    lab.registrar.handle_closed(ConnectionId(1));
    assert_eq!(lab.registrar.len(), 2);
    lab.registrar.handle_closed(ConnectionId(3));
    assert_eq!(lab.events(), ["FlowClosed sip:a@10.0.0.2"]);
    lab.registrar.handle_closed(ConnectionId(2));
    assert!(lab.registrar.is_empty() && lab.registrar.flows.is_empty());
    // A proxy in between has to have kept the flow, and say so.
    let via = "Via: SIP/2.0/UDP h.example;branch=z9hG4bK2\r\n";
    let reply = send(&mut lab, 4, &contact("10.0.0.1", 1), 1, via);
    assert_eq!(code(&reply), 439);
    let edge = format!("{via}Path: <sip:edge.example;lr;ob>\r\n");
    assert_eq!(
        code(&send(&mut lab, 5, &contact("10.0.0.1", 1), 1, &edge)),
        200
    );
}

#[test]
fn plain_bindings_outlive_their_connection() {
    let mut lab = Lab::new(|_| {});
    lab.send(&Sent {
        connection: Some(1),
        more: "Contact: <sip:a@192.0.2.9;transport=tcp>\r\n".into(),
        ..Sent::default()
    });
    lab.registrar.handle_closed(ConnectionId(1));
    assert_eq!(lab.registrar.len(), 1);
}

#[test]
fn refreshes_leave_the_queue_of_deadlines_short() {
    let mut lab = Lab::new(|_| {});
    for sequence in 1..10_000 {
        lab.register(sequence, &["Contact: <sip:a@h.example>;expires=600"]);
        lab.now += SECOND;
    }
    assert!(
        lab.registrar.deadlines.len() < 2,
        "{}",
        lab.registrar.deadlines.len()
    );
    assert_eq!(lab.registrar.counters().expired, 0);
}

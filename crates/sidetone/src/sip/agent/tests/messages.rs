//! Messages outside of calls, both ways (RFC 3428).

use super::*;
use crate::sip::agent::command::{CommandError, MessageId, SendMessage};
use crate::sip::auth::client::Account;
use crate::sip::auth::server::VerifierConfig;
use crate::sip::method::Method;
use crate::sip::transport::access::{AccessList, Admission};

const SECOND: Duration = Duration::from_secs(1);

fn text(body: &str) -> Body {
    Body {
        content_type: "text/plain".into(),
        bytes: body.to_owned().into(),
    }
}

fn message(target: &str, body: Body) -> SendMessage {
    let from: Uri = "sip:alice@192.0.2.1".parse().unwrap();
    SendMessage::new(target.parse().unwrap(), NameAddr::new(&from), body)
}

fn send(net: &mut Net, command: SendMessage) -> Result<MessageId, CommandError> {
    let now = net.now;
    let sent = net.agent(0).send_message(now, command);
    net.collect();
    sent
}

/// Takes every message, those that say "later" for later.
fn reading(agent: &mut Agent, now: Instant, event: &Event) {
    if let Event::Message {
        ticket, request, ..
    } = event
    {
        let status = match &request.body()[..] {
            b"later" => StatusCode::ACCEPTED,
            b"never" => return,
            _ => StatusCode::OK,
        };
        agent
            .answer_message(now, *ticket, status, Headers::new())
            .unwrap();
        let again = agent.answer_message(now, *ticket, status, Headers::new());
        assert_eq!(again, Err(CommandError::WrongState));
    }
}

fn results(net: &mut Net) -> Vec<String> {
    let events = std::mem::take(&mut net.nodes[0].events);
    events.iter().map(name).collect()
}

#[test]
fn a_message_is_taken_at_once_or_for_later_or_not() {
    let mut net = Net::pair(1, reading);
    for (body, wanted) in [
        ("hello", "message 200"),
        ("later", "message 202"),
        ("never", "message 480"),
    ] {
        send(&mut net, message("sip:bob@192.0.2.2", text(body))).unwrap();
        net.run(12 * SECOND);
        assert_eq!(results(&mut net), [wanted]);
    }
    let Some(Event::Message { request, .. }) = net.nodes[1].events.first() else {
        panic!("{:?}", net.events(1));
    };
    assert_eq!(&request.body()[..], b"hello");
    assert!(request.content_type().unwrap().unwrap().is("text", "plain"));
    // It makes no dialog: no Contact, and nothing is left.
    assert!(request.contacts().next().is_none());
    net.settle();
    assert!(net.agent(1).inbox.is_empty());
    assert!(net.agent(0).errands.is_empty());
}

#[test]
fn a_message_is_told_once_however_bad_the_network() {
    for seed in 0..30 {
        let mut net = Net::pair(seed, reading);
        net.weather.loss = 0.25;
        net.weather.duplication = 0.2;
        net.weather.jitter = Duration::from_millis(300);
        for number in 0..20 {
            send(
                &mut net,
                message("sip:bob@192.0.2.2", text(&number.to_string())),
            )
            .unwrap();
        }
        net.run(60 * SECOND);
        let told = net.nodes[1].events.len();
        let done = results(&mut net);
        assert_eq!(done.len(), 20, "seed {seed}");
        let taken = done.iter().filter(|it| *it == "message 200").count();
        assert!(taken <= told && told <= 20, "seed {seed}: {taken} {told}");
        assert!(taken >= 18, "seed {seed}: {done:?}");
        net.settle();
    }
}

#[test]
fn a_large_message_needs_a_way_that_controls_congestion() {
    let mut net = Net::pair(2, reading);
    let large = || text(&"x".repeat(1_300));
    let refused = send(&mut net, message("sip:bob@192.0.2.2", large()));
    assert_eq!(refused, Err(CommandError::TooLarge));
    // That the first hop is one does not say that all are.
    let over_tcp = || message("sip:bob@192.0.2.2;transport=tcp", large());
    assert_eq!(send(&mut net, over_tcp()), Err(CommandError::TooLarge));
    let mut known = over_tcp();
    known.congestion_safe = true;
    send(&mut net, known).unwrap();
    let mut by_udp = message("sip:bob@192.0.2.2", large());
    by_udp.congestion_safe = true;
    assert_eq!(send(&mut net, by_udp), Err(CommandError::TooLarge));
    net.run(SECOND);
    assert_eq!(results(&mut net), ["message 200"]);
    let small = text(&"x".repeat(700));
    send(&mut net, message("sip:bob@192.0.2.2", small)).unwrap();
    net.run(SECOND);
    assert_eq!(results(&mut net), ["message 200"]);
}

#[test]
fn types_that_nobody_reads_get_415() {
    let mut net = Net::pair(3, reading);
    let odd = Body {
        content_type: "text/html".into(),
        bytes: "<b>".into(),
    };
    send(&mut net, message("sip:bob@192.0.2.2", odd)).unwrap();
    net.run(SECOND);
    let Some(Event::MessageDone {
        result: Ok(response),
        ..
    }) = net.nodes[0].events.first()
    else {
        panic!("{:?}", net.events(0));
    };
    assert_eq!(response.status(), Some(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    assert!(response.accept().any(|it| it.unwrap().is("text", "plain")));
    assert!(net.nodes[1].events.is_empty());
}

#[test]
fn strangers_have_to_sign_in_where_callers_have_to() {
    let mut net = Net::new(4);
    net.add("192.0.2.1:5060", ignore, |_| {});
    net.add("192.0.2.2:5060", reading, |config| {
        config.authentication = Some(VerifierConfig::new("r"));
        for listener in &mut config.listeners {
            listener.access = AccessList::all(Admission::Authenticate);
        }
    });
    send(&mut net, message("sip:bob@192.0.2.2", text("hello"))).unwrap();
    net.run(SECOND);
    assert_eq!(results(&mut net), ["message 401"]);
    assert!(net.nodes[1].events.is_empty());
    for (password, wanted) in [("guess", "message 401"), ("wonder", "message 200")] {
        let mut signed = message("sip:bob@192.0.2.2", text("hello"));
        signed.account = Some(Account::new("r", "alice", Secret::password(password)));
        send(&mut net, signed).unwrap();
        net.run(SECOND);
        assert_eq!(results(&mut net), [wanted]);
    }
    let Some(Event::Message { user, .. }) = net.nodes[1].events.first() else {
        panic!("{:?}", net.events(1));
    };
    assert_eq!(user.as_deref(), Some("alice"));
}

#[test]
fn those_that_wait_are_bounded_by_source_and_in_all() {
    let mut net = Net::new(5);
    net.add("192.0.2.2:5060", ignore, |config| {
        config.max_messages = (3, 2)
    });
    let from = |source: &str, number: u32| {
        format!(
            "MESSAGE sip:bob@192.0.2.2 SIP/2.0\nVia: SIP/2.0/UDP {source};branch=z9hG4bK{number}\n\
             Max-Forwards: 70\nFrom: <sip:x@x.example>;tag=1\nTo: <sip:bob@192.0.2.2>\n\
             Call-ID: {number}\nCSeq: 1 MESSAGE\nContent-Type: text/plain\nContent-Length: 1\n\nx"
        )
    };
    let wanted = [("1", 0), ("1", 0), ("1", 1), ("2", 1), ("3", 2)];
    for (number, (host, refused)) in wanted.into_iter().enumerate() {
        let source = format!("198.51.100.{host}:5060");
        net.inject(&source, 0, &from(&source, number as u32));
        assert_eq!(net.agent(0).counters().refused_full, refused, "{number}");
    }
    net.run(40 * SECOND);
    assert!(net.agent(0).inbox.is_empty());
    assert_eq!(net.raw_text().matches("SIP/2.0 480").count(), 3);
}

#[test]
fn a_message_within_a_call_goes_with_the_call() {
    fn taking(agent: &mut Agent, now: Instant, event: &Event) {
        answering(agent, now, event);
        if let Event::Request {
            session, ticket, ..
        } = event
        {
            agent
                .reply(now, *session, *ticket, StatusCode::OK, Headers::new(), None)
                .unwrap();
        }
    }
    let mut net = Net::pair(6, taking);
    let session = net.call(0, 1, Some(OFFER));
    net.run(SECOND);
    let now = net.now;
    net.agent(0)
        .request(
            now,
            session,
            Method::Message,
            Headers::new(),
            Some(text("hi")),
        )
        .unwrap();
    net.run(SECOND);
    assert!(net.events(1).contains(&"asked MESSAGE".to_owned()));
    assert!(net.events(0).contains(&"request 200".to_owned()));
    net.agent(0).drain();
    let late = send(&mut net, message("sip:bob@192.0.2.2", text("x")));
    assert_eq!(late, Err(CommandError::Draining));
}

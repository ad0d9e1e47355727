//! Whole calls on a fair network: set-up, refusal, CANCEL, ends.

use super::*;
use crate::sip::agent::command::{CommandError, Options};
use crate::sip::agent::event::Failure;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_basic_call() {
    let mut net = Net::pair(1, answering);
    let session = net.call(0, 1, Some(OFFER));
    net.run(SECOND);
    assert_eq!(net.events(0), ["180", "answered false"]);
    assert_eq!(net.events(1), ["incoming", "acked 0"]);
    let now = net.now;
    net.agent(0).bye(now, session, Headers::new()).unwrap();
    net.settle();
    assert_eq!(net.sent(0), ["INVITE 1 +", "ACK 1", "BYE 2"]);
    assert_eq!(
        net.sent(1),
        [
            "100 INVITE 1",
            "180 INVITE 1",
            "200 INVITE 1 +",
            "200 BYE 2"
        ]
    );
    assert_eq!(net.events(0).last().unwrap(), "ended local bye");
    assert_eq!(net.events(1).last().unwrap(), "ended remote bye");
}

#[test]
fn the_callee_hangs_up_with_a_reason() {
    let mut net = Net::pair(1, answering);
    net.call(0, 1, Some(OFFER));
    net.run(SECOND);
    let (now, session) = (net.now, net.session_of(1));
    let reason = vec![("Reason".into(), "Q.850;cause=16;text=\"Normal\"".into())];
    net.agent(1).bye(now, session, reason).unwrap();
    net.settle();
    let Some(Event::Ended {
        cause: Cause::RemoteBye { request },
        ..
    }) = net.nodes[0].events.last()
    else {
        panic!("{:?}", net.events(0));
    };
    let reason = request.reasons().next().unwrap().unwrap();
    assert_eq!((reason.protocol(), reason.cause()), ("Q.850", Some(16)));
}

#[test]
fn early_media_then_answer() {
    let mut net = Net::pair(1, ignore);
    net.call(0, 1, Some(OFFER));
    net.run(SECOND);
    let (now, session) = (net.now, net.session_of(1));
    let progress = StatusCode::SESSION_PROGRESS;
    net.agent(1)
        .ring(
            now,
            session,
            progress,
            Headers::new(),
            Some(Body::sdp(ANSWER)),
        )
        .unwrap();
    net.run(SECOND);
    let Some(Event::Provisional { response, .. }) = net.nodes[0].events.last() else {
        panic!()
    };
    assert_eq!(&response.body()[..], ANSWER.as_bytes());
    let now = net.now;
    net.agent(1)
        .answer(now, session, Headers::new(), Some(Body::sdp(ANSWER)))
        .unwrap();
    net.run(SECOND);
    assert_eq!(net.events(0), ["183", "answered false"]);
    let now = net.now;
    net.agent(1).hang_up(now, session, Headers::new()).unwrap();
    net.settle();
}

#[test]
fn busy() {
    let mut net = Net::pair(1, rejecting);
    net.call(0, 1, Some(OFFER));
    net.settle();
    assert_eq!(net.sent(0), ["INVITE 1 +", "ACK 1"]);
    assert_eq!(net.sent(1), ["100 INVITE 1", "486 INVITE 1"]);
    assert_eq!(net.events(0), ["ended rejected 486"]);
    assert_eq!(net.events(1), ["incoming", "ended local reject 486"]);
}

#[test]
fn cancel_while_ringing() {
    let mut net = Net::pair(1, ignore);
    let session = net.call(0, 1, Some(OFFER));
    net.run(SECOND);
    let now = net.now;
    let reason = vec![(
        "Reason".into(),
        "SIP;cause=200;text=\"Call completed elsewhere\"".into(),
    )];
    net.agent(0).cancel(now, session, reason).unwrap();
    assert_eq!(
        net.agent(0).bye(now, session, vec![]),
        Err(CommandError::NoSuchSession)
    );
    net.settle();
    assert_eq!(net.sent(0), ["INVITE 1 +", "CANCEL 1", "ACK 1"]);
    assert_eq!(
        net.sent(1),
        ["100 INVITE 1", "200 CANCEL 1", "487 INVITE 1"]
    );
    assert_eq!(net.events(0), ["ended local cancel"]);
    let Some(Event::Ended {
        cause: Cause::RemoteCancel { request },
        ..
    }) = net.nodes[1].events.last()
    else {
        panic!("{:?}", net.events(1));
    };
    assert_eq!(
        request.reasons().next().unwrap().unwrap().cause(),
        Some(200)
    );
}

#[test]
fn cancel_before_any_provisional_waits_for_one() {
    let mut net = Net::pair(1, ignore);
    let session = net.call(0, 1, Some(OFFER));
    let now = net.now;
    net.agent(0).cancel(now, session, Headers::new()).unwrap();
    net.settle();
    assert_eq!(net.sent(0), ["INVITE 1 +", "CANCEL 1", "ACK 1"]);
}

#[test]
fn cancel_that_crosses_the_answer_is_followed_by_bye() {
    let mut net = Net::pair(1, ignore);
    let session = net.call(0, 1, Some(OFFER));
    net.run(SECOND);
    let (now, callee) = (net.now, net.session_of(1));
    net.agent(0).cancel(now, session, Headers::new()).unwrap();
    net.agent(1)
        .answer(now, callee, Headers::new(), Some(Body::sdp(ANSWER)))
        .unwrap();
    net.settle();
    assert_eq!(net.sent(0), ["INVITE 1 +", "CANCEL 1", "ACK 1", "BYE 2"]);
    assert_eq!(net.events(0), ["ended local cancel"]);
    assert_eq!(net.events(1), ["incoming", "acked 0", "ended remote bye"]);
}

#[test]
fn an_answered_call_is_hung_up_not_cancelled() {
    let mut net = Net::pair(1, answering);
    net.weather.delay = Duration::from_millis(100);
    let session = net.call(0, 1, Some(OFFER));
    net.run(Duration::from_millis(250));
    assert_eq!(net.events(0), ["180", "answered false"]);
    let now = net.now;
    assert_eq!(
        net.agent(0).cancel(now, session, vec![]),
        Err(CommandError::WrongState)
    );
    net.agent(0).hang_up(now, session, Headers::new()).unwrap();
    net.settle();
}

#[test]
fn hanging_up_before_the_ack_waits_for_it() {
    let mut net = Net::pair(1, |agent, now, event| {
        answering(agent, now, event);
        if let Event::Incoming { session, .. } = event {
            agent.bye(now, *session, Headers::new()).unwrap();
        }
    });
    net.call(0, 1, Some(OFFER));
    net.settle();
    let sent = net.sent(1);
    assert_eq!(
        sent[..3],
        ["100 INVITE 1", "180 INVITE 1", "200 INVITE 1 +"]
    );
    assert!(sent[3].starts_with("BYE") && sent.len() == 4, "{sent:?}");
    assert_eq!(net.events(1), ["incoming", "ended local bye"]);
}

#[test]
fn both_hang_up_at_once() {
    let mut net = Net::pair(1, answering);
    let session = net.call(0, 1, Some(OFFER));
    net.run(SECOND);
    let (now, other) = (net.now, net.session_of(1));
    net.agent(0).bye(now, session, Headers::new()).unwrap();
    net.agent(1).bye(now, other, Headers::new()).unwrap();
    net.settle();
    assert_eq!(net.events(0).last().unwrap(), "ended local bye");
    assert_eq!(net.events(1).last().unwrap(), "ended local bye");
    assert!(net.sent(0).last().unwrap().starts_with("200 BYE"));
}

#[test]
fn nobody_there() {
    let mut net = Net::pair(1, ignore);
    net.call_with(0, 1, "", |invite| {
        invite.target = "sip:192.0.2.99".parse().unwrap()
    });
    net.run(Duration::from_secs(33));
    assert_eq!(net.events(0), ["ended failed: no response in time"]);
    assert_eq!(
        net.sent(0).len(),
        7,
        "the request and six repetitions, RFC 3261 §17.1.1.2"
    );
    net.settle();
}

#[test]
fn ringing_has_an_end() {
    let mut net = Net::pair(1, ignore);
    net.call_with(0, 1, "", |invite| {
        invite.ring_timeout = Some(Duration::from_secs(20))
    });
    net.settle();
    assert_eq!(net.events(0), ["ended no answer"]);
    assert_eq!(net.events(1), ["incoming", "ended remote cancel"]);
}

#[test]
fn a_cancel_without_effect_ends_all_the_same() {
    let mut net = Net::pair(1, ignore);
    net.call_with(0, 1, "", |invite| {
        invite.ring_timeout = Some(Duration::from_secs(20))
    });
    net.run(SECOND);
    net.drop_if = Some(|_| true);
    net.run(Duration::from_secs(60));
    assert_eq!(net.events(0), ["ended no answer"]);
    assert!(net.agent(0).is_idle());
    net.settle();
    assert_eq!(net.events(1).last().unwrap(), "ended no answer");
}

#[test]
fn an_undecided_call_is_rejected_and_a_long_ring_is_repeated() {
    let mut net = Net::pair(1, |agent, now, event| {
        if let Event::Incoming { session, .. } = event {
            agent
                .ring(now, *session, StatusCode::RINGING, Headers::new(), None)
                .unwrap();
        }
    });
    net.call_with(0, 1, "", |invite| {
        invite.ring_timeout = Some(Duration::from_secs(1000))
    });
    net.settle();
    let rings = net
        .sent(1)
        .iter()
        .filter(|line| line.starts_with("180"))
        .count();
    assert_eq!(rings, 5, "at 0, 60, 120, 180 and 240 s");
    assert_eq!(net.events(1), ["incoming", "ended no answer"]);
    assert_eq!(net.events(0).last().unwrap(), "ended rejected 480");
}

#[test]
fn an_expired_invitation_gets_487() {
    let mut net = Net::pair(1, ignore);
    net.call_with(0, 1, "", |invite| {
        invite.headers = vec![("Expires".into(), "10".into())]
    });
    net.settle();
    assert_eq!(net.events(0), ["ended rejected 487"]);
    assert_eq!(net.events(1), ["incoming", "ended no answer"]);
}

#[test]
fn delayed_offer() {
    let mut net = Net::pair(1, answering);
    let session = net.call(0, 1, None);
    net.run(SECOND);
    assert_eq!(net.events(0), ["180", "answered true"]);
    assert_eq!(
        net.events(1),
        ["incoming", format!("acked {}", ANSWER.len()).as_str()]
    );
    assert_eq!(net.sent(0), ["INVITE 1", "ACK 1 +"]);
    let now = net.now;
    net.agent(0).bye(now, session, Headers::new()).unwrap();
    net.settle();
}

#[test]
fn a_delayed_offer_that_is_not_wanted_is_acknowledged_and_hung_up() {
    let mut net = Net::pair(1, answering);
    net.nodes[0].policy = |agent, now, event| {
        if let Event::Answered {
            session,
            acknowledge: true,
            ..
        } = event
        {
            agent.bye(now, *session, Headers::new()).unwrap();
        }
    };
    net.call(0, 1, None);
    net.settle();
    assert_eq!(net.sent(0), ["INVITE 1", "ACK 1", "BYE 2"]);
    assert_eq!(net.events(1), ["incoming", "acked 0", "ended remote bye"]);
}

#[test]
fn over_ipv6() {
    let mut net = Net::new(1);
    net.add("[2001:db8::1]:5060", ignore, |_| {});
    net.add("[2001:db8::2]:5070", answering, |_| {});
    let session = net.call(0, 1, Some(OFFER));
    net.run(SECOND);
    let now = net.now;
    net.agent(0).bye(now, session, Headers::new()).unwrap();
    net.settle();
    assert_eq!(net.events(1), ["incoming", "acked 0", "ended remote bye"]);
}

#[test]
fn names_are_looked_up_once_a_session() {
    let mut net = Net::pair(1, answering);
    let session = net.call_with(0, 1, "", |invite| {
        invite.target = "sip:bob@pbx.example".parse().unwrap();
    });
    net.run(SECOND);
    assert_eq!(net.events(0), ["180", "answered true"]);
    let now = net.now;
    net.agent(0).bye(now, session, Headers::new()).unwrap();
    net.settle();
    assert_eq!(net.events(1).last().unwrap(), "ended remote bye");
}

#[test]
fn names_without_address_end_the_session() {
    for (host, wait) in [("nowhere.example", 0), ("silent.example", 11)] {
        let mut net = Net::pair(1, answering);
        net.call_with(0, 1, "", |invite| {
            invite.target = format!("sip:bob@{host}").parse().unwrap();
        });
        net.run(Duration::from_secs(wait));
        assert_eq!(net.events(0), ["ended failed: name not resolved"], "{host}");
        net.settle();
    }
}

#[test]
fn a_call_cancelled_during_the_look_up_never_goes_out() {
    let mut net = Net::pair(1, answering);
    let session = net.call_with(0, 1, "", |invite| {
        invite.target = "sip:bob@silent.example".parse().unwrap();
    });
    net.run(SECOND);
    let now = net.now;
    net.agent(0).cancel(now, session, Headers::new()).unwrap();
    assert!(net.agent(0).is_idle());
    net.settle();
    assert!(net.sent(0).is_empty());
}

#[test]
fn options_both_ways() {
    let mut net = Net::pair(1, ignore);
    let target: Uri = "sip:192.0.2.2".parse().unwrap();
    let from = NameAddr::new(&"sip:a@192.0.2.1".parse().unwrap());
    let now = net.now;
    net.agent(0)
        .options(now, Options::new(target, from.clone()))
        .unwrap();
    net.run(SECOND);
    assert_eq!(net.events(0), ["options 200"]);
    let Some(Event::OptionsDone {
        result: Ok(response),
        ..
    }) = net.nodes[0].events.last()
    else {
        panic!()
    };
    let allow: Vec<_> = response.allow().collect();
    assert_eq!(
        allow,
        AgentConfig::default()
            .allow()
            .split(", ")
            .collect::<Vec<_>>()
    );
    let nobody: Uri = "sip:192.0.2.77".parse().unwrap();
    let now = net.now;
    net.agent(0)
        .options(now, Options::new(nobody, from))
        .unwrap();
    net.settle();
    assert_eq!(net.events(0)[1], "options no response in time");
}

#[test]
fn a_socket_that_refuses_ends_the_call() {
    let mut net = Net::pair(1, ignore);
    net.call(0, 1, None);
    let now = net.now;
    let transmit = net.agent(0).poll_transmit().unwrap();
    net.agent(0).handle_send_failed(now, transmit.token);
    net.collect();
    let Some(Event::Ended {
        cause: Cause::Failed(failure),
        ..
    }) = net.nodes[0].events.last()
    else {
        panic!("{:?}", net.events(0));
    };
    assert_eq!(*failure, Failure::Transport);
    net.settle();
}

#[test]
fn what_a_user_gives_is_checked() {
    let mut net = Net::pair(1, ignore);
    let session = net.call(0, 1, None);
    let now = net.now;
    let agent = net.agent(0);
    for (name, value) in [
        ("X", "a\r\nVia: b"),
        ("Via", "x"),
        ("v", "x"),
        ("no token", "x"),
        ("Call-ID", "x"),
    ] {
        let headers = vec![(name.to_owned(), value.to_owned())];
        let result = agent.cancel(now, session, headers);
        assert_eq!(result, Err(CommandError::Header(name.into())), "{name}");
    }
    for target in [
        "sips:a@192.0.2.1",
        "tel:1",
        "sip:a@192.0.2.1;transport=sctp",
    ] {
        let invite = Invite::new(
            target.parse().unwrap(),
            NameAddr::new(&"sip:a@192.0.2.1".parse().unwrap()),
        );
        assert_eq!(
            agent.invite(now, invite),
            Err(CommandError::Unroutable),
            "{target}"
        );
    }
    agent.cancel(now, session, Headers::new()).unwrap();
    net.settle();
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = || {
        let mut net = Net::pair(7, answering);
        net.weather.loss = 0.2;
        let session = net.call(0, 1, Some(OFFER));
        net.run(Duration::from_secs(40));
        let now = net.now;
        let _ = net.agent(0).hang_up(now, session, Headers::new());
        net.settle();
        (net.log.clone(), net.datagrams)
    };
    assert_eq!(run(), run());
}

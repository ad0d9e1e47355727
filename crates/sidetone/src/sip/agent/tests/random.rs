//! Random commands on a bad network: whatever happens, every session ends exactly once and nothing
//! is left behind.

use super::*;
use crate::sip::agent::command::TicketId;
use crate::sip::agent::config::ReliableProvisional;
use crate::sip::header::session_id::SessionUuid;
use crate::sip::method::Method;

/// The sessions of a node that have not ended.
fn open(net: &Net, node: usize) -> Vec<SessionId> {
    let node = &net.nodes[node];
    let sessions = node
        .agent
        .sessions
        .iter()
        .filter(|(_, session)| !session.ended);
    let mut ids: Vec<_> = sessions.map(|(id, _)| *id).collect();
    ids.sort_unstable();
    ids
}

/// A request of the peer that waits for this session's answer.
fn ticket(net: &Net, node: usize, id: SessionId) -> Option<TicketId> {
    let session = net.nodes[node].agent.sessions.get(&id)?;
    session.asked.first().map(|asked| asked.ticket)
}

fn act(net: &mut Net) {
    let node = net.rng.below(2) as usize;
    let choice = net.rng.below(44);
    if choice < 2 {
        let params = if net.rng.below(3) == 0 {
            ";transport=tcp"
        } else {
            ""
        };
        let body = (net.rng.below(4) > 0).then_some(OFFER);
        net.call_with(node, 1 - node, params, |invite| {
            invite.body = body.map(Body::sdp)
        });
        return;
    }
    let sessions = open(net, node);
    if sessions.is_empty() {
        return;
    }
    let id = sessions[net.rng.below(sessions.len() as u64) as usize];
    let now = net.now;
    let body = (net.rng.below(4) > 0).then(|| Body::sdp(ANSWER));
    let none = Headers::new;
    let elsewhere = NameAddr::parse("<sip:c@192.0.2.3>").unwrap();
    let refer = vec![("Refer-To".to_owned(), "<sip:c@192.0.2.3>".to_owned())];
    let news = vec![
        ("Event".to_owned(), "refer".to_owned()),
        ("Subscription-State".to_owned(), "active".to_owned()),
    ];
    let uuid = SessionUuid::random(&mut net.rng);
    let ticket = ticket(net, node, id);
    let agent = net.agent(node);
    // A command that does not fit the state is refused and changes nothing.
    let _ = match choice {
        2 => agent.ring(now, id, StatusCode::RINGING, none(), body),
        3..=7 => agent.answer(now, id, none(), body),
        8 => agent.reject(now, id, StatusCode::BUSY_HERE, none()),
        9 => agent.cancel(now, id, none()),
        10 => agent.bye(now, id, none()),
        11..=17 => agent.reinvite(now, id, none(), body),
        18 | 19 => agent.info(now, id, none(), body),
        20..=26 => agent.acknowledge(now, id, none(), body),
        27 => agent.redirect(now, id, StatusCode::MOVED_TEMPORARILY, &[elsewhere], none()),
        28..=30 => agent.ring(now, id, StatusCode::SESSION_PROGRESS, none(), body),
        31..=33 => agent
            .request(now, id, Method::Update, none(), body)
            .map(drop),
        34 => agent.request(now, id, Method::Refer, refer, None).map(drop),
        35 => agent.request(now, id, Method::Notify, news, None).map(drop),
        36 => agent.set_session_uuid(id, uuid),
        37..=42 => match ticket {
            Some(ticket) => agent.reply(now, id, ticket, StatusCode::OK, none(), body),
            None => Ok(()),
        },
        _ => agent.hang_up(now, id, none()),
    };
}

fn run(seed: u64) -> Vec<String> {
    let mut net = Net::new(seed);
    net.add("192.0.2.1:5060", ignore, |_| {});
    net.add("192.0.2.2:5060", ignore, |config| {
        config.reliable_provisional = ReliableProvisional::Always;
    });
    net.weather = Weather {
        delay: Duration::from_millis(1 + net.rng.below(100)),
        jitter: Duration::from_millis(net.rng.below(400)),
        loss: net.rng.next_f64() * 0.4,
        duplication: net.rng.next_f64() * 0.3,
    };
    for _ in 0..40 {
        act(&mut net);
        let pause = match net.rng.below(4) {
            0 => 0,
            1 => net.rng.below(100),
            2 => net.rng.below(2_000),
            _ => net.rng.below(10_000),
        };
        net.run(Duration::from_millis(pause));
        if net.rng.below(40) == 0
            && let Some((index, connection)) = net.wires.keys().next().copied()
        {
            net.cut(index, connection);
            let now = net.now;
            net.agent(index).handle_closed(now, connection);
        }
    }
    for node in 0..2 {
        for id in open(&net, node) {
            let now = net.now;
            let _ = net.agent(node).hang_up(now, id, Headers::new());
        }
    }
    net.settle();
    for node in &net.nodes {
        let mut last: BTreeMap<SessionId, bool> = BTreeMap::new();
        for event in &node.events {
            let (Some(session), ended) = (session_of(event), matches!(event, Event::Ended { .. }))
            else {
                continue;
            };
            let before = last.insert(session, ended);
            assert_ne!(before, Some(true), "an event after the end: {event:?}");
        }
    }
    [0, 1].iter().flat_map(|node| net.events(*node)).collect()
}

fn session_of(event: &Event) -> Option<SessionId> {
    match event {
        Event::Incoming { session, .. }
        | Event::Provisional { session, .. }
        | Event::Answered { session, .. }
        | Event::Acked { session, .. }
        | Event::Reinvite { session, .. }
        | Event::ReinviteCancelled { session }
        | Event::ReinviteAnswered { session, .. }
        | Event::ReinviteFailed { session, .. }
        | Event::Info { session, .. }
        | Event::InfoAnswered { session, .. }
        | Event::Ended { session, .. } => Some(*session),
        Event::RefreshDue { session }
        | Event::ProvisionalAcked { session, .. }
        | Event::Request { session, .. }
        | Event::RequestAnswered { session, .. } => Some(*session),
        _ => None,
    }
}

#[test]
fn whatever_happens_every_session_ends_once() {
    let mut seen = BTreeMap::new();
    for seed in 0..2_000 {
        let events = std::panic::catch_unwind(|| run(seed));
        let Ok(events) = events else {
            panic!("seed {seed}")
        };
        for event in events {
            *seen.entry(event).or_insert(0) += 1;
        }
    }
    for rare in [
        "ended failed: transport error",
        "ended no ack",
        "ended dialog lost",
        "ended remote cancel",
        "reinvite answered true",
        "reinvite cancelled",
        "reinvite failed 491",
        "info 200",
        "ended rejected 302",
        "asked UPDATE",
        "asked REFER",
        "asked NOTIFY",
        "pracked true",
        "pracked false",
        "request 200",
        "request 491",
        "request 603",
    ] {
        assert!(
            seen.get(rare).is_some_and(|count| *count > 3),
            "{rare} not met: {seen:#?}"
        );
    }
}

//! Our own registrations: signed in, refreshed, tried again, taken back.

use super::*;
use crate::sip::agent::registration::{Register, RegistrationId, RegistrationState};
use crate::sip::auth::client::Account;
use crate::sip::auth::server::VerifierConfig;
use crate::sip::registrar::config::RegistrarConfig;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn strict(config: &mut AgentConfig) {
    config.authentication = Some(VerifierConfig::new("r"));
    let mut registrar = RegistrarConfig::new("192.0.2.2");
    registrar.min_expires = 300;
    registrar.default_expires = 300;
    registrar.max_expires = 600;
    registrar.service_route = vec!["sip:out.example;lr".parse().unwrap()];
    config.registrar = Some(registrar);
}

/// A telephone (0) and a registrar (1).
fn net() -> Net {
    let mut net = Net::new(8);
    net.add("192.0.2.1:5060", ignore, |_| {});
    net.add("192.0.2.2:5060", ignore, strict);
    net
}

fn register(net: &mut Net, password: &str, change: impl FnOnce(&mut Register)) -> RegistrationId {
    let mut register = Register::new("sip:alice@192.0.2.2".parse().unwrap());
    register.account = Some(Account::new("r", "alice", Secret::password(password)));
    change(&mut register);
    let now = net.now;
    let id = net.agent(0).register(now, register).unwrap();
    net.collect();
    id
}

fn states(net: &mut Net) -> Vec<RegistrationState> {
    let events = std::mem::take(&mut net.nodes[0].events).into_iter();
    let states = events.filter_map(|event| match event {
        Event::Registration { state, .. } => Some(state),
        _ => None,
    });
    states.collect()
}

#[test]
fn a_registration_is_kept_for_hours_and_taken_back() {
    for uri in ["sip:192.0.2.2", "sip:192.0.2.2;transport=tcp"] {
        let mut net = net();
        let id = register(&mut net, "wonder", |register| {
            register.registrars = vec![uri.parse().unwrap()];
        });
        net.run(SECOND);
        assert_eq!(net.agent(1).registered(), 1);
        let first = states(&mut net);
        assert_eq!(first[0], RegistrationState::Registering);
        let RegistrationState::Registered {
            until,
            service_route,
        } = &first[1]
        else {
            panic!("{first:?}");
        };
        assert!(*until > net.now + 598 * SECOND && *until < net.now + 601 * SECOND);
        assert_eq!(service_route[0].as_str(), "sip:out.example;lr");
        net.run(10 * 60 * MINUTE);
        let counters = net.agent(1).registrar_counters();
        assert_eq!((counters.expired, counters.registered), (0, 1));
        // Ten minutes each, refreshed after 80 to 90 % of them.
        assert!((66..=76).contains(&counters.refreshed), "{counters:?}");
        let now = net.now;
        net.agent(0).unregister(now, id);
        net.collect();
        net.run(SECOND);
        assert_eq!(net.agent(1).registered(), 0);
        assert_eq!(
            states(&mut net).last(),
            Some(&RegistrationState::Unregistered)
        );
    }
}

#[test]
fn a_longer_time_is_asked_for_where_the_registrar_wants_it() {
    let mut net = net();
    register(&mut net, "wonder", |register| register.expires = 60);
    net.run(SECOND);
    assert_eq!(net.agent(1).registrar_counters().refused_invalid, 1);
    assert_eq!(net.agent(1).registered(), 1);
}

#[test]
fn a_wrong_password_is_tried_with_growing_pauses() {
    let mut net = net();
    register(&mut net, "guess", |_| {});
    net.run(2 * 60 * MINUTE);
    assert_eq!(net.agent(1).registered(), 0);
    let failed = states(&mut net);
    let refused = |state: &RegistrationState| {
        matches!(
            state,
            RegistrationState::Failed {
                status: Some(StatusCode::UNAUTHORIZED),
                ..
            }
        )
    };
    assert!(failed[1..].iter().all(refused), "{failed:?}");
    // 30 s, doubled up to half an hour, of which 50 to 100 % are waited.
    assert!((7..=13).contains(&failed.len()), "{}", failed.len());
}

#[test]
fn a_backup_is_asked_where_the_first_registrar_is_silent() {
    let mut net = net();
    register(&mut net, "wonder", |register| {
        register.registrars = vec![
            "sip:192.0.2.77".parse().unwrap(),
            "sip:192.0.2.2".parse().unwrap(),
        ];
    });
    net.run(MINUTE);
    assert_eq!(net.agent(1).registered(), 1);
    assert!(matches!(
        states(&mut net)[..],
        [_, RegistrationState::Registered { .. }]
    ));
}

#[test]
fn silence_is_told_and_tried_again() {
    let mut net = net();
    register(&mut net, "wonder", |register| {
        register.registrars = vec!["sip:192.0.2.77".parse().unwrap()];
    });
    net.run(33 * SECOND);
    let told = states(&mut net);
    let RegistrationState::Failed {
        status: None,
        retry_at,
    } = told[1]
    else {
        panic!("{told:?}");
    };
    assert!(retry_at > net.now + 10 * SECOND && retry_at < net.now + 31 * SECOND);
}

#[test]
fn challenges_of_other_realms_are_not_answered() {
    let mut net = net();
    register(&mut net, "wonder", |register| {
        register.account = Some(Account::new("other", "alice", Secret::password("wonder")));
    });
    net.run(SECOND);
    assert_eq!(net.agent(1).verifier_counters().refused, 0);
    assert!(matches!(
        states(&mut net)[1],
        RegistrationState::Failed { .. }
    ));
}

//! Tests: every state of the four transaction machines by every event.

use super::*;
use std::fmt::Write as _;

const STATES: [State; 7] = [
    Calling, Trying, Proceeding, Completed, Confirmed, Accepted, Terminated,
];

fn events() -> Vec<Event> {
    let mut events = vec![
        Receive1xx,
        Receive2xx,
        Receive3to6xx,
        ReceiveRequest,
        ReceiveAck,
        Send1xx,
        Send2xx,
        Send3to6xx,
        TransportError,
    ];
    events.extend([A, B, D, E, F, G, H, I, J, K, L, M].map(Fire));
    events
}

/// Every state by every event: one line a row, and under each state what it absorbs.
fn print(machine: Machine) -> String {
    let mut out = format!("initial {:?} {:?}\n", machine.initial(), machine.entry());
    for state in STATES {
        let mut absorbed = 0;
        for event in events() {
            let Some(row) = step(machine, state, event) else {
                absorbed += 1;
                continue;
            };
            writeln!(
                out,
                "{state:?} {event:?} -> {:?} {:?}",
                row.next, row.actions
            )
            .unwrap();
        }
        writeln!(out, "{state:?} absorbs {absorbed} others").unwrap();
    }
    out
}

#[test]
fn invite_client_is_figure_5_of_rfc_6026() {
    assert_eq!(print(Machine::InviteClient), INVITE_CLIENT);
}

#[test]
fn non_invite_client_is_figure_6_of_rfc_3261() {
    assert_eq!(print(Machine::NonInviteClient), NON_INVITE_CLIENT);
}

#[test]
fn invite_server_is_figure_7_of_rfc_6026() {
    assert_eq!(print(Machine::InviteServer), INVITE_SERVER);
}

#[test]
fn non_invite_server_is_figure_8_of_rfc_3261() {
    assert_eq!(print(Machine::NonInviteServer), NON_INVITE_SERVER);
}

/// From every reachable state a path of timers alone leads to Terminated, or the state waits for
/// its user: no transaction can be left behind for ever by a silent peer.
#[test]
fn timers_lead_out_of_every_state_that_no_user_holds() {
    for machine in [
        Machine::InviteClient,
        Machine::NonInviteClient,
        Machine::InviteServer,
        Machine::NonInviteServer,
    ] {
        for state in STATES {
            let known = events().iter().any(|e| step(machine, state, *e).is_some());
            let ends = events().iter().any(|e| {
                matches!(e, Fire(_))
                    && step(machine, state, *e).is_some_and(|row| row.next == Terminated)
            });
            let user_holds = matches!(
                (machine, state),
                (Machine::InviteClient, Proceeding)
                    | (Machine::InviteServer, Proceeding)
                    | (Machine::NonInviteServer, Trying | Proceeding)
            );
            assert!(!known || ends || user_holds, "{machine:?} {state:?}");
        }
    }
}

/// Each timer that a row starts has a row that handles its firing in the state it leads to.
#[test]
fn every_started_timer_is_handled() {
    for machine in [
        Machine::InviteClient,
        Machine::NonInviteClient,
        Machine::InviteServer,
        Machine::NonInviteServer,
    ] {
        let entry = Step {
            next: machine.initial(),
            actions: machine.entry(),
        };
        let rows = STATES
            .iter()
            .flat_map(|s| events().into_iter().filter_map(|e| step(machine, *s, e)))
            .chain([entry]);
        for row in rows {
            for action in row.actions {
                if let Start(timer) | StartAtT2(timer) = action {
                    assert!(
                        step(machine, row.next, Fire(*timer)).is_some(),
                        "{machine:?} {row:?}"
                    );
                }
            }
        }
    }
}

const INVITE_CLIENT: &str = "\
initial Calling [Send, Start(A), Start(B)]
Calling Receive1xx -> Proceeding [Stop(A), Stop(B), Deliver]
Calling Receive2xx -> Accepted [Stop(A), Stop(B), Start(M), Deliver]
Calling Receive3to6xx -> Completed [Stop(A), Stop(B), SendAck, Start(D), Deliver]
Calling TransportError -> Terminated [InformTransportError]
Calling Fire(A) -> Calling [Resend, Start(A)]
Calling Fire(B) -> Terminated [InformTimeout]
Calling absorbs 15 others
Trying absorbs 21 others
Proceeding Receive1xx -> Proceeding [Deliver]
Proceeding Receive2xx -> Accepted [Start(M), Deliver]
Proceeding Receive3to6xx -> Completed [SendAck, Start(D), Deliver]
Proceeding absorbs 18 others
Completed Receive3to6xx -> Completed [SendAck]
Completed TransportError -> Terminated [InformTransportError]
Completed Fire(D) -> Terminated []
Completed absorbs 18 others
Confirmed absorbs 21 others
Accepted Receive2xx -> Accepted [Deliver]
Accepted Fire(M) -> Terminated []
Accepted absorbs 19 others
Terminated absorbs 21 others
";

const NON_INVITE_CLIENT: &str = "\
initial Trying [Send, Start(E), Start(F)]
Calling absorbs 21 others
Trying Receive1xx -> Proceeding [Deliver]
Trying Receive2xx -> Completed [Stop(E), Stop(F), Start(K), Deliver]
Trying Receive3to6xx -> Completed [Stop(E), Stop(F), Start(K), Deliver]
Trying TransportError -> Terminated [InformTransportError]
Trying Fire(E) -> Trying [Resend, Start(E)]
Trying Fire(F) -> Terminated [InformTimeout]
Trying absorbs 15 others
Proceeding Receive1xx -> Proceeding [Deliver]
Proceeding Receive2xx -> Completed [Stop(E), Stop(F), Start(K), Deliver]
Proceeding Receive3to6xx -> Completed [Stop(E), Stop(F), Start(K), Deliver]
Proceeding TransportError -> Terminated [InformTransportError]
Proceeding Fire(E) -> Proceeding [Resend, StartAtT2(E)]
Proceeding Fire(F) -> Terminated [InformTimeout]
Proceeding absorbs 15 others
Completed Fire(K) -> Terminated []
Completed absorbs 20 others
Confirmed absorbs 21 others
Accepted absorbs 21 others
Terminated absorbs 21 others
";

const INVITE_SERVER: &str = "\
initial Proceeding [Deliver]
Calling absorbs 21 others
Trying absorbs 21 others
Proceeding ReceiveRequest -> Proceeding [Resend]
Proceeding Send1xx -> Proceeding [Send]
Proceeding Send2xx -> Accepted [Send, Start(L)]
Proceeding Send3to6xx -> Completed [Send, Start(G), Start(H)]
Proceeding TransportError -> Proceeding [InformTransportError]
Proceeding absorbs 16 others
Completed ReceiveRequest -> Completed [Resend]
Completed ReceiveAck -> Confirmed [Stop(G), Stop(H), Start(I)]
Completed TransportError -> Completed [InformTransportError]
Completed Fire(G) -> Completed [Resend, Start(G)]
Completed Fire(H) -> Terminated [InformTimeout]
Completed absorbs 16 others
Confirmed Fire(I) -> Terminated []
Confirmed absorbs 20 others
Accepted ReceiveAck -> Accepted [Deliver]
Accepted Send2xx -> Accepted [Send]
Accepted TransportError -> Accepted [InformTransportError]
Accepted Fire(L) -> Terminated []
Accepted absorbs 17 others
Terminated absorbs 21 others
";

const NON_INVITE_SERVER: &str = "\
initial Trying [Deliver]
Calling absorbs 21 others
Trying Send1xx -> Proceeding [Send]
Trying Send2xx -> Completed [Send, Start(J)]
Trying Send3to6xx -> Completed [Send, Start(J)]
Trying absorbs 18 others
Proceeding ReceiveRequest -> Proceeding [Resend]
Proceeding Send1xx -> Proceeding [Send]
Proceeding Send2xx -> Completed [Send, Start(J)]
Proceeding Send3to6xx -> Completed [Send, Start(J)]
Proceeding TransportError -> Proceeding [InformTransportError]
Proceeding absorbs 16 others
Completed ReceiveRequest -> Completed [Resend]
Completed TransportError -> Completed [InformTransportError]
Completed Fire(J) -> Terminated []
Completed absorbs 18 others
Confirmed absorbs 21 others
Accepted absorbs 21 others
Terminated absorbs 21 others
";

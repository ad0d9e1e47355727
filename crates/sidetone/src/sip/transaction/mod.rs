//! The four SIP transaction machines as tables (RFC 3261 §17, RFC 6026).
//!
//! [`step`] is the whole of their behaviour: a state and an event give the next state and what is
//! to be done. Hold each of the four functions against the figure that its comment names. What runs
//! them, with messages, timers and matching, is [`layer`].

pub mod key;
pub mod layer;
pub mod queue;
pub mod timer;

use self::timer::Timer;

/// Which of the four machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Machine {
    /// INVITE client, RFC 3261 §17.1.1 as changed by RFC 6026 §8.4.
    InviteClient,
    /// Non-INVITE client, RFC 3261 §17.1.2.
    NonInviteClient,
    /// INVITE server, RFC 3261 §17.2.1 as changed by RFC 6026 §8.5.
    InviteServer,
    /// Non-INVITE server, RFC 3261 §17.2.2.
    NonInviteServer,
}

impl Machine {
    /// The state in which a new transaction of this kind stands.
    pub fn initial(self) -> State {
        match self {
            Self::InviteClient => State::Calling,
            Self::InviteServer => State::Proceeding,
            Self::NonInviteClient | Self::NonInviteServer => State::Trying,
        }
    }

    /// What a new transaction does on entering its initial state.
    pub fn entry(self) -> &'static [Action] {
        match self {
            Self::InviteClient => &[Send, Start(A), Start(B)],
            Self::NonInviteClient => &[Send, Start(E), Start(F)],
            Self::InviteServer | Self::NonInviteServer => &[Deliver],
        }
    }

    /// Whether this is one of the two client machines.
    pub fn is_client(self) -> bool {
        matches!(self, Self::InviteClient | Self::NonInviteClient)
    }
}

/// The states of all four machines, by the names in the RFC's figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// INVITE sent, nothing heard.
    Calling,
    /// Request sent, or received and not answered.
    Trying,
    /// A provisional response has been received or sent.
    Proceeding,
    /// A final response (not 2xx to INVITE) has been received or sent.
    Completed,
    /// The ACK for a failure response has been received.
    Confirmed,
    /// A 2xx response to INVITE has been received or sent (RFC 6026).
    Accepted,
    /// The transaction is gone.
    Terminated,
}

/// What can happen to a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A client received a 1xx response.
    Receive1xx,
    /// A client received a 2xx response.
    Receive2xx,
    /// A client received a 3xx to 6xx response.
    Receive3to6xx,
    /// A server received its request again.
    ReceiveRequest,
    /// A server received the ACK for its final response.
    ReceiveAck,
    /// The transaction user of a server sends a 1xx response.
    Send1xx,
    /// The transaction user of a server sends a 2xx response.
    Send2xx,
    /// The transaction user of a server sends a 3xx to 6xx response.
    Send3to6xx,
    /// A timer fired.
    Fire(Timer),
    /// The transport could not send.
    TransportError,
}

/// What a step asks for, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Send the message just handed in and keep it for retransmission.
    Send,
    /// Send the last message again.
    Resend,
    /// Send the ACK for a failure response (RFC 3261 §17.1.1.3).
    SendAck,
    /// Pass the message up to the transaction user.
    Deliver,
    /// Tell the transaction user that time ran out.
    InformTimeout,
    /// Tell the transaction user that the transport failed.
    InformTransportError,
    /// Start the timer, or restart it with its next longer interval.
    Start(Timer),
    /// Restart the timer with T2 (RFC 3261 §17.1.2.2, Timer E in Proceeding).
    StartAtT2(Timer),
    /// Stop the timer.
    Stop(Timer),
}

/// One row of a table: where to go and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The state after the event.
    pub next: State,
    /// What to do, in order.
    pub actions: &'static [Action],
}

use self::Action::*;
use self::Event::*;
use self::State::*;
use self::Timer::*;

const fn to(next: State, actions: &'static [Action]) -> Option<Step> {
    Some(Step { next, actions })
}

/// The row for `event` in `state`, or `None` where the machine has no such row: the event is
/// absorbed and changes nothing.
///
/// ```
/// use sidetone::sip::transaction::{Event, Machine, State, step};
/// let row = step(Machine::InviteClient, State::Calling, Event::Receive2xx).unwrap();
/// assert_eq!(row.next, State::Accepted);
/// assert!(step(Machine::InviteClient, State::Completed, Event::Receive1xx).is_none());
/// ```
pub fn step(machine: Machine, state: State, event: Event) -> Option<Step> {
    match machine {
        Machine::InviteClient => invite_client(state, event),
        Machine::NonInviteClient => non_invite_client(state, event),
        Machine::InviteServer => invite_server(state, event),
        Machine::NonInviteServer => non_invite_server(state, event),
    }
}

/// RFC 6026 Figure 5. Timer B is stopped with the first provisional response: it is only of
/// interest in Calling.
#[rustfmt::skip]
fn invite_client(state: State, event: Event) -> Option<Step> {
    match (state, event) {
        (Calling,    Fire(A))        => to(Calling,    &[Resend, Start(A)]),
        (Calling,    Fire(B))        => to(Terminated, &[InformTimeout]),
        (Calling,    TransportError) => to(Terminated, &[InformTransportError]),
        (Calling,    Receive1xx)     => to(Proceeding, &[Stop(A), Stop(B), Deliver]),
        (Calling,    Receive2xx)     => to(Accepted,   &[Stop(A), Stop(B), Start(M), Deliver]),
        (Calling,    Receive3to6xx)  => to(Completed,  &[Stop(A), Stop(B), SendAck, Start(D), Deliver]),
        (Proceeding, Receive1xx)     => to(Proceeding, &[Deliver]),
        (Proceeding, Receive2xx)     => to(Accepted,   &[Start(M), Deliver]),
        (Proceeding, Receive3to6xx)  => to(Completed,  &[SendAck, Start(D), Deliver]),
        (Completed,  Receive3to6xx)  => to(Completed,  &[SendAck]),
        (Completed,  TransportError) => to(Terminated, &[InformTransportError]),
        (Completed,  Fire(D))        => to(Terminated, &[]),
        (Accepted,   Receive2xx)     => to(Accepted,   &[Deliver]),
        (Accepted,   Fire(M))        => to(Terminated, &[]),
        _ => None,
    }
}

/// RFC 3261 Figure 6.
#[rustfmt::skip]
fn non_invite_client(state: State, event: Event) -> Option<Step> {
    match (state, event) {
        (Trying,     Fire(E))        => to(Trying,     &[Resend, Start(E)]),
        (Trying,     Fire(F))        => to(Terminated, &[InformTimeout]),
        (Trying,     TransportError) => to(Terminated, &[InformTransportError]),
        (Trying,     Receive1xx)     => to(Proceeding, &[Deliver]),
        (Trying,     Receive2xx)     => to(Completed,  &[Stop(E), Stop(F), Start(K), Deliver]),
        (Trying,     Receive3to6xx)  => to(Completed,  &[Stop(E), Stop(F), Start(K), Deliver]),
        (Proceeding, Fire(E))        => to(Proceeding, &[Resend, StartAtT2(E)]),
        (Proceeding, Fire(F))        => to(Terminated, &[InformTimeout]),
        (Proceeding, TransportError) => to(Terminated, &[InformTransportError]),
        (Proceeding, Receive1xx)     => to(Proceeding, &[Deliver]),
        (Proceeding, Receive2xx)     => to(Completed,  &[Stop(E), Stop(F), Start(K), Deliver]),
        (Proceeding, Receive3to6xx)  => to(Completed,  &[Stop(E), Stop(F), Start(K), Deliver]),
        (Completed,  Fire(K))        => to(Terminated, &[]),
        _ => None,
    }
}

/// RFC 6026 Figure 7. A transport error leaves the state alone (RFC 6026 §8.8).
#[rustfmt::skip]
fn invite_server(state: State, event: Event) -> Option<Step> {
    match (state, event) {
        (Proceeding, ReceiveRequest) => to(Proceeding, &[Resend]),
        (Proceeding, Send1xx)        => to(Proceeding, &[Send]),
        (Proceeding, Send2xx)        => to(Accepted,   &[Send, Start(L)]),
        (Proceeding, Send3to6xx)     => to(Completed,  &[Send, Start(G), Start(H)]),
        (Proceeding, TransportError) => to(Proceeding, &[InformTransportError]),
        (Completed,  ReceiveRequest) => to(Completed,  &[Resend]),
        (Completed,  ReceiveAck)     => to(Confirmed,  &[Stop(G), Stop(H), Start(I)]),
        (Completed,  Fire(G))        => to(Completed,  &[Resend, Start(G)]),
        (Completed,  Fire(H))        => to(Terminated, &[InformTimeout]),
        (Completed,  TransportError) => to(Completed,  &[InformTransportError]),
        (Confirmed,  Fire(I))        => to(Terminated, &[]),
        (Accepted,   ReceiveAck)     => to(Accepted,   &[Deliver]),
        (Accepted,   Send2xx)        => to(Accepted,   &[Send]),
        (Accepted,   TransportError) => to(Accepted,   &[InformTransportError]),
        (Accepted,   Fire(L))        => to(Terminated, &[]),
        _ => None,
    }
}

/// RFC 3261 Figure 8. A transport error leaves the state alone (RFC 6026 §8.8).
#[rustfmt::skip]
fn non_invite_server(state: State, event: Event) -> Option<Step> {
    match (state, event) {
        (Trying,     Send1xx)        => to(Proceeding, &[Send]),
        (Trying,     Send2xx)        => to(Completed,  &[Send, Start(J)]),
        (Trying,     Send3to6xx)     => to(Completed,  &[Send, Start(J)]),
        (Proceeding, ReceiveRequest) => to(Proceeding, &[Resend]),
        (Proceeding, Send1xx)        => to(Proceeding, &[Send]),
        (Proceeding, Send2xx)        => to(Completed,  &[Send, Start(J)]),
        (Proceeding, Send3to6xx)     => to(Completed,  &[Send, Start(J)]),
        (Proceeding, TransportError) => to(Proceeding, &[InformTransportError]),
        (Completed,  ReceiveRequest) => to(Completed,  &[Resend]),
        (Completed,  TransportError) => to(Completed,  &[InformTransportError]),
        (Completed,  Fire(J))        => to(Terminated, &[]),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

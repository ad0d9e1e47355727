//! The table of passages: which calls belong to which, and what waits for each.

use std::collections::{BTreeMap, BTreeSet};

use crate::b2bua::passage::{Fields, Passage};
use crate::b2bua::plan::{Plan, Transfers};
use crate::call::info;
use crate::call::transfer::Referral;
use crate::engine::event::CallEvent;
use crate::id::{CallId, PassageId, RoomId};
use crate::sip::agent::command::{Body, RequestId, TicketId};
use crate::sip::message::Message;
use crate::time::Instant;

/// News of calls that wait for their passage at most, INFOs and REFERs each.
const MAX_NEWS: usize = 16;

/// All passages, and which one a call belongs to.
#[derive(Debug, Default)]
pub(super) struct Passages {
    pub(super) by_id: BTreeMap<PassageId, Connected>,
    pub(super) of: BTreeMap<CallId, PassageId>,
    /// Those to which something has happened.
    pub(super) touched: BTreeSet<PassageId>,
    pub(super) deadlines: BTreeSet<(Instant, PassageId)>,
    /// Passages whose caller was connected with somebody else's, and the passage that he is in now.
    pub(super) heirs: BTreeMap<PassageId, PassageId>,
    /// Whether they are being served, further up the stack.
    pub(super) running: bool,
}

/// What the core knows of one passage beside its machine.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) machine: Passage,
    pub(super) plan: Plan,
    /// The caller's INVITE, until it is answered or refused.
    pub(super) invite: Option<Message>,
    /// Whose call it is, as far as caps are concerned.
    pub(super) account: String,
    /// The addresses of its trunk that were tried for each target.
    pub(super) tried: BTreeMap<usize, Vec<usize>>,
    /// Whether descriptions are passed on: there is no media here then.
    pub(super) passes: bool,
    pub(super) room: Option<RoomId>,
    pub(super) joined: Option<(CallId, CallId)>,
    /// Parties that refused to be put on hold, or taken from it.
    pub(super) stubborn: BTreeSet<CallId>,
    pub(super) infos: Vec<(CallId, String, Vec<u8>)>,
    pub(super) referrals: Vec<(CallId, Referral)>,
    /// The passages whose callers have come over into this one.
    pub(super) absorbed: Vec<PassageId>,
    pub(super) deadline: Option<Instant>,
    pub(super) refused: Option<u16>,
    pub(super) target_answered: Option<usize>,
    /// With descriptions passed on: the last that came from each party, and that was given to it.
    pub(super) from: BTreeMap<CallId, Body>,
    pub(super) given: BTreeMap<CallId, Body>,
    /// The party whose 2xx waits for an ACK with an answer, by the party that will bring it.
    pub(super) acks: BTreeMap<CallId, CallId>,
    /// Requests carried through that are not answered, and whom the answer is for.
    pub(super) requests: BTreeMap<RequestId, (CallId, TicketId)>,
    /// Re-INVITEs carried through, by whom they went to, and whom they came from.
    pub(super) reinvites: BTreeMap<CallId, CallId>,
}

impl Passages {
    /// The next deadline of any.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Something is told of a call.
    pub(super) fn note(&mut self, now: Instant, call: CallId, event: &CallEvent) {
        let Some(id) = self.of.get(&call).copied() else {
            return;
        };
        let Some(passage) = self.by_id.get_mut(&id) else {
            return;
        };
        match event {
            CallEvent::Held | CallEvent::Resumed => passage.stubborn.clear(),
            CallEvent::Renegotiated => {}
            CallEvent::Redirected { .. } => passage.machine.handle_redirected(now, call),
            CallEvent::RenegotiationFailed { .. } => {
                passage.stubborn.insert(call);
            }
            CallEvent::TransferRequested(referral) if passage.referrals.len() < MAX_NEWS => {
                passage.referrals.push((call, (**referral).clone()));
            }
            CallEvent::Info { content_type, body } if passage.infos.len() < MAX_NEWS => {
                // Keys are relayed as keys.
                if info::digit_of(content_type, body).is_none() {
                    let info = (call, content_type.clone(), body.to_vec());
                    passage.infos.push(info);
                }
            }
            _ => return,
        }
        self.touched.insert(id);
    }

    /// The passage that a call belongs to.
    pub(super) fn of(&mut self, call: CallId) -> Option<(PassageId, &mut Connected)> {
        let id = *self.of.get(&call)?;
        Some((id, self.by_id.get_mut(&id)?))
    }

    /// One passage.
    pub(super) fn get(&mut self, id: PassageId) -> Option<&mut Connected> {
        self.by_id.get_mut(&id)
    }

    /// The passage that a passage's caller is in now: mostly itself.
    pub(super) fn heir_of(&self, id: PassageId) -> PassageId {
        self.heirs.get(&id).copied().unwrap_or(id)
    }

    /// The caller of one passage goes over into another, and so do those that had come to him.
    pub(super) fn absorb(&mut self, gone: PassageId, heir: PassageId) {
        let former = self
            .by_id
            .get_mut(&gone)
            .map(|it| std::mem::take(&mut it.absorbed));
        let all = former.into_iter().flatten().chain([gone]);
        for passage in all {
            self.heirs.insert(passage, heir);
            if let Some(connected) = self.by_id.get_mut(&heir) {
                connected.absorbed.push(passage);
            }
        }
    }

    pub(super) fn touch(&mut self, id: PassageId) {
        self.touched.insert(id);
    }
}

impl Connected {
    /// Who is on the other side of a party, once it is answered.
    pub(super) fn other(&self, call: CallId) -> Option<CallId> {
        self.machine.other(call)
    }

    /// The header fields of a message of `call` that the other side gets.
    pub(super) fn fields(&self, call: CallId, message: &Message) -> Fields {
        let policy = &self.plan.policy;
        match self.machine.caller() == call {
            true => policy.to_target.apply(message),
            false => policy.to_caller.apply(message),
        }
    }

    /// The caller, or who has taken its place.
    pub(super) fn caller(&self) -> CallId {
        self.machine.caller()
    }

    pub(super) fn transfers(&self) -> Transfers {
        self.plan.policy.transfers
    }
}

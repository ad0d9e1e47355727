//! Transfers between the parties of passages: whom a REFER names is dialled, or the two who stay are
//! connected where both are connected here already (RFC 3515, RFC 3891, RFC 5589 §7).

use crate::b2bua::passage::{Farewell, Fields};
use crate::b2bua::plan::Transfers;
use crate::call::transfer::Referral;
use crate::engine::core::Core;
use crate::engine::event::CallEvent;
use crate::id::{CallId, PassageId};
use crate::sip::status::StatusCode;
use crate::time::Instant;

/// How two passages become one.
struct Joint {
    /// The passage that stays, and its party who leaves it.
    stays: PassageId,
    left: CallId,
    /// The party who stays there.
    remains: CallId,
    /// The passage that ends, and its party who goes over.
    ends: PassageId,
    goes: CallId,
    /// Whether a caller goes over, whose owner goes by the passage that ends.
    absorbs: bool,
}

impl Core {
    pub(super) fn carry_referrals(&mut self, now: Instant, id: PassageId) {
        let Some(connected) = self.passages.by_id.get_mut(&id) else {
            return;
        };
        for (party, referral) in std::mem::take(&mut connected.referrals) {
            let taken = match self.named_by(&referral) {
                Some(named) => self.join_passages(now, id, party, named, &referral),
                None => self.dial_referred(now, id, party, &referral),
            };
            if taken.is_none() {
                // It fails only where the party has hung up.
                let _gone = self.decline_transfer(now, party, StatusCode::DECLINE.code());
            }
        }
    }

    /// The call of a passage here whose place a REFER asks for.
    fn named_by(&self, referral: &Referral) -> Option<CallId> {
        let session = self.agent.dialog_of(referral.replaces()?)?;
        let named = *self.sessions.get(&session)?;
        self.passages.of.contains_key(&named).then_some(named)
    }

    /// Dials whom a party wants in its place, where its policy lets it.
    fn dial_referred(
        &mut self,
        now: Instant,
        id: PassageId,
        party: CallId,
        referral: &Referral,
    ) -> Option<()> {
        let connected = self.passages.by_id.get(&id)?;
        connected.other(party)?;
        let policy = &connected.plan.policy;
        let allowed =
            policy.transfers == Transfers::Performed && policy.may_transfer_to(referral.target());
        if !allowed {
            return None;
        }
        // Where it cannot be dialled, the party has been told.
        if let Ok(follower) = self.accept_transfer(now, party, None) {
            self.follow_in_passage(now, id, party, follower);
        }
        Some(())
    }

    /// Connects the two that a party talks to, where its REFER names another call of it with this
    /// engine: an attended transfer that dials nobody. Nothing is said to the two; their data is one
    /// from then on.
    fn join_passages(
        &mut self,
        now: Instant,
        id: PassageId,
        party: CallId,
        named: CallId,
        referral: &Referral,
    ) -> Option<()> {
        // Both talk, which a dialog that is to be replaced while it is early does not (RFC 3891 §3).
        if referral
            .replaces()
            .is_none_or(|replaces| replaces.early_only)
        {
            return None;
        }
        let joint = self.joint(id, party, named)?;
        self.confirm_transfer(now, party).ok()?;
        let trusted = self.calls.get(&party).is_some_and(|call| call.trusted);
        if self.config.call_data.takes(trusted) {
            self.take_brought(now, party, referral.data().clone());
        }
        self.join_data(now, &joint);
        let Joint {
            stays,
            left,
            ends,
            goes,
            ..
        } = joint;
        self.inherit_recording(left, goes);
        self.exchange_identifiers(now, joint.remains, goes);
        if joint.absorbs {
            self.passages.absorb(ends, stays);
        }
        if let Some(ending) = self.passages.get(ends) {
            ending.machine.release(goes, &Fields::new());
        }
        if let Some(staying) = self.passages.get(stays) {
            staying.stubborn.clear();
            staying.machine.handle_replaced(now, left, goes);
        }
        self.passages.of.insert(goes, stays);
        self.passages.touch(ends);
        self.passages.touch(stays);
        Some(())
    }

    /// Who stays in which passage, and who goes over: rather one who was dialled than a caller, since
    /// a caller belongs to the flow that serves it.
    fn joint(&mut self, id: PassageId, party: CallId, named: CallId) -> Option<Joint> {
        let (other_id, other) = self.passages.of(named)?;
        let far = other
            .other(named)
            .filter(|_| other_id != id && !other.passes)?;
        let own = self.passages.get(id)?;
        let performs = own.transfers() == Transfers::Performed;
        let near = own.other(party).filter(|_| performs && !own.passes)?;
        let called = |call| self.calls.get(&call).is_some_and(|call| call.incoming);
        let (far_called, near_called) = (called(far), called(near));
        let joint = match far_called && !near_called {
            false => Joint {
                stays: id,
                left: party,
                remains: near,
                ends: other_id,
                goes: far,
                absorbs: far_called,
            },
            true => Joint {
                stays: other_id,
                left: named,
                remains: far,
                ends: id,
                goes: near,
                absorbs: false,
            },
        };
        Some(joint)
    }

    /// Makes the data of the two one, and tells of it where that changes something.
    fn join_data(&mut self, now: Instant, joint: &Joint) {
        let both = [joint.remains, joint.goes];
        let before = both.map(|call| self.data(call).unwrap_or_default());
        self.share_data(joint.remains, joint.goes);
        let after = self.data(joint.remains).unwrap_or_default();
        let changed = both.into_iter().zip(&before);
        let changed: Vec<CallId> = changed
            .filter(|(_, before)| **before != after)
            .map(|(call, _)| call)
            .collect();
        for call in &changed {
            self.emit(*call, CallEvent::DataChanged);
        }
        if !changed.is_empty() {
            self.tell_change(now, joint.remains, Some(joint.left));
        }
    }

    /// Each of the two is shown the other's half of the session's identifier (RFC 7989 §9).
    fn exchange_identifiers(&mut self, now: Instant, a: CallId, b: CallId) {
        for (shown_to, of) in [(a, b), (b, a)] {
            if let Some(uuid) = self.uuid_of(of) {
                // It fails only where the party is hanging up.
                let _over = self.set_session_uuid(now, shown_to, uuid);
            }
        }
    }

    /// A call has taken the place of another by Replaces.
    pub(super) fn replaced_in_passage(&mut self, now: Instant, old: CallId, new: CallId) {
        if let Some((passage, connected)) = self.passages.of(old) {
            connected.machine.handle_replaced(now, old, new);
            self.passages.of.insert(new, passage);
            self.passages.touch(passage);
        }
    }

    fn follow_in_passage(&mut self, now: Instant, id: PassageId, party: CallId, follower: CallId) {
        let alive = self.calls.contains_key(&follower);
        let Some(connected) = self.passages.by_id.get_mut(&id) else {
            return;
        };
        connected.machine.handle_follower(party, follower);
        if alive {
            self.passages.of.insert(follower, id);
        } else {
            let farewell = Farewell {
                status: StatusCode::SERVICE_UNAVAILABLE.code(),
                fields: Fields::new(),
            };
            connected.machine.handle_end(now, follower, farewell);
        }
        self.passages.touch(id);
    }
}

//! The course of a call that is carried through: who is dialled when, what the caller is told, and
//! how both sides end (RFC 7092, RFC 3261 §16.7).

use std::collections::{BTreeSet, VecDeque};

use crate::b2bua::plan::{EarlyMedia, Plan};
use crate::id::CallId;
use crate::time::{Duration, Instant};

/// Header fields to send along.
pub type Fields = Vec<(String, String)>;

/// The Reason of those who rang in vain (RFC 3326 §3.1).
const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";

/// The Reason of those who rang too long.
const TOO_LONG: &str = "SIP;cause=408;text=\"Request Timeout\"";

/// How often one target may be dialled at its several addresses.
const MAX_REDIALS: u8 = 8;

/// How long one who has handed its place on may take to hang up by itself.
const LEAVING: Duration = Duration::from_secs(5);

/// What a passage wants done; polled with [`Passage::poll_action`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Dial a target, and tell how that went with [`Passage::handle_dialled`].
    Dial {
        /// The number of the target in its plan.
        target: usize,
        /// How often it was dialled before: at each time its next address.
        redial: u8,
    },
    /// Tell the caller by a provisional response.
    Tell {
        /// Its status.
        status: u16,
        /// Whether sound comes with it.
        described: bool,
        /// Further header fields.
        fields: Fields,
    },
    /// Answer the caller.
    Answer {
        /// Who answered.
        callee: CallId,
        /// Further header fields.
        fields: Fields,
    },
    /// Refuse the caller.
    Refuse {
        /// The status.
        status: u16,
        /// Further header fields.
        fields: Fields,
    },
    /// End a call in whatever way it can be ended now.
    HangUp {
        /// The call.
        call: CallId,
        /// Further header fields, Reason among them.
        fields: Fields,
    },
}

/// How a call of the passage has ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Farewell {
    /// For one that was never answered, the status that says why: 408 where it did not answer, 503
    /// where it could not be reached.
    pub status: u16,
    /// What of its last message is carried through, Reason among it.
    pub fields: Fields,
}

/// A target that is being dialled.
#[derive(Debug, Clone)]
struct Attempt {
    target: usize,
    redial: u8,
    call: CallId,
}

/// One side of an answered call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Side {
    /// The party; `None` where it has hung up and its follower has not answered yet.
    party: Option<CallId>,
    /// Whom it wanted in its place, while that one is being dialled.
    follower: Option<CallId>,
}

impl Side {
    fn of(party: CallId) -> Self {
        Self {
            party: Some(party),
            follower: None,
        }
    }
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Targets are being dialled.
    Trying,
    /// Somebody answered, and the caller has not confirmed it yet; or the two talk.
    Up([Side; 2]),
    /// It is over, but for calls that have not ended yet.
    Over,
}

/// One caller, and whoever is dialled for it: a machine that knows calls by their numbers only.
///
/// Tell it what happens with the `handle_*` methods, then poll [`poll_action`](Self::poll_action)
/// until it says `None`. Each call that it was told of is either told to have ended, or hung up once;
/// the caller is answered or refused at most once.
#[derive(Debug)]
pub struct Passage {
    caller: CallId,
    stage: Stage,
    /// The targets that are left: how many ring at once, and for how long.
    groups: VecDeque<(usize, Option<Duration>)>,
    /// The first target of the next group.
    next_target: usize,
    /// Targets of which it is not known yet whether they could be dialled.
    dialling: Vec<(usize, u8)>,
    /// How many of these are wanted no more.
    unwanted: usize,
    attempts: Vec<Attempt>,
    failover: Vec<u16>,
    hunts: bool,
    early_policy: EarlyMedia,
    /// The attempt that the caller hears before the answer.
    early: Option<CallId>,
    told: u16,
    /// The best refusal so far.
    best: Option<Farewell>,
    /// How long the targets that ring may do so, and until when.
    ring_time: Option<Duration>,
    ring_limit: Option<Instant>,
    max_duration: Option<Duration>,
    /// When the two have talked for long enough.
    talk_limit: Option<Instant>,
    answered: bool,
    /// Calls that have not ended, whatever they are.
    live: BTreeSet<CallId>,
    /// Those of them that were hung up.
    dismissed: BTreeSet<CallId>,
    /// Those that have handed their place on, and when they are hung up.
    leaving: Vec<(Instant, CallId)>,
    actions: VecDeque<Action>,
}

impl Passage {
    /// Begins to dial the targets of `plan` for `caller`. `early_media` is how the caller may hear
    /// them before the answer.
    pub fn new(now: Instant, caller: CallId, plan: &Plan, early_media: EarlyMedia) -> Self {
        let groups = plan.groups.iter();
        let mut passage = Self {
            caller,
            stage: Stage::Trying,
            groups: groups.map(|g| (g.targets.len(), g.limit)).collect(),
            next_target: 0,
            dialling: Vec::new(),
            unwanted: 0,
            attempts: Vec::new(),
            failover: plan.failover.clone(),
            hunts: plan.hunts,
            early_policy: early_media,
            early: None,
            told: 0,
            best: None,
            ring_time: None,
            ring_limit: None,
            max_duration: plan.policy.max_duration,
            talk_limit: None,
            answered: false,
            live: BTreeSet::from([caller]),
            dismissed: BTreeSet::new(),
            leaving: Vec::new(),
            actions: VecDeque::new(),
        };
        passage.advance(now);
        passage
    }

    /// The caller, or who has taken its place.
    pub fn caller(&self) -> CallId {
        match self.stage {
            Stage::Up([side, _]) => side.party.unwrap_or(self.caller),
            _ => self.caller,
        }
    }

    /// Who shall hear whom now: the caller and an attempt that is heard before the answer, or the two
    /// that talk.
    pub fn pair(&self) -> Option<(CallId, CallId)> {
        match self.stage {
            Stage::Trying => Some((self.caller, self.early?)),
            Stage::Up([a, b]) => Some((a.party?, b.party?)),
            Stage::Over => None,
        }
    }

    /// Who is on the other side of a call of an answered passage.
    pub fn other(&self, call: CallId) -> Option<CallId> {
        let Stage::Up([a, b]) = self.stage else {
            return None;
        };
        match (a.party, b.party) {
            (Some(a), other) if a == call => other,
            (other, Some(b)) if b == call => other,
            _ => None,
        }
    }

    /// The target that a call was dialled for, while it rings.
    pub fn target_of(&self, call: CallId) -> Option<usize> {
        let attempt = self.attempts.iter().find(|attempt| attempt.call == call)?;
        Some(attempt.target)
    }

    /// Whether the caller was answered.
    pub fn is_answered(&self) -> bool {
        self.answered
    }

    /// Whether every call of it has ended.
    pub fn is_over(&self) -> bool {
        let dialled = self.dialling.is_empty() && self.unwanted == 0;
        self.stage == Stage::Over && self.live.is_empty() && dialled
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let leaving = self.leaving.iter().map(|(at, _)| *at).min();
        [self.ring_limit, self.talk_limit, leaving]
            .into_iter()
            .flatten()
            .min()
    }

    /// A target was dialled: the call, or the status for why it could not be.
    pub fn handle_dialled(&mut self, now: Instant, target: usize, outcome: Result<CallId, u16>) {
        let Some(index) = self.dialling.iter().position(|(t, _)| *t == target) else {
            self.unwanted = self.unwanted.saturating_sub(1);
            if let Ok(call) = outcome {
                self.live.insert(call);
                self.hang_up(call, elsewhere());
            }
            return;
        };
        let (_, redial) = self.dialling.swap_remove(index);
        match outcome {
            Ok(call) => {
                self.live.insert(call);
                self.attempts.push(Attempt {
                    target,
                    redial,
                    call,
                });
            }
            Err(status) => self.failed(
                now,
                Farewell {
                    status,
                    fields: Fields::new(),
                },
            ),
        }
    }

    /// A target is on the way, and sound may come with it (`described`).
    pub fn handle_progress(&mut self, call: CallId, status: u16, described: bool, fields: Fields) {
        let known = self.attempts.iter().any(|attempt| attempt.call == call);
        if self.stage != Stage::Trying || !known || !(101..200).contains(&status) {
            return;
        }
        let may_be_heard = self.early.is_none_or(|early| early == call);
        if described && self.early_policy == EarlyMedia::Pass && may_be_heard {
            self.early = Some(call);
            return self.tell(status, true, fields);
        }
        // Who hears one of them already is not told that another one rings.
        if !may_be_heard {
            return;
        }
        let status = if described { 180 } else { status };
        // 199 tells that one branch has ended, which is nothing to the caller.
        if status != self.told && status != 199 {
            self.tell(status, false, fields);
        }
    }

    /// A target has sent the call elsewhere, and that is followed: who rings now has the whole time, and
    /// so have those that ring beside it.
    pub fn handle_redirected(&mut self, now: Instant, call: CallId) {
        let rings = self.attempts.iter().any(|attempt| attempt.call == call);
        if self.stage == Stage::Trying && rings && self.ring_limit.is_some() {
            self.ring_limit = self.ring_time.map(|limit| now + limit);
        }
    }

    /// A target answered, or one that follows a transfer.
    pub fn handle_answer(&mut self, now: Instant, call: CallId, fields: Fields) {
        match self.stage {
            Stage::Trying if self.attempts.iter().any(|a| a.call == call) => {
                self.stage = Stage::Up([Side::of(self.caller), Side::of(call)]);
                self.answered = true;
                self.ring_limit = None;
                self.talk_limit = self.max_duration.map(|limit| now + limit);
                self.groups.clear();
                self.forget_dialling();
                for attempt in std::mem::take(&mut self.attempts) {
                    if attempt.call != call {
                        self.hang_up(attempt.call, elsewhere());
                    }
                }
                self.actions.push_back(Action::Answer {
                    callee: call,
                    fields,
                });
            }
            Stage::Up(mut sides) => {
                let following = sides.iter_mut().find(|side| side.follower == Some(call));
                let Some(side) = following else {
                    return;
                };
                side.follower = None;
                let left = side.party.replace(call);
                self.stage = Stage::Up(sides);
                self.let_go(now, left);
            }
            _ => {}
        }
    }

    /// A party is about to be replaced by `follower`, which is being dialled (REFER).
    pub fn handle_follower(&mut self, party: CallId, follower: CallId) {
        let Stage::Up(mut sides) = self.stage else {
            return;
        };
        if let Some(side) = sides.iter_mut().find(|side| side.party == Some(party)) {
            side.follower = Some(follower);
            self.live.insert(follower);
            self.stage = Stage::Up(sides);
        }
    }

    /// A call has taken the place of a party (Replaces); the party ends by itself.
    pub fn handle_replaced(&mut self, now: Instant, party: CallId, by: CallId) {
        let Stage::Up(mut sides) = self.stage else {
            return;
        };
        if let Some(side) = sides.iter_mut().find(|side| side.party == Some(party)) {
            let left = side.party.replace(by);
            side.follower = side.follower.filter(|follower| *follower != by);
            self.live.insert(by);
            self.stage = Stage::Up(sides);
            self.let_go(now, left);
        }
    }

    /// A party goes over to another passage: nothing more is done with it here, and the rest ends.
    pub fn release(&mut self, party: CallId, fields: &Fields) {
        self.live.remove(&party);
        self.dismissed.remove(&party);
        self.end(fields);
    }

    /// A call of the passage has ended.
    pub fn handle_end(&mut self, now: Instant, call: CallId, farewell: Farewell) {
        if !self.live.remove(&call) {
            return;
        }
        self.dismissed.remove(&call);
        self.leaving.retain(|(_, leaving)| *leaving != call);
        match self.stage {
            Stage::Trying if call == self.caller => self.end_all(&farewell.fields),
            Stage::Trying => {
                let Some(index) = self.attempts.iter().position(|a| a.call == call) else {
                    return;
                };
                let attempt = self.attempts.remove(index);
                if self.early == Some(call) {
                    self.early = None;
                }
                if self.failover.contains(&farewell.status) && attempt.redial < MAX_REDIALS {
                    self.best = Some(best_of(self.best.take(), farewell));
                    return self.dial(attempt.target, attempt.redial + 1);
                }
                self.failed(now, farewell);
            }
            Stage::Up(sides) => self.side_ended(call, sides, farewell),
            Stage::Over => {}
        }
    }

    /// The caller cannot be answered, though somebody answered for it.
    pub fn handle_unanswerable(&mut self, status: u16) {
        let Stage::Up([caller, _]) = self.stage else {
            return;
        };
        let waits = caller.party == Some(self.caller) && self.live.contains(&self.caller);
        if waits && self.dismissed.insert(self.caller) {
            self.answered = false;
            self.actions.push_back(Action::Refuse {
                status,
                fields: Fields::new(),
            });
        }
        self.end_all(&Fields::new());
    }

    /// Ends everything.
    pub fn end(&mut self, fields: &Fields) {
        if self.stage != Stage::Over {
            self.end_all(fields);
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.ring_limit.is_some_and(|at| at <= now) {
            self.ring_limit = None;
            self.rung_in_vain(now);
        }
        if self.talk_limit.is_some_and(|at| at <= now) {
            self.end_all(&Fields::new());
        }
        while let Some(index) = self.leaving.iter().position(|(at, _)| *at <= now) {
            let (_, call) = self.leaving.remove(index);
            self.hang_up(call, Fields::new());
        }
    }

    /// Nobody of those that ring has answered in time.
    fn rung_in_vain(&mut self, now: Instant) {
        self.early = None;
        self.forget_dialling();
        for attempt in std::mem::take(&mut self.attempts) {
            self.hang_up(attempt.call, reason(TOO_LONG));
        }
        self.failed(
            now,
            Farewell {
                status: 408,
                fields: Fields::new(),
            },
        );
    }

    fn side_ended(&mut self, call: CallId, mut sides: [Side; 2], farewell: Farewell) {
        if let Some(side) = sides.iter_mut().find(|side| side.follower == Some(call)) {
            side.follower = None;
            let alone = side.party.is_none();
            self.stage = Stage::Up(sides);
            if alone {
                self.end_all(&farewell.fields);
            }
            return;
        }
        let Some(side) = sides.iter_mut().find(|side| side.party == Some(call)) else {
            return;
        };
        side.party = None;
        // Who transfers may hang up before the one that follows has answered.
        let followed = side.follower.is_some();
        self.stage = Stage::Up(sides);
        if !followed {
            self.end_all(&farewell.fields);
        }
    }

    /// A target is of no use: the next ones are dialled where that makes sense, or the caller is
    /// refused once nobody rings any more.
    fn failed(&mut self, now: Instant, farewell: Farewell) {
        if self.stage != Stage::Trying {
            return;
        }
        let last_word = (600..700).contains(&farewell.status);
        let goes_on = self.hunts || self.failover.contains(&farewell.status);
        self.best = Some(best_of(self.best.take(), farewell));
        if last_word || !goes_on {
            self.groups.clear();
        }
        if last_word {
            self.forget_dialling();
            for attempt in std::mem::take(&mut self.attempts) {
                self.hang_up(attempt.call, Fields::new());
            }
        }
        if self.attempts.is_empty() && self.dialling.is_empty() {
            self.advance(now);
        }
    }

    /// Dials the next targets, or refuses the caller where there are none.
    fn advance(&mut self, now: Instant) {
        let Some((count, limit)) = self.groups.pop_front() else {
            let best = self.best.take().unwrap_or(Farewell {
                status: 404,
                fields: Fields::new(),
            });
            self.stage = Stage::Over;
            self.ring_limit = None;
            if self.live.contains(&self.caller) {
                self.dismissed.insert(self.caller);
                self.actions.push_back(Action::Refuse {
                    status: shown(best.status),
                    fields: best.fields,
                });
            }
            return;
        };
        self.ring_time = limit;
        self.ring_limit = limit.map(|limit| now + limit);
        let first = self.next_target;
        self.next_target += count;
        for target in first..first + count {
            self.dial(target, 0);
        }
    }

    fn forget_dialling(&mut self) {
        self.unwanted += self.dialling.len();
        self.dialling.clear();
    }

    fn dial(&mut self, target: usize, redial: u8) {
        self.dialling.push((target, redial));
        self.actions.push_back(Action::Dial { target, redial });
    }

    fn tell(&mut self, status: u16, described: bool, fields: Fields) {
        self.told = status;
        self.actions.push_back(Action::Tell {
            status,
            described,
            fields,
        });
    }

    /// One that has handed its place on is given some time to hang up by itself.
    fn let_go(&mut self, now: Instant, party: Option<CallId>) {
        if let Some(party) = party.filter(|party| self.live.contains(party)) {
            self.leaving.push((now + LEAVING, party));
        }
    }

    fn end_all(&mut self, fields: &Fields) {
        self.stage = Stage::Over;
        self.ring_limit = None;
        self.talk_limit = None;
        self.early = None;
        self.groups.clear();
        self.attempts.clear();
        self.forget_dialling();
        let live: Vec<CallId> = self.live.iter().copied().collect();
        for call in live {
            self.hang_up(call, fields.clone());
        }
    }

    fn hang_up(&mut self, call: CallId, fields: Fields) {
        if self.live.contains(&call) && self.dismissed.insert(call) {
            self.actions.push_back(Action::HangUp { call, fields });
        }
    }
}

fn elsewhere() -> Fields {
    reason(ELSEWHERE)
}

fn reason(text: &str) -> Fields {
    vec![("Reason".into(), text.into())]
}

/// The better of two refusals to tell the caller: one of 6xx, else one of the lowest class, among
/// those of 4xx one that says what to mend, else the earlier one (RFC 3261 §16.7 step 6).
fn best_of(best: Option<Farewell>, new: Farewell) -> Farewell {
    let Some(best) = best else {
        return new;
    };
    let rank = |status: u16| match status {
        600..700 => 0,
        300..400 => 1,
        // What only says that this target was of no use.
        408 => 4,
        401 | 407 | 415 | 420 | 484 => 2,
        400..500 => 3,
        _ => 5,
    };
    match rank(new.status) < rank(best.status) {
        true => new,
        false => best,
    }
}

/// A target's refusal as the caller sees it. What asks for credentials asks this side, and not the
/// caller; where to turn instead is not told; and that a target is overloaded does not say that this
/// engine is (RFC 3261 §16.7 step 6).
fn shown(status: u16) -> u16 {
    match status {
        401 | 407 => 403,
        503 => 500,
        400..700 => status,
        _ => 480,
    }
}

#[cfg(test)]
mod tests;

//! Callers that are connected to others: what a passage wants, done with calls, rooms and the agent.

use std::collections::{BTreeMap, BTreeSet};

use crate::b2bua::passage::{Action, Farewell, Fields, Passage};
use crate::b2bua::plan::{EarlyMedia, Identity, Plan, Target};
use crate::b2bua::trunk::table::Permit;
use crate::call::cause::{Cause, EndReason};
use crate::call::data::carriage::PURPOSE;
use crate::engine::core::call::Stage;
use crate::engine::core::dialling::{ANONYMOUS, DialRequest};
use crate::engine::core::passages::Connected;
use crate::engine::core::signalling::{refusal_headers, sip_status};
use crate::engine::core::{Core, next};
use crate::engine::event::{CallError, Caller, Event, PassageState};
use crate::id::{CallId, PassageId, TrunkId};
use crate::sdp::negotiate::state::State;
use crate::sip::agent::command::Body;
use crate::sip::agent::event::{Cause as AgentCause, Failure};
use crate::sip::header::Name;
use crate::sip::header::privacy::Privacy;
use crate::sip::header::session_id::SessionUuid;
use crate::sip::message::Message;
use crate::sip::status::StatusCode;
use crate::sip::transport::route;
use crate::sip::uri::Uri;
use crate::time::Instant;

/// Reasons of one message that are carried through.
const MAX_REASONS: usize = 4;

impl Core {
    /// Connects a caller that is not answered yet to whoever of `plan` answers, and carries through
    /// what either side does until both have ended. `who` is the caller as it was told of.
    ///
    /// # Errors
    /// [`CallError::WrongState`] where the call is answered, was dialled, or is connected already;
    /// [`CallError::Invalid`] where the plan names nobody, or no codec that the engine has.
    pub fn connect(
        &mut self,
        now: Instant,
        caller: CallId,
        who: &Caller,
        plan: Plan,
    ) -> Result<PassageId, CallError> {
        let invite = who.invite();
        let call = self.offered(now, caller)?;
        if call.replaces.is_some() {
            return Err(CallError::WrongState("the caller asks to replace a call"));
        }
        let passes = call.passes;
        if self.passages.of.contains_key(&caller) {
            return Err(CallError::WrongState("the call is being connected"));
        }
        if plan.target_count() == 0 {
            return Err(CallError::Invalid("the plan has no target".into()));
        }
        for names in [&plan.policy.caller_codecs, &plan.policy.target_codecs] {
            self.check_codecs(names.as_deref())?;
        }
        if let (Some(names), false) = (&plan.policy.caller_codecs, passes) {
            self.restrict(caller, &invite.body(), names.clone())?;
        }
        let early = match passes && plan.target_count() > 1 {
            // Descriptions of several cannot stand for one answer.
            true => EarlyMedia::Ringing,
            false => plan.policy.early_media,
        };
        let id = PassageId(next(&mut self.minted.passages));
        let passage = Connected {
            machine: Passage::new(now, caller, &plan, early),
            plan,
            invite: Some(invite.clone()),
            account: self.account_of(who),
            tried: BTreeMap::new(),
            passes,
            room: None,
            joined: None,
            stubborn: BTreeSet::new(),
            infos: Vec::new(),
            referrals: Vec::new(),
            absorbed: Vec::new(),
            deadline: None,
            refused: None,
            target_answered: None,
            from: BTreeMap::new(),
            given: BTreeMap::new(),
            acks: BTreeMap::new(),
            requests: BTreeMap::new(),
            reinvites: BTreeMap::new(),
        };
        self.passages.by_id.insert(id, passage);
        self.passages.of.insert(caller, id);
        self.passages.touch(id);
        self.run_passages(now);
        Ok(id)
    }

    /// Whose call it is: that of who has signed in, of a trunk, or of whoever is at that address.
    fn account_of(&self, who: &Caller) -> String {
        let trunk = who.trunk().and_then(|id| self.trunk_name(id));
        let user = who.user().map(str::to_owned).or(trunk);
        user.unwrap_or_else(|| who.source().ip().to_string())
    }

    /// Ends both sides of a connection, or gives it up. Where its caller was connected with somebody
    /// else's by a transfer, that connection ends.
    pub fn disconnect(&mut self, now: Instant, passage: PassageId, cause: &Cause) {
        self.now = now;
        let passage = self.passages.heir_of(passage);
        if let Some(connected) = self.passages.by_id.get_mut(&passage) {
            connected
                .machine
                .end(&vec![("Reason".into(), cause.to_reason().to_string())]);
            self.passages.touch(passage);
            self.run_passages(now);
        }
    }

    /// Callers that are being connected, or are.
    pub fn passage_count(&self) -> usize {
        self.passages.by_id.len()
    }

    fn check_codecs(&self, names: Option<&[String]>) -> Result<(), CallError> {
        let known = |name: &String| {
            let mut codecs = self.config.codecs.iter();
            codecs.any(|codec| codec.rtp_map().encoding.eq_ignore_ascii_case(name))
        };
        match names.is_none_or(|names| names.iter().any(known)) {
            true => Ok(()),
            false => Err(CallError::Invalid("no codec of the engine's".into())),
        }
    }

    /// Answers a caller's offer anew, with these codecs; nothing of the former answer has gone out.
    fn restrict(&mut self, id: CallId, offer: &[u8], names: Vec<String>) -> Result<(), CallError> {
        let mut sdp = self.new_negotiator();
        let call = self.calls.get(&id).ok_or(CallError::Gone)?;
        let port = call
            .port
            .ok_or(CallError::WrongState("the call has no media port"))?;
        let mut fresh = None;
        if !offer.is_empty() {
            let local = self.local_media(port, false, &call.security, Some(&names));
            let answered = sdp.handle_offer(offer).and_then(|()| sdp.answer(&local));
            let answered =
                answered.map_err(|error| CallError::Refused(sip_status(&error).code()))?;
            fresh = Some(answered);
        }
        let call = self.call_mut(id)?;
        call.codecs = Some(names);
        if let Some((answer, agreed)) = fresh {
            call.sdp = sdp;
            call.answer = Some(answer);
            call.agreed = Some(agreed);
        }
        Ok(())
    }

    /// A call's passage shall look what has become of it.
    pub(super) fn touch_passage_of(&mut self, call: CallId) {
        if let Some(id) = self.passages.of.get(&call).copied() {
            self.passages.touch(id);
        }
    }

    /// A target is on the way.
    pub(super) fn carry_progress(&mut self, id: CallId, response: &Message) {
        let described = self.calls.get(&id).is_some_and(|call| call.leg.is_some());
        self.carry_ringing(id, response, described);
    }

    pub(super) fn carry_ringing(&mut self, id: CallId, response: &Message, described: bool) {
        let status = response.status().map_or(0, StatusCode::code);
        let fields = self.fields_of(id, response);
        if let Some((passage, connected)) = self.passages.of(id) {
            connected
                .machine
                .handle_progress(id, status, described, fields);
            self.passages.touch(passage);
        }
    }

    /// A target answered.
    pub(super) fn carry_answer(&mut self, now: Instant, id: CallId, response: &Message) {
        // One that answers what cannot be used is being hung up already.
        if self
            .calls
            .get(&id)
            .is_none_or(|call| call.verdict.is_some())
        {
            return;
        }
        let fields = self.fields_of(id, response);
        if let Some((passage, connected)) = self.passages.of(id) {
            let target = connected.machine.target_of(id);
            connected.target_answered = connected.target_answered.or(target);
            connected.machine.handle_answer(now, id, fields);
            self.passages.touch(passage);
        }
    }

    /// A call of a passage has ended.
    pub(super) fn carry_end(&mut self, now: Instant, id: CallId, farewell: Option<Farewell>) {
        let (Some(farewell), Some((passage, connected))) = (farewell, self.passages.of(id)) else {
            return;
        };
        connected.machine.handle_end(now, id, farewell);
        self.passages.of.remove(&id);
        self.passages.touch(passage);
    }

    /// What of the end of a call the other side is told; `None` for a call of no passage.
    pub(super) fn farewell_of(&mut self, id: CallId, cause: &AgentCause) -> Option<Farewell> {
        let verdict = self.calls.get(&id).and_then(|call| call.verdict.clone());
        self.passages.of(id)?;
        let message = match cause {
            AgentCause::RemoteBye { request } | AgentCause::RemoteCancel { request } => {
                Some(request)
            }
            AgentCause::Rejected { response } => Some(response),
            _ => None,
        };
        let status = match (cause, &verdict) {
            (AgentCause::Rejected { response }, _) => response.status().map_or(0, StatusCode::code),
            (_, Some(EndReason::Incompatible)) => StatusCode::NOT_ACCEPTABLE_HERE.code(),
            (AgentCause::NoAnswer | AgentCause::Failed(Failure::Timeout), _) => {
                StatusCode::REQUEST_TIMEOUT.code()
            }
            (AgentCause::Failed(_), _) => StatusCode::SERVICE_UNAVAILABLE.code(),
            _ => StatusCode::TEMPORARILY_UNAVAILABLE.code(),
        };
        let mut fields = message.map_or_else(Fields::new, |message| self.fields_of(id, message));
        let reasons = message.into_iter().flat_map(Message::reasons);
        for reason in reasons.flatten().take(MAX_REASONS) {
            let text = reason.to_string();
            if !text.chars().any(char::is_control) {
                fields.push(("Reason".into(), text));
            }
        }
        let own = match verdict {
            Some(EndReason::MediaTimeout) => Some(Cause::media_timeout()),
            Some(EndReason::Shutdown) => Some(Cause::shutdown()),
            Some(EndReason::Incompatible) => Some(Cause::incompatible()),
            _ => None,
        };
        if let Some(own) = own {
            fields.push(("Reason".into(), own.to_reason().to_string()));
        }
        Some(Farewell { status, fields })
    }

    /// Runs the clocks of passages.
    pub(super) fn run_passage_deadlines(&mut self, now: Instant) {
        while let Some((at, id)) = self.passages.deadlines.first().copied() {
            if at > now {
                break;
            }
            self.passages.deadlines.remove(&(at, id));
            if let Some(connected) = self.passages.by_id.get_mut(&id) {
                connected.deadline = None;
                connected.machine.handle_timeout(now);
                self.passages.touch(id);
            }
        }
        self.run_passages(now);
    }

    /// Does what passages want, until none wants anything.
    pub(super) fn run_passages(&mut self, now: Instant) {
        if std::mem::replace(&mut self.passages.running, true) {
            return;
        }
        while let Some(id) = self.passages.touched.pop_first() {
            while let Some(action) = self.next_action(id) {
                self.act(now, id, action);
            }
            self.settle(now, id);
        }
        self.passages.running = false;
    }

    fn next_action(&mut self, id: PassageId) -> Option<Action> {
        self.passages.by_id.get_mut(&id)?.machine.poll_action()
    }

    fn act(&mut self, now: Instant, id: PassageId, action: Action) {
        match action {
            Action::Dial { target, redial } => {
                let outcome = self.dial_target(now, id, target, redial);
                self.dialled(now, id, target, outcome);
            }
            Action::Tell {
                status,
                described,
                fields,
            } => self.tell_caller(now, id, status, described, fields),
            Action::Answer { callee, fields } => self.answer_caller(now, id, callee, fields),
            Action::Refuse { status, fields } => self.refuse_caller(now, id, status, fields),
            Action::HangUp { call, fields } => {
                // It fails only where the call is over already.
                let _over = self.hang_up_saying(now, call, fields);
            }
        }
    }

    fn dialled(
        &mut self,
        now: Instant,
        id: PassageId,
        target: usize,
        outcome: Result<CallId, StatusCode>,
    ) {
        let Some(connected) = self.passages.by_id.get_mut(&id) else {
            return;
        };
        let call = outcome.ok();
        let outcome = outcome.map_err(StatusCode::code);
        connected.machine.handle_dialled(now, target, outcome);
        let Some(call) = call else { return };
        if self.calls.contains_key(&call) {
            self.passages.of.insert(call, id);
            return;
        }
        // It failed at once.
        let farewell = Farewell {
            status: StatusCode::SERVICE_UNAVAILABLE.code(),
            fields: Fields::new(),
        };
        connected.machine.handle_end(now, call, farewell);
    }

    fn dial_target(
        &mut self,
        now: Instant,
        id: PassageId,
        target: usize,
        redial: u8,
    ) -> Result<CallId, StatusCode> {
        let gone = StatusCode::SERVICE_UNAVAILABLE;
        let connected = self.passages.by_id.get(&id).ok_or(gone)?;
        let invite = connected.invite.as_ref().ok_or(gone)?;
        let caller = self.calls.get(&connected.machine.caller()).ok_or(gone)?;
        let (number, target) = (target, connected.plan.target(target).ok_or(gone)?);
        if redial > 0 && target.trunk.is_none() {
            return Err(gone);
        }
        let forwards = invite.max_forwards().ok().flatten().unwrap_or(70);
        let forwards = forwards.checked_sub(1).ok_or(StatusCode::TOO_MANY_HOPS)?;
        let mut request = self.request_for(target, invite, &connected.plan);
        request.max_forwards = forwards;
        request.session_uuid = self.uuid_of(connected.machine.caller());
        request.codecs = self.codecs_for(connected, caller.agreed.as_ref().map(|a| &a.send));
        if !connected.passes {
            let caller = connected.machine.caller();
            if !self.data(caller).unwrap_or_default().is_empty() {
                // It goes along as this engine carries data; what other programs say stays.
                let data = |name: &str, value: &str| {
                    name.eq_ignore_ascii_case("User-to-User") && value.contains(PURPOSE)
                };
                request.headers.retain(|(name, value)| !data(name, value));
            }
            request.on_behalf_of = Some(caller);
        }
        let permit = match target.trunk {
            Some(trunk) => {
                let target = target.clone();
                Some(self.by_trunk_for(now, id, (trunk, number), &target, &mut request)?)
            }
            None => None,
        };
        let kept = match self.is_own(&request) {
            true => Err(StatusCode::LOOP_DETECTED),
            false => self.keep_private(&mut request, id),
        };
        if let Err(status) = kept {
            self.count_at_trunk(permit, None);
            return Err(status);
        }
        let connected = self.passages.by_id.get(&id).ok_or(gone)?;
        let invite = connected.invite.as_ref().ok_or(gone)?;
        let offer = invite.body();
        let content_type = invite.content_type().ok().flatten();
        let dialled = match connected.passes {
            true => {
                let body = (!offer.is_empty()).then(|| Body {
                    content_type: content_type.map_or_else(String::new, |t| t.to_string()),
                    bytes: offer,
                });
                self.dial_passing(now, request, body)
            }
            false => self.dial(now, request),
        };
        self.count_at_trunk(permit, dialled.as_ref().ok().copied());
        dialled.map_err(|error| match error {
            CallError::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::SERVER_INTERNAL_ERROR,
        })
    }

    /// Completes a call with the way to its trunk, by an address that was not tried.
    fn by_trunk_for(
        &mut self,
        now: Instant,
        id: PassageId,
        (trunk, number): (TrunkId, usize),
        target: &Target,
        request: &mut DialRequest,
    ) -> Result<Permit, StatusCode> {
        let gone = StatusCode::SERVICE_UNAVAILABLE;
        let connected = self.passages.by_id.get_mut(&id).ok_or(gone)?;
        let account = connected.account.clone();
        let tried = connected.tried.entry(number).or_default().clone();
        let permit = self.by_trunk(now, (trunk, &account), target, &tried, request)?;
        if let (Some(connected), Some(address)) =
            (self.passages.by_id.get_mut(&id), permit.address())
        {
            connected.tried.entry(number).or_default().push(address);
        }
        Ok(permit)
    }

    /// The call to a target, as the caller's INVITE and the policy want it.
    fn request_for(&self, target: &Target, invite: &Message, plan: &Plan) -> DialRequest {
        let policy = &plan.policy;
        let mut request = DialRequest::new(&target.uri);
        request.to.clone_from(&target.to);
        request.routes.clone_from(&target.routes);
        request.flow = target.flow;
        request.account.clone_from(&target.account);
        request.media_security = target.media_security;
        request.headers = policy.to_target.apply(invite);
        request.headers.extend(target.headers.iter().cloned());
        let from = invite.from().ok();
        let name = from.as_ref().and_then(|from| from.display_name());
        let usable = |name: &str| !name.chars().any(char::is_control);
        request.display_name = name.map(|name| name.into_owned()).filter(|n| usable(n));
        let uri = from.as_ref().map(|from| from.uri());
        let user = uri.and_then(Uri::user).unwrap_or("anonymous");
        request.from = match &policy.identity {
            Identity::Hidden => Some(self.uri_of(user)),
            Identity::At(host) => Some(format!("sip:{user}@{host}")),
            Identity::Kept => uri.map(|uri| uri.without_headers().to_string()),
            Identity::Fixed(uri) => Some(uri.clone()),
        };
        request
    }

    /// Does for a caller what he wants kept from others, where the call leaves the trust domain
    /// (RFC 3323 §5); within it that is left to those who come after.
    ///
    /// # Errors
    /// The status to refuse with, where something cannot be done and the caller would rather not call.
    fn keep_private(&self, request: &mut DialRequest, id: PassageId) -> Result<(), StatusCode> {
        let connected = self.passages.by_id.get(&id);
        let invite = connected.and_then(|it| Some((it.passes, it.invite.as_ref()?)));
        let Some((passes, invite)) = invite else {
            return Ok(());
        };
        let wish = invite.privacy().unwrap_or_default();
        let next_hop = request.routes.first().unwrap_or(&request.target);
        let tells = Uri::parse(next_hop).is_ok_and(|hop| self.config.trust.tells(&hop));
        if request.trusted.unwrap_or(tells && request.flow.is_none()) {
            return Ok(());
        }
        let undone = match passes {
            true => Privacy::UNKNOWN | Privacy::SESSION,
            false => Privacy::UNKNOWN,
        };
        if wish.wants(undone) && wish.wants(Privacy::CRITICAL) {
            return Err(StatusCode::SERVER_INTERNAL_ERROR);
        }
        if wish.wants(Privacy::ID | Privacy::USER) {
            let from = invite.from().ok();
            let user = from.as_ref().and_then(|from| from.uri().user());
            let shown = request.from.as_deref().and_then(|uri| Uri::parse(uri).ok());
            // A trunk's own number says nothing of the caller.
            if shown.is_none_or(|shown| shown.user() == user) {
                request.from = Some(ANONYMOUS.to_owned());
            }
            request.display_name = Some("Anonymous".to_owned());
        }
        if wish.wants(Privacy::USER | Privacy::HEADER) {
            request.headers.retain(|(name, _)| !tells_of_caller(name));
        }
        // What is done is not asked for again (RFC 3323 §5.1).
        let done = (Privacy::USER | Privacy::HEADER | Privacy::SESSION | Privacy::CRITICAL)
            .without(undone);
        let left = wish.without(done | Privacy::UNKNOWN);
        let privacy = |name: &str| name.eq_ignore_ascii_case(Name::Privacy.as_str());
        let told = request.headers.iter().any(|(name, _)| privacy(name));
        request.headers.retain(|(name, _)| !privacy(name));
        if told && !left.is_empty() {
            let row = (Name::Privacy.as_str().to_owned(), left.to_string());
            request.headers.push(row);
        }
        Ok(())
    }

    /// A party's half of the session's identifier, where it has told it.
    pub(super) fn uuid_of(&self, party: CallId) -> Option<SessionUuid> {
        let uuid = self.session_identifier(party)?.remote?;
        (!uuid.is_nil()).then_some(uuid)
    }

    /// A user at this engine's own host.
    fn uri_of(&self, user: &str) -> String {
        let own = self.own_uri();
        let host = own.split_once('@').map_or("invalid", |(_, host)| host);
        format!("sip:{user}@{host}")
    }

    /// The codecs to offer to a target: what it may use, and what the caller uses first.
    fn codecs_for(
        &self,
        connected: &Connected,
        caller: Option<&crate::sdp::attribute::Format>,
    ) -> Option<Vec<String>> {
        if let Some(names) = &connected.plan.policy.target_codecs {
            return Some(names.clone());
        }
        let first = caller?.encoding.clone();
        let others = self.config.codecs.iter().map(|codec| codec.rtp_map());
        let others = others.map(|map| map.encoding.to_owned());
        let others = others.filter(|name| !name.eq_ignore_ascii_case(&first));
        Some([first.clone()].into_iter().chain(others).collect())
    }

    /// Whether a call would come straight back here.
    fn is_own(&self, request: &DialRequest) -> bool {
        if request.flow.is_some() {
            return false;
        }
        let next_hop = request.routes.first().unwrap_or(&request.target);
        let Ok(uri) = Uri::parse(next_hop) else {
            return false;
        };
        route::is_our_sent_by(self.agent.listeners(), uri.host(), uri.port())
    }

    fn tell_caller(
        &mut self,
        now: Instant,
        id: PassageId,
        status: u16,
        described: bool,
        fields: Fields,
    ) {
        let Some(connected) = self.passages.by_id.get_mut(&id) else {
            return;
        };
        let caller = connected.machine.caller();
        let Some(status) = StatusCode::new(status) else {
            return;
        };
        let body = match (described, connected.passes) {
            (false, _) => None,
            (true, true) => {
                let heard = connected.machine.pair().map(|(_, callee)| callee);
                let body = heard.and_then(|callee| connected.from.get(&callee).cloned());
                if let Some(body) = &body {
                    connected.given.insert(caller, body.clone());
                }
                body
            }
            (true, false) => self.early_description(caller),
        };
        let Ok(call) = self.call_mut(caller) else {
            return;
        };
        let session = call.session;
        let opens = body.is_some();
        // It fails where the caller has given up, or the response does not fit: it is told later.
        let _late = self.agent.ring(now, session, status, fields, body);
        if opens {
            self.apply_agreement(now, caller);
        }
        self.take_signalling(now);
    }

    /// What the caller is told of our sound before the answer: the answer to its offer, or our offer
    /// where its answer can come with the PRACK (RFC 3262 §5).
    fn early_description(&mut self, caller: CallId) -> Option<Body> {
        let call = self.calls.get(&caller)?;
        let session = call.session;
        if let Some(answer) = call.answer.clone() {
            return Some(Body::sdp(answer));
        }
        let fresh = call.agreed.is_none() && call.sdp.state() != State::LocalOffer;
        if !fresh || !self.agent.answers_reliably(session) {
            return None;
        }
        self.make_offer(caller).ok().map(Body::sdp)
    }

    fn answer_caller(&mut self, now: Instant, id: PassageId, callee: CallId, fields: Fields) {
        let Some(connected) = self.passages.by_id.get_mut(&id) else {
            return;
        };
        let (caller, passes) = (connected.machine.caller(), connected.passes);
        let target = connected.target_answered;
        if let Some(uuid) = self.uuid_of(callee) {
            // It fails only where the caller has given up.
            let _gone = self.set_session_uuid(now, caller, uuid);
        }
        let answered = match passes {
            true => self.answer_passing(now, id, callee, fields),
            false => {
                self.suit_codec(caller, callee, id);
                self.answer_any(now, caller, fields)
            }
        };
        let Some(connected) = self.passages.by_id.get_mut(&id) else {
            return;
        };
        connected.invite = None;
        match answered {
            Ok(()) => {
                let state = PassageState::Answered {
                    call: callee,
                    target: target.unwrap_or_default(),
                };
                self.events.push_back(Event::Passage { passage: id, state });
            }
            // A caller that has given up meanwhile says so itself; others have to be told.
            Err(_) => connected
                .machine
                .handle_unanswerable(StatusCode::SERVER_INTERNAL_ERROR.code()),
        }
        self.passages.touch(id);
    }

    /// Lets the caller use the codec that the target chose, where the caller offers it and has been
    /// told of none yet, so that nothing need be converted.
    fn suit_codec(&mut self, caller: CallId, callee: CallId, id: PassageId) {
        let send = |core: &Self, call: CallId| {
            let agreed = core.calls.get(&call)?.agreed.as_ref()?;
            Some(agreed.send.encoding.clone())
        };
        let (Some(wish), Some(has)) = (send(self, callee), send(self, caller)) else {
            return;
        };
        let undecided = self.calls.get(&caller).is_some_and(|c| c.leg.is_none());
        if !undecided || wish.eq_ignore_ascii_case(&has) {
            return;
        }
        let Some(connected) = self.passages.by_id.get(&id) else {
            return;
        };
        let allowed = connected.plan.policy.caller_codecs.clone();
        let all = || {
            self.config
                .codecs
                .iter()
                .map(|codec| codec.rtp_map().encoding.to_owned())
        };
        let mut names = allowed.unwrap_or_else(|| all().collect());
        let Some(index) = names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(&wish))
        else {
            return;
        };
        let first = names.remove(index);
        names.insert(0, first);
        let Some(offer) = connected.invite.as_ref().map(Message::body) else {
            return;
        };
        // Where it cannot be done the former answer stands.
        let _kept = self.restrict(caller, &offer, names);
    }

    fn refuse_caller(&mut self, now: Instant, id: PassageId, status: u16, mut fields: Fields) {
        let Some(connected) = self.passages.by_id.get_mut(&id) else {
            return;
        };
        connected.refused = Some(status);
        connected.invite = None;
        let caller = connected.machine.caller();
        let (Ok(call), Some(status)) = (self.call_mut(caller), StatusCode::new(status)) else {
            return;
        };
        let session = call.session;
        let retries = fields.iter().any(|(name, _)| name == "Retry-After");
        if !retries {
            fields.extend(refusal_headers(status));
        }
        // It fails only where the caller has given up.
        let _over = self.agent.reject(now, session, status, fields);
        self.take_signalling(now);
    }

    /// Brings about what the state of a passage asks for: who hears whom, who is on hold, what was
    /// asked for by either side; and forgets it once it is over.
    fn settle(&mut self, now: Instant, id: PassageId) {
        self.arrange_sound(now, id);
        self.arrange_hold(now, id);
        self.carry_infos(now, id);
        self.carry_referrals(now, id);
        let Some(connected) = self.passages.by_id.get_mut(&id) else {
            return;
        };
        let deadline = connected.machine.poll_timeout();
        let former = std::mem::replace(&mut connected.deadline, deadline);
        if former != deadline {
            let deadlines = &mut self.passages.deadlines;
            former.map(|at| deadlines.remove(&(at, id)));
            deadline.map(|at| deadlines.insert((at, id)));
        }
        if connected.machine.is_over() {
            self.forget_passage(now, id);
        }
    }

    fn forget_passage(&mut self, now: Instant, id: PassageId) {
        let Some(connected) = self.passages.by_id.remove(&id) else {
            return;
        };
        if let Some(at) = connected.deadline {
            self.passages.deadlines.remove(&(at, id));
        }
        if let Some(room) = connected.room {
            self.close_room(now, room);
        }
        // One whose caller goes on in another passage ends with that one.
        if self.passages.heir_of(id) == id {
            let refused = connected.refused;
            self.tell_ended(id, refused);
        }
        for gone_over in connected.absorbed {
            self.passages.heirs.remove(&gone_over);
            if !self.passages.by_id.contains_key(&gone_over) {
                self.tell_ended(gone_over, None);
            }
        }
    }

    fn tell_ended(&mut self, passage: PassageId, refused: Option<u16>) {
        let state = PassageState::Ended { refused };
        self.events.push_back(Event::Passage { passage, state });
    }

    /// Lets the two that shall hear each other do so, once both have media.
    fn arrange_sound(&mut self, now: Instant, id: PassageId) {
        let Some(connected) = self.passages.by_id.get(&id) else {
            return;
        };
        let pair = connected.machine.pair();
        if connected.passes || connected.joined == pair {
            return;
        }
        let (joined, room) = (connected.joined, connected.room);
        if let (Some((a, b)), Some(room)) = (joined, room) {
            let stays = |call| pair.is_some_and(|(x, y)| call == x || call == y);
            for call in [a, b].into_iter().filter(|call| !stays(*call)) {
                // It fails only where the call is over.
                let _over = self.leave(now, room, call);
            }
        }
        let Some((a, b)) = pair else {
            return self.note_joined(id, None);
        };
        let has_leg = |call| self.calls.get(&call).is_some_and(|c| c.leg.is_some());
        if !(has_leg(a) && has_leg(b)) {
            return self.note_joined(id, None);
        }
        let room = match room {
            Some(room) => Ok(room),
            None => self.create_room(now),
        };
        let both = room.and_then(|room| {
            if let Some(connected) = self.passages.by_id.get_mut(&id) {
                connected.room = Some(room);
            }
            for call in [a, b] {
                if self.calls.get(&call).and_then(|c| c.room) != Some(room) {
                    self.join(now, room, call)?;
                }
            }
            Ok(())
        });
        self.note_joined(id, both.is_ok().then_some((a, b)));
    }

    fn note_joined(&mut self, id: PassageId, joined: Option<(CallId, CallId)>) {
        if let Some(connected) = self.passages.by_id.get_mut(&id) {
            connected.joined = joined;
        }
    }

    /// Puts each party on hold whose other party holds the engine, and takes it from hold again.
    fn arrange_hold(&mut self, now: Instant, id: PassageId) {
        let Some(connected) = self.passages.by_id.get(&id) else {
            return;
        };
        let Some((a, b)) = connected.machine.pair() else {
            return;
        };
        if connected.passes || !connected.plan.policy.carry_hold {
            return;
        }
        for (from, to) in [(a, b), (b, a)] {
            let wants = self.calls.get(&from).is_some_and(|call| call.held_by_peer);
            let Some(call) = self.calls.get(&to) else {
                continue;
            };
            let ready = call.stage == Stage::Up
                && call.change.is_none()
                && call.sdp.state() == State::Stable;
            let stubborn = self.is_stubborn(id, to);
            if !ready || stubborn || call.held_by_us == wants {
                continue;
            }
            let changed = match wants {
                true => self.hold(now, to),
                false => self.resume(now, to),
            };
            if let (Err(_), Some(connected)) = (changed, self.passages.by_id.get_mut(&id)) {
                // It is looked at again with the next change.
                connected.stubborn.insert(to);
            }
        }
    }

    fn is_stubborn(&self, id: PassageId, call: CallId) -> bool {
        let connected = self.passages.by_id.get(&id);
        connected.is_some_and(|connected| connected.stubborn.contains(&call))
    }

    fn carry_infos(&mut self, now: Instant, id: PassageId) {
        let Some(connected) = self.passages.by_id.get_mut(&id) else {
            return;
        };
        for (from, content_type, body) in std::mem::take(&mut connected.infos) {
            let connected = self.passages.by_id.get(&id);
            if let Some(to) = connected.and_then(|connected| connected.other(from)) {
                // It fails where the other side is not up; then there is nobody to tell.
                let _gone = self.send_info(now, to, &content_type, body);
            }
        }
    }
}

/// Whether a header field tells of a caller and is not needed (RFC 3323 §4.1, §5.1).
fn tells_of_caller(name: &str) -> bool {
    let telling = [
        Name::Subject,
        Name::CallInfo,
        Name::Organization,
        Name::UserAgent,
        Name::ReplyTo,
        Name::InReplyTo,
        Name::HistoryInfo,
        Name::Diversion,
    ];
    Name::parse(name).is_some_and(|name| telling.contains(&name))
}

//! Data bound to calls: shared by the legs of one matter, carried in messages, taken from peers.

use crate::call::data::carriage::{self, Brought, Way};
use crate::call::data::reference::References;
use crate::call::data::{CallData, DataError, Value};
use crate::engine::core::call::Stage;
use crate::engine::core::dialling::DialRequest;
use crate::engine::core::{Core, next};
use crate::engine::event::{CallError, CallEvent};
use crate::id::CallId;
use crate::sip::agent::command::{Body, Invite};
use crate::sip::message::Message;
use crate::time::{Instant, WallTime};

/// Data of one matter, and how many calls are about it.
#[derive(Debug, Default)]
pub(super) struct Matter {
    data: CallData,
    calls: usize,
}

/// What a call knows of its data.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The matter that the call is about, from the first value on.
    matter: Option<u64>,
    /// The name in the store of data that is still to be fetched.
    stored: Option<String>,
}

/// Data that has to be stored before a message can refer to it.
#[derive(Debug)]
pub struct Storing {
    /// The data, encoded.
    pub data: Vec<u8>,
    /// Until when it is to be kept.
    pub expires: WallTime,
    /// Where, and what the reference is signed with.
    pub references: References,
}

impl Core {
    /// The data of a call, which all calls about the same matter share.
    pub fn data(&self, id: CallId) -> Result<CallData, CallError> {
        let call = self.calls.get(&id).ok_or(CallError::Gone)?;
        let matter = call
            .data
            .matter
            .and_then(|matter| self.matters.get(&matter));
        Ok(matter.map(|matter| matter.data.clone()).unwrap_or_default())
    }

    /// Replaces the data of a call, and so of all calls about the same matter.
    pub fn set_data(&mut self, now: Instant, id: CallId, data: CallData) -> Result<(), CallError> {
        self.now = now;
        self.matter_of(id)?.data = data;
        self.tell_change(now, id, None);
        Ok(())
    }

    /// Sets one value of a call's data, or takes it out.
    pub fn set_value(
        &mut self,
        now: Instant,
        id: CallId,
        key: &str,
        value: Option<Value>,
    ) -> Result<(), CallError> {
        self.now = now;
        let data = &mut self.matter_of(id)?.data;
        match value {
            Some(value) => data.set(key, value).map_err(refused)?,
            None => drop(data.remove(key)),
        }
        self.tell_change(now, id, None);
        Ok(())
    }

    /// Tells the parties of a matter that its data has changed, but for the one that says so.
    pub(super) fn tell_change(&mut self, now: Instant, id: CallId, by: Option<CallId>) {
        if !self.config.call_data.tells_changes {
            return;
        }
        let matter = self.calls.get(&id).and_then(|call| call.data.matter);
        let Some((number, matter)) = matter.and_then(|n| Some((n, self.matters.get(&n)?))) else {
            return;
        };
        let encoded = matter.data.encode();
        let calls = self.calls.iter();
        let told = calls.filter(|(call, state)| {
            let up = state.stage == Stage::Up && state.ending.is_none();
            state.data.matter == Some(number) && state.trusted && up && Some(**call) != by
        });
        let told: Vec<CallId> = told.map(|(call, _)| *call).collect();
        for call in told {
            // It fails only where the call ends at this moment.
            let _over = self.send_info(now, call, carriage::CONTENT_TYPE, encoded.clone());
        }
    }

    /// Takes data that a party tells of while the call is up; true where it told of some.
    pub(super) fn take_told(&mut self, now: Instant, id: CallId, request: &Message) -> bool {
        let trusted = self.calls.get(&id).is_some_and(|call| call.trusted);
        if !self.config.call_data.takes(trusted) {
            return false;
        }
        let brought = carriage::brought(request);
        if brought == Brought::Nothing {
            return false;
        }
        let before = self.data(id).unwrap_or_default();
        self.take_brought(now, id, brought);
        if self.data(id).unwrap_or_default() != before {
            self.emit(id, CallEvent::DataChanged);
            self.tell_change(now, id, Some(id));
        }
        true
    }

    fn matter_of(&mut self, id: CallId) -> Result<&mut Matter, CallError> {
        let held = self.call_mut(id)?.data.matter;
        let matter = match held {
            Some(matter) => matter,
            None => {
                let matter = next(&mut self.minted.matters);
                self.call_mut(id)?.data.matter = Some(matter);
                matter
            }
        };
        let fresh = || Matter {
            calls: 1,
            ..Matter::default()
        };
        Ok(self.matters.entry(matter).or_insert_with(fresh))
    }

    /// Makes `new` a call about the matter of `old`; what it brought itself is added.
    pub(super) fn share_data(&mut self, old: CallId, new: CallId) {
        let brought = self.data(new).unwrap_or_default();
        let Ok(matter) = self.matter_of(old) else {
            return;
        };
        if matter.data.merge(&brought).is_err() {
            self.counters.data_refused += 1;
        }
        let matter = self.calls.get(&old).and_then(|call| call.data.matter);
        let held = self.calls.get(&new).and_then(|call| call.data.matter);
        if matter == held {
            return;
        }
        self.drop_data(new);
        if let (Some(call), Some(matter)) = (self.calls.get_mut(&new), matter) {
            call.data.matter = Some(matter);
            if let Some(shared) = self.matters.get_mut(&matter) {
                shared.calls += 1;
            }
        }
    }

    /// A call is over, or about something else.
    pub(super) fn drop_data(&mut self, id: CallId) {
        let matter = self
            .calls
            .get_mut(&id)
            .and_then(|call| call.data.matter.take());
        let Some(matter) = matter else {
            return;
        };
        if let Some(shared) = self.matters.get_mut(&matter) {
            shared.calls -= 1;
            if shared.calls == 0 {
                self.matters.remove(&matter);
            }
        }
    }

    /// Takes the data that an INVITE or its answer brings, where its sender's is taken.
    pub(super) fn take_data(&mut self, now: Instant, id: CallId, message: &Message) {
        let trusted = self.calls.get(&id).is_some_and(|call| call.trusted);
        if self.config.call_data.takes(trusted) {
            self.take_brought(now, id, carriage::brought(message));
        }
    }

    pub(super) fn take_brought(&mut self, now: Instant, id: CallId, brought: Brought) {
        let taken = match brought {
            Brought::Nothing => return,
            Brought::Broken(error) => Err(refused(error)),
            Brought::Data(data) => self.merge_data(id, &data),
            Brought::Reference(uri) => self.take_reference(now, id, &uri),
        };
        if taken.is_err() {
            self.counters.data_refused += 1;
        }
    }

    fn merge_data(&mut self, id: CallId, data: &CallData) -> Result<(), CallError> {
        self.matter_of(id)?.data.merge(data).map_err(refused)
    }

    fn take_reference(&mut self, now: Instant, id: CallId, uri: &str) -> Result<(), CallError> {
        let wall = self.anchor.wall_at(now);
        let references = self.config.call_data.references.as_ref();
        let unknown = CallError::WrongState("no references to call data are configured");
        let key = &references.ok_or(unknown)?.key;
        let stored = key.verify(uri, wall);
        let stored = stored.map_err(|error| CallError::Invalid(error.to_string()))?;
        self.call_mut(id)?.data.stored = Some(stored.to_owned());
        Ok(())
    }

    /// Where data of the call waits that has not been fetched yet.
    pub fn stored_data(&self, id: CallId) -> Option<(References, String)> {
        let stored = self.calls.get(&id)?.data.stored.clone()?;
        let references = self.config.call_data.references.clone()?;
        Some((references, stored))
    }

    /// What the store has found of a call's data; nothing where it is gone.
    pub fn handle_stored_data(&mut self, id: CallId, found: Option<&[u8]>) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.data.stored = None;
        }
        let data = found.ok_or(DataError::Broken).and_then(CallData::decode);
        let merged = data.map_err(refused);
        if merged.and_then(|data| self.merge_data(id, &data)).is_err() {
            self.counters.data_refused += 1;
        }
    }

    /// Completes a request that is made for another call: its data, and its party's part of the
    /// session's identifier.
    pub fn settle_request(&mut self, request: &mut DialRequest) -> Result<(), CallError> {
        let Some(other) = request.on_behalf_of else {
            return Ok(());
        };
        let mut data = self.data(other)?;
        if let Some(further) = &request.data {
            data.merge(further).map_err(refused)?;
        }
        request.data = Some(data);
        let remote = self.session_identifier(other).and_then(|it| it.remote);
        let remote = remote.filter(|uuid| !uuid.is_nil());
        request.session_uuid = request.session_uuid.or(remote);
        Ok(())
    }

    /// What has to be stored before `data` can travel.
    pub fn storing(&self, now: Instant, data: &CallData, in_uri: bool) -> Option<Storing> {
        let policy = &self.config.call_data;
        let way = match in_uri {
            true => policy.way_in_uri(data),
            false => policy.way(data),
        };
        let references = policy
            .references
            .clone()
            .filter(|_| way == Way::Reference)?;
        Some(Storing {
            data: data.encode(),
            expires: self.anchor.wall_at(now) + references.lifetime,
            references,
        })
    }

    /// Puts the data of a request into its INVITE.
    pub(super) fn carry_data(
        &self,
        request: &DialRequest,
        invite: &mut Invite,
    ) -> Result<(), CallError> {
        let header = match (&request.data_reference, &request.data) {
            (Some(uri), _) => carriage::reference(uri),
            (None, None) => return Ok(()),
            (None, Some(data)) => match self.config.call_data.way(data) {
                Way::None => return Ok(()),
                Way::UserToUser => carriage::user_to_user(data),
                // What should have been stored was not.
                Way::Body | Way::Reference
                    if self.config.call_data.in_body && invite.body.is_some() =>
                {
                    let description = invite.body.take().unwrap_or_else(|| Body::sdp(""));
                    let (headers, body) = carriage::body(description, data);
                    invite.headers.extend(headers);
                    invite.body = Some(body);
                    return Ok(());
                }
                Way::Body | Way::Reference | Way::Blocked => None,
            },
        };
        let unfit = || CallError::Invalid("the call's data fits nowhere".into());
        invite.headers.push(header.ok_or_else(unfit)?);
        Ok(())
    }

    /// The header fields of a Refer-To that carry a call's data to a party of the trust domain; others
    /// are not told any.
    pub(super) fn data_to_refer(
        &self,
        id: CallId,
        reference: Option<&str>,
    ) -> Result<Vec<(String, String)>, CallError> {
        if !self.calls.get(&id).is_some_and(|call| call.trusted) {
            return Ok(Vec::new());
        }
        let data = self.data(id)?;
        let unfit = || CallError::Invalid("the call's data does not fit a REFER".into());
        let header = match (self.config.call_data.way_in_uri(&data), reference) {
            (Way::None, _) => return Ok(Vec::new()),
            (Way::UserToUser, _) => carriage::user_to_user(&data),
            (Way::Reference, Some(uri)) => carriage::reference(uri),
            _ => None,
        };
        Ok(vec![header.ok_or_else(unfit)?])
    }

    /// Whether a transfer of the call tells its data.
    pub fn tells_data(&self, id: CallId) -> bool {
        self.calls.get(&id).is_some_and(|call| call.trusted)
    }
}

fn refused(error: DataError) -> CallError {
    CallError::Invalid(error.to_string())
}

//! Messages outside and within calls, as the engine has them (RFC 3428).

use crate::engine::core::Core;
use crate::engine::core::call::Stage;
use crate::engine::core::commands::refused;
use crate::engine::core::watching::uri;
use crate::engine::event::{CallError, CallEvent, Event, Sent};
use crate::id::CallId;
use crate::sip::agent::command::{Body, Headers, SendMessage, TicketId};
use crate::sip::agent::event::Failure;
use crate::sip::auth::client::Account;
use crate::sip::header::Name;
use crate::sip::header::address::NameAddr;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::status::StatusCode;
use crate::sip::transport::Path;
use crate::time::Instant;

/// A message to be sent outside of calls.
#[derive(Debug, Clone)]
pub struct MessageRequest {
    /// The reader's URI.
    pub target: String,
    /// The URI shown as ours (From); the engine's own by default.
    pub from: Option<String>,
    /// The URI shown as the reader's (To); the target by default.
    pub to: Option<String>,
    /// Proxies to go through, in order.
    pub routes: Vec<String>,
    /// The way to a registered user's device.
    pub flow: Option<Path>,
    /// Further header fields.
    pub headers: Headers,
    /// The message.
    pub body: Body,
    /// What to sign in with.
    pub account: Option<Account>,
    /// See [`SendMessage::congestion_safe`].
    pub congestion_safe: bool,
}

impl MessageRequest {
    /// A plain text to `target`.
    pub fn text(target: &str, text: &str) -> Self {
        Self {
            target: target.to_owned(),
            from: None,
            to: None,
            routes: Vec::new(),
            flow: None,
            headers: Headers::new(),
            body: Body {
                content_type: "text/plain;charset=UTF-8".into(),
                bytes: text.to_owned().into(),
            },
            account: None,
            congestion_safe: false,
        }
    }
}

impl Core {
    /// Sends a message outside of calls; `Event::MessageDone` tells what became of it.
    ///
    /// # Errors
    /// [`CallError::Invalid`] where a URI, a header field or the size is not possible,
    /// [`CallError::Busy`].
    pub fn send_message(
        &mut self,
        now: Instant,
        request: &MessageRequest,
    ) -> Result<Sent, CallError> {
        self.now = now;
        let own = self.own_uri();
        let from = uri(request.from.as_deref().unwrap_or(&own))?;
        let target = uri(&request.target)?;
        let mut command = SendMessage::new(target, NameAddr::new(&from), request.body.clone());
        if let Some(to) = &request.to {
            command.to = Some(NameAddr::new(&uri(to)?));
        }
        for route in &request.routes {
            command.route.push(uri(route)?);
        }
        command.flow = request.flow;
        command.headers.clone_from(&request.headers);
        command.account.clone_from(&request.account);
        command.congestion_safe = request.congestion_safe;
        let sent = self.agent.send_message(now, command).map_err(refused)?;
        self.take_signalling(now);
        Ok(Sent::Apart(sent))
    }

    /// Sends a message within a call that is up; `Event::MessageDone` tells what became of it.
    ///
    /// # Errors
    /// [`CallError::WrongState`] where it is not up.
    pub fn send_call_message(
        &mut self,
        now: Instant,
        id: CallId,
        body: Body,
    ) -> Result<Sent, CallError> {
        self.now = now;
        let call = self.call_mut(id)?;
        if call.stage != Stage::Up {
            return Err(CallError::WrongState("the call is not up"));
        }
        let session = call.session;
        let headers = Headers::new();
        let sent = self
            .agent
            .request(now, session, Method::Message, headers, Some(body));
        let request = sent.map_err(refused)?;
        self.call_mut(id)?.messages.push(request);
        self.take_signalling(now);
        Ok(Sent::Within(id, request))
    }

    /// Answers a message that `Event::Message` told of.
    ///
    /// # Errors
    /// [`CallError::WrongState`] where it is answered already, by us or by the time.
    pub fn answer_message(
        &mut self,
        now: Instant,
        ticket: TicketId,
        status: u16,
    ) -> Result<(), CallError> {
        self.now = now;
        let status = StatusCode::new(status)
            .filter(|status| status.is_final())
            .ok_or_else(|| CallError::Invalid(format!("{status} answers nothing")))?;
        self.agent
            .answer_message(now, ticket, status, Headers::new())
            .map_err(refused)?;
        self.take_signalling(now);
        Ok(())
    }

    /// The other party of a call sent a message.
    pub(super) fn handle_call_message(&mut self, id: CallId, request: &Message) -> StatusCode {
        let content_type = request.header(Name::ContentType);
        let content_type = content_type.map(|row| row.text().into_owned());
        self.emit(
            id,
            CallEvent::Message {
                content_type: content_type.unwrap_or_default(),
                body: request.body(),
            },
        );
        StatusCode::OK
    }

    /// A message of ours is done.
    pub(super) fn message_done(&mut self, sent: Sent, result: &Result<Message, Failure>) {
        let status = match result {
            Ok(response) => response.status().map_or(0, StatusCode::code),
            Err(Failure::Timeout) => StatusCode::REQUEST_TIMEOUT.code(),
            Err(_) => StatusCode::SERVICE_UNAVAILABLE.code(),
        };
        self.events.push_back(Event::MessageDone { sent, status });
    }
}

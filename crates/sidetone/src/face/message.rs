//! Messages outside and within calls (RFC 3428).

use std::fmt;
use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::pin::Pin;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::engine::core::notes::MessageRequest;
use crate::engine::event::CallError;
use crate::face::call::Call;
use crate::face::engine::Engine;
use crate::face::hub::Hub;
use crate::face::link::Link;
use crate::face::news::Letter;
use crate::sip::agent::command::Body;
use crate::sip::auth::client::Account;
use crate::sip::header::Name;
use crate::sip::message::Message;
use crate::sip::registrar::binding::Binding;
use crate::time::Instant;

/// What the other side did with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// It has arrived at its reader (200, or another 2xx).
    Arrived,
    /// It is kept for later, and nothing says whether it will be read (202).
    Kept,
}

impl Engine {
    /// A text to be sent outside of any call: `engine.message("sip:6001@pbx.example", "Hello").await`.
    ///
    /// More than 1,300 bytes with all header fields are refused with [`CallError::Invalid`], unless
    /// [`OutgoingMessage::congestion_safe`] says that the way takes them.
    pub fn message(&self, target: &str, text: &str) -> OutgoingMessage {
        OutgoingMessage {
            link: self.link().clone(),
            request: MessageRequest::text(target, text),
        }
    }

    /// A text to a registered user's device by the way that it registered by; `address` is shown as
    /// the reader's (To).
    pub fn message_binding(&self, address: &str, binding: &Binding, text: &str) -> OutgoingMessage {
        let mut message = self.message(binding.contact(), text);
        message.request.to = Some(address.to_owned());
        message.request.routes = binding.path().map(str::to_owned).collect();
        message.request.flow = Some(binding.flow());
        message
    }

    /// Takes the messages that come in outside of calls, from now on. Without such an inbox they get
    /// 480; one opened later takes the place of the one before.
    ///
    /// Senders have signed in where the listener's access list asks callers to.
    ///
    /// # Errors
    /// [`CallError::EngineStopped`].
    pub async fn messages(&self) -> Result<Inbox, CallError> {
        let letters = self.link().ask(|hub, _| hub.news().read_letters()).await?;
        Ok(Inbox {
            link: self.link().clone(),
            letters,
        })
    }
}

impl Call {
    /// Sends a text within the call, and waits for the answer. Messages of the other party come as
    /// [`CallEvent::Message`](crate::engine::event::CallEvent::Message); 200 has gone out then.
    ///
    /// # Errors
    /// [`CallError::Refused`] with the status where the party refuses it, [`CallError::WrongState`]
    /// where the call is not up, [`CallError::Ended`] where it ends meanwhile.
    pub async fn send_message(&self, text: &str) -> Result<Receipt, CallError> {
        let body = MessageRequest::text("", text).body;
        let id = self.id();
        let waiting = self
            .link()
            .ask(move |hub: &mut Hub, now: Instant| {
                let sent = hub.core().send_call_message(now, id, body)?;
                Ok::<_, CallError>(hub.news().on_sent(sent))
            })
            .await??;
        receipt(waiting.await.map_err(|_| CallError::Gone)?)
    }
}

/// A message about to be sent; await it.
#[must_use = "nothing is sent until it is awaited"]
pub struct OutgoingMessage {
    link: Link,
    request: MessageRequest,
}

impl fmt::Debug for OutgoingMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutgoingMessage")
            .field("target", &self.request.target)
            .finish_non_exhaustive()
    }
}

impl OutgoingMessage {
    /// Sends another body in place of the text.
    pub fn content(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.request.body = Body {
            content_type: content_type.to_owned(),
            bytes: body.into(),
        };
        self
    }

    /// The URI shown as the sender's (From). Default: the engine's own.
    pub fn from(mut self, uri: &str) -> Self {
        self.request.from = Some(uri.to_owned());
        self
    }

    /// Adds a header field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let headers = &mut self.request.headers;
        headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends it through this proxy (a loose route, `sip:proxy.example.com;lr`).
    pub fn via(mut self, route: &str) -> Self {
        self.request.routes = vec![route.to_owned()];
        self
    }

    /// What to sign in with where somebody asks for it.
    pub fn account(mut self, account: Account) -> Self {
        self.request.account = Some(account);
        self
    }

    /// Says that every hop on the way is known to control congestion (TCP, TLS, WebSocket), so that
    /// the message may be larger. The first hop has to, by its URI or the way of the registration.
    pub fn congestion_safe(mut self) -> Self {
        self.request.congestion_safe = true;
        self
    }
}

impl IntoFuture for OutgoingMessage {
    type Output = Result<Receipt, CallError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Sends the message and waits for the answer.
    ///
    /// # Errors
    /// [`CallError::Refused`] with the status: 408 where nobody answered, 503 where it could not be
    /// sent. [`CallError::Invalid`] where it is too large or a URI is none.
    fn into_future(self) -> Self::IntoFuture {
        let Self { link, request } = self;
        Box::pin(async move {
            let waiting = link
                .ask(move |hub: &mut Hub, now: Instant| {
                    let sent = hub.core().send_message(now, &request)?;
                    Ok::<_, CallError>(hub.news().on_sent(sent))
                })
                .await??;
            receipt(waiting.await.map_err(|_| CallError::EngineStopped)?)
        })
    }
}

fn receipt(status: u16) -> Result<Receipt, CallError> {
    match status {
        202 => Ok(Receipt::Kept),
        200..=299 => Ok(Receipt::Arrived),
        status => Err(CallError::Refused(status)),
    }
}

/// Messages that come in outside of calls. 64 wait for whoever reads them; further ones get 503.
pub struct Inbox {
    link: Link,
    letters: mpsc::Receiver<Letter>,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

impl Inbox {
    /// The next message; `None` once the engine has stopped, or another inbox was opened.
    ///
    /// # Cancel safety
    /// No message is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<IncomingMessage> {
        let letter = self.letters.recv().await?;
        Some(IncomingMessage {
            link: self.link.clone(),
            letter,
            answered: false,
        })
    }
}

/// A message that came in outside of calls. It waits for its answer, for 10 s at most; dropping it
/// answers 480.
pub struct IncomingMessage {
    link: Link,
    letter: Letter,
    answered: bool,
}

impl fmt::Debug for IncomingMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingMessage")
            .field("from", &self.from())
            .finish_non_exhaustive()
    }
}

impl IncomingMessage {
    /// The MESSAGE as it arrived.
    pub fn request(&self) -> &Message {
        &self.letter.request
    }

    /// The sender's URI. It is the sender's own claim.
    pub fn from(&self) -> String {
        let from = self.letter.request.from();
        from.map_or(String::new(), |from| from.uri().to_string())
    }

    /// The reader's URI.
    pub fn to(&self) -> String {
        let to = self.letter.request.to();
        to.map_or(String::new(), |to| to.uri().to_string())
    }

    /// Who signed in, where the listener asks for that: proven, unlike [`from`](Self::from).
    pub fn user(&self) -> Option<&str> {
        self.letter.user.as_deref()
    }

    /// The address that it came from.
    pub fn source(&self) -> SocketAddr {
        self.letter.source
    }

    /// The media type of its body.
    pub fn content_type(&self) -> String {
        let row = self.letter.request.header(Name::ContentType);
        row.map_or(String::new(), |row| row.text().into_owned())
    }

    /// Its body.
    pub fn body(&self) -> Bytes {
        self.letter.request.body()
    }

    /// Its body as text; what is no UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body()).into_owned()
    }

    /// Tells the sender that it has arrived (200).
    pub fn accept(self) {
        self.answer(200);
    }

    /// Tells the sender that it is kept for later (202).
    pub fn keep(self) {
        self.answer(202);
    }

    /// Refuses it with a status of 400 to 699.
    pub fn reject(self, status: u16) {
        self.answer(status.clamp(400, 699));
    }

    fn answer(mut self, status: u16) {
        self.tell(status);
    }

    fn tell(&mut self, status: u16) {
        if !std::mem::replace(&mut self.answered, true) {
            let ticket = self.letter.ticket;
            self.link.tell(move |core, now| {
                // It fails only where the time to answer is over.
                let _late = core.answer_message(now, ticket, status);
            });
        }
    }
}

impl Drop for IncomingMessage {
    fn drop(&mut self) {
        self.tell(480);
    }
}

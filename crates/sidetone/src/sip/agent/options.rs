//! OPTIONS, both ways (RFC 3261 §11).

use super::command::{CommandError, Headers, Options, OptionsId};
use super::draft::{self, Draft};
use super::errand::{Purpose, SignIn};
use super::event::{Event, Failure};
use super::reply::Refusal;
use super::{Agent, Arrival, SUPPORTED};
use crate::id::ListenerId;
use crate::sip::header::Name;
use crate::sip::header::address::NameAddr;
use crate::sip::message::Message;
use crate::sip::message::build::ResponseBuilder;
use crate::sip::method::Method;
use crate::sip::status::StatusCode;
use crate::sip::uri::Uri;
use crate::time::Instant;

/// Where a request outside of any dialog goes, and who sends it.
pub(super) struct Apart {
    pub(super) target: Uri,
    pub(super) from: NameAddr,
    pub(super) to: Option<NameAddr>,
    pub(super) route: Vec<Uri>,
    pub(super) listener: Option<ListenerId>,
}

impl Agent {
    /// Asks a peer what it can do; the answer comes as [`Event::OptionsDone`].
    ///
    /// # Errors
    /// [`CommandError`] where nothing was sent.
    pub fn options(&mut self, now: Instant, query: Options) -> Result<OptionsId, CommandError> {
        if self.draining {
            return Err(CommandError::Draining);
        }
        self.check_options(&query)?;
        let (sign_in, flow) = (query.account.as_ref().map(SignIn::new), query.flow);
        let draft = self.options_draft(query)?;
        let id = OptionsId(self.next_id());
        self.run_errand(now, Purpose::Options(id), draft, sign_in, flow);
        self.flush(now);
        Ok(id)
    }

    /// Whether a query can be sent.
    pub(super) fn check_options(&self, query: &Options) -> Result<(), CommandError> {
        draft::check(&query.headers, None)?;
        match query.flow {
            Some(_) if query.route.is_empty() => Ok(()),
            _ => self.check_route(query.route.first().unwrap_or(&query.target), query.listener),
        }
    }

    pub(super) fn options_draft(&mut self, query: Options) -> Result<Draft, CommandError> {
        let apart = Apart {
            target: query.target,
            from: query.from,
            to: None,
            route: query.route,
            listener: query.listener,
        };
        let draft = self.draft_apart(Method::Options, &apart)?;
        Ok(draft.with(query.headers, None))
    }

    /// A request outside of any dialog (RFC 3261 §8.1.1).
    pub(super) fn draft_apart(
        &mut self,
        method: Method,
        apart: &Apart,
    ) -> Result<Draft, CommandError> {
        let tag = format!("{:016x}", self.rng.next_u64());
        let from = apart.from.with_tag(&tag);
        let to = apart.target.without_headers();
        Ok(Draft {
            method,
            uri: apart.target.clone(),
            next_hop: apart.route.first().unwrap_or(&apart.target).clone(),
            routes: apart.route.iter().map(NameAddr::new).collect(),
            from: from.map_err(|_| CommandError::Header("From".into()))?,
            to: apart.to.clone().unwrap_or_else(|| NameAddr::new(&to)),
            call_id: self.new_call_id(),
            sequence: 1,
            max_forwards: 70,
            headers: Headers::new(),
            body: None,
            listener: apart.listener,
            timer: Headers::new(),
            session_id: None,
            credentials: None,
            contact_parameters: String::new(),
        })
    }

    pub(super) fn options_done(&mut self, options: OptionsId, result: Result<Message, Failure>) {
        self.events
            .push_back(Event::OptionsDone { options, result });
    }

    /// Answers an OPTIONS of a peer, without keeping state: 200 says what we can do.
    pub(super) fn answer_options(&mut self, now: Instant, arrival: Arrival, request: &Message) {
        let tag = self.stateless_tag(request);
        let mut builder = ResponseBuilder::for_request(request, StatusCode::OK)
            .source(arrival.source)
            .to_tag(&tag)
            .header(Name::Allow, self.config.allow())
            .header(Name::Accept, self.accepted())
            .header(Name::Supported, SUPPORTED);
        if let Some(events) = &self.config.events {
            builder = builder.header(Name::AllowEvents, events.names());
        }
        if let Some(contact) = self.contact_at(arrival, request, "") {
            builder = builder.header(Name::Contact, contact);
        }
        if let Some(product) = &self.config.product {
            builder = builder.header(Name::Server, product);
        }
        match builder.build_bytes() {
            Ok(response) => {
                let path = self.response_path(arrival, request);
                self.send_plain(now, path, response);
            }
            Err(_) => {
                let refusal = Refusal::new(StatusCode::SERVER_INTERNAL_ERROR);
                self.refuse(now, arrival, request, &refusal);
            }
        }
    }

    /// The bodies that are taken: descriptions of sessions, messages.
    fn accepted(&self) -> String {
        let messages = self.config.message_types.iter().map(String::as_str);
        let all: Vec<_> = ["application/sdp"].into_iter().chain(messages).collect();
        all.join(", ")
    }

    /// A new Call-ID: 128 random bits (RFC 3261 §8.1.1.4).
    pub(super) fn new_call_id(&mut self) -> String {
        format!("{:016x}{:016x}", self.rng.next_u64(), self.rng.next_u64())
    }
}

/// No further header fields.
pub(super) const NONE: &Headers = &Headers::new();

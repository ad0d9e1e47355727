//! OPTIONS, both ways (RFC 3261 §11).

use super::command::{CommandError, Headers, Options, OptionsId};
use super::draft::{self, Draft};
use super::event::{Event, Failure};
use super::reply::Refusal;
use super::{ALLOW, Agent, Arrival, Owner, SUPPORTED};
use crate::sip::header::Name;
use crate::sip::header::address::NameAddr;
use crate::sip::message::Message;
use crate::sip::message::build::ResponseBuilder;
use crate::sip::method::Method;
use crate::sip::status::StatusCode;
use crate::time::Instant;

impl Agent {
    /// Asks a peer what it can do; the answer comes as [`Event::OptionsDone`].
    ///
    /// # Errors
    /// [`CommandError`] where nothing was sent.
    pub fn options(&mut self, now: Instant, query: Options) -> Result<OptionsId, CommandError> {
        draft::check(&query.headers, None)?;
        if self.draining {
            return Err(CommandError::Draining);
        }
        let next_hop = query.route.first().unwrap_or(&query.target).clone();
        self.check_route(&next_hop, query.listener)?;
        let tag = format!("{:016x}", self.rng.next_u64());
        let from = query.from.with_tag(&tag);
        let draft = Draft {
            method: Method::Options,
            uri: query.target.clone(),
            next_hop,
            routes: query.route.iter().map(NameAddr::new).collect(),
            from: from.map_err(|_| CommandError::Header("From".into()))?,
            to: NameAddr::new(&query.target.without_headers()),
            call_id: self.new_call_id(),
            sequence: 1,
            max_forwards: 70,
            headers: query.headers,
            body: None,
            listener: query.listener,
            timer: Headers::new(),
            credentials: None,
        };
        let id = OptionsId(self.next_id());
        self.send_request(now, Owner::Options(id), draft);
        self.flush(now);
        Ok(id)
    }

    pub(super) fn options_answered(&mut self, options: OptionsId, response: &Message) {
        if response.status().is_some_and(StatusCode::is_provisional) {
            return;
        }
        self.events.push_back(Event::OptionsDone {
            options,
            result: Ok(response.clone()),
        });
    }

    pub(super) fn options_failed(&mut self, options: OptionsId, failure: Failure) {
        self.events.push_back(Event::OptionsDone {
            options,
            result: Err(failure),
        });
    }

    /// Answers an OPTIONS of a peer, without keeping state: 200 says what we can do.
    pub(super) fn answer_options(&mut self, now: Instant, arrival: Arrival, request: &Message) {
        if self.draining {
            let refusal = self.full();
            return self.refuse(now, arrival, request, &refusal);
        }
        let tag = self.stateless_tag(request);
        let mut builder = ResponseBuilder::for_request(request, StatusCode::OK)
            .source(arrival.source)
            .to_tag(&tag)
            .header(Name::Allow, ALLOW)
            .header(Name::Accept, "application/sdp")
            .header(Name::Supported, SUPPORTED);
        if let Some(contact) = self.contact_at(arrival, request) {
            builder = builder.header(Name::Contact, contact);
        }
        if let Some(product) = &self.config.product {
            builder = builder.header(Name::Server, product);
        }
        match builder.build() {
            Ok(response) => {
                let path = self.response_path(arrival, request);
                self.send_plain(now, path, response.as_bytes().clone());
            }
            Err(_) => {
                let refusal = Refusal::new(StatusCode::SERVER_INTERNAL_ERROR);
                self.refuse(now, arrival, request, &refusal);
            }
        }
    }

    /// A new Call-ID: 128 random bits (RFC 3261 §8.1.1.4).
    pub(super) fn new_call_id(&mut self) -> String {
        format!("{:016x}{:016x}", self.rng.next_u64(), self.rng.next_u64())
    }
}

/// No further header fields.
pub(super) const NONE: &Headers = &Headers::new();

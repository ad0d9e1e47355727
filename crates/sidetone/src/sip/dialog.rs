//! SIP dialog state (RFC 3261 §12).

use crate::sip::header::address::NameAddr;
use crate::sip::header::via::MAGIC_COOKIE;
use crate::sip::message::Message;
use crate::sip::uri::Uri;

/// The Record-Route values that a dialog may have; more are refused.
const MAX_ROUTES: usize = 32;

/// Where a dialog stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Made by a provisional response.
    Early,
    /// Made or confirmed by a 2xx response.
    Confirmed,
}

/// Why a message cannot make a dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialogError {
    /// A header field that the dialog is made from is missing or broken.
    #[error("header field missing or broken: {0}")]
    Header(&'static str),
    /// More Record-Route values than anybody needs.
    #[error("too many Record-Route values")]
    TooManyRoutes,
}

/// A request came out of order: its CSeq number is not higher than that of the one before. The
/// answer is 500 (RFC 3261 §12.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("CSeq out of order")]
pub struct OutOfOrder;

/// How a request within a dialog is addressed (RFC 3261 §12.2.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressing {
    /// The Request-URI.
    pub uri: Uri,
    /// The values of Route, in order.
    pub routes: Vec<NameAddr>,
    /// The URI whose address the request is sent to.
    pub next_hop: Uri,
}

/// The peer-to-peer relation of two user agents that INVITE sets up (RFC 3261 §12).
#[derive(Debug, Clone)]
pub struct Dialog {
    state: State,
    call_id: String,
    local: NameAddr,
    remote: NameAddr,
    local_sequence: u32,
    remote_sequence: Option<u32>,
    route_set: Vec<NameAddr>,
    remote_target: Uri,
}

impl Dialog {
    /// The early dialog of a UAS that received `request` and gave itself `local_tag`
    /// (RFC 3261 §12.1.1). Our own requests will count from `local_sequence` + 1.
    ///
    /// # Errors
    /// [`DialogError`]: the request deserves a 400.
    pub fn uas(
        request: &Message,
        local_tag: &str,
        local_sequence: u32,
    ) -> Result<Self, DialogError> {
        let local = request.to().map_err(|_| DialogError::Header("To"))?;
        let local = local
            .with_tag(local_tag)
            .map_err(|_| DialogError::Header("To"))?;
        Ok(Self {
            state: State::Early,
            call_id: call_id(request)?,
            local,
            remote: request
                .from()
                .map_err(|_| DialogError::Header("From"))?
                .detach(),
            local_sequence,
            remote_sequence: Some(
                request
                    .cseq()
                    .map_err(|_| DialogError::Header("CSeq"))?
                    .number(),
            ),
            route_set: record_routes(request)?,
            remote_target: contact(request)
                .or_else(|| old_target(request))
                .ok_or(DialogError::Header("Contact"))?,
        })
    }

    /// The dialog of a UAC that sent an INVITE with From `local` and CSeq `local_sequence` to
    /// `target`, and received `response` with a To tag (RFC 3261 §12.1.2). A response without a
    /// usable Contact leaves the target as it is.
    ///
    /// # Errors
    /// [`DialogError`]: the response makes no dialog.
    pub fn uac(
        local: &NameAddr,
        local_sequence: u32,
        target: &Uri,
        response: &Message,
    ) -> Result<Self, DialogError> {
        let mut dialog = Self {
            state: State::Early,
            call_id: call_id(response)?,
            local: local.clone(),
            remote: response
                .to()
                .map_err(|_| DialogError::Header("To"))?
                .detach(),
            local_sequence,
            remote_sequence: None,
            route_set: Vec::new(),
            remote_target: target.clone(),
        };
        dialog.learn(response)?;
        Ok(dialog)
    }

    /// Whether the dialog is early or confirmed.
    pub fn state(&self) -> State {
        self.state
    }

    /// The Call-ID.
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// Our address with our tag: From of our requests.
    pub fn local(&self) -> &NameAddr {
        &self.local
    }

    /// The peer's address with its tag: To of our requests.
    pub fn remote(&self) -> &NameAddr {
        &self.remote
    }

    /// The peer's tag; empty for a peer of RFC 2543 that gives none.
    pub fn remote_tag(&self) -> &str {
        self.remote.tag().unwrap_or_default()
    }

    /// The peer's Contact.
    pub fn remote_target(&self) -> &Uri {
        &self.remote_target
    }

    /// Whether a message with this Call-ID and this tag of the peer belongs here; our own tag is
    /// what the dialog was found by.
    pub fn matches(&self, call_id: &str, remote_tag: &str) -> bool {
        self.call_id == call_id && self.remote_tag() == remote_tag
    }

    /// Makes an early dialog confirmed without a response to learn from, as a UAS does when it
    /// sends its 2xx.
    pub fn confirm(&mut self) {
        self.state = State::Confirmed;
    }

    /// Makes the dialog of a UAC confirmed by the 2xx: the route set is computed anew and the
    /// target taken over (RFC 3261 §13.2.2.4).
    ///
    /// # Errors
    /// [`DialogError`]: the response is not usable; the route set stays as it was.
    pub fn confirm_by(&mut self, response: &Message) -> Result<(), DialogError> {
        self.state = State::Confirmed;
        self.learn(response)
    }

    /// The CSeq number for our next request.
    pub fn next_sequence(&mut self) -> u32 {
        self.local_sequence = self.local_sequence.wrapping_add(1) & 0x7fff_ffff;
        self.local_sequence
    }

    /// Checks and remembers the CSeq number of a new request of the peer (RFC 3261 §12.2.2).
    ///
    /// # Errors
    /// [`OutOfOrder`] where it is not higher than the one before.
    pub fn check_sequence(&mut self, number: u32) -> Result<(), OutOfOrder> {
        if self.remote_sequence.is_some_and(|last| number <= last) {
            return Err(OutOfOrder);
        }
        self.remote_sequence = Some(number);
        Ok(())
    }

    /// Takes over the Contact of a target refresh request or of the 2xx to one (RFC 3261 §12.2).
    pub fn refresh_target(&mut self, message: &Message) {
        if let Some(target) = contact(message) {
            self.remote_target = target;
        }
    }

    /// How a request to the peer is addressed. A first route without `lr` is a strict router: it
    /// goes into the Request-URI, and the target to the end of the Route (RFC 3261 §12.2.1.1).
    pub fn addressing(&self) -> Addressing {
        let target = self.remote_target.clone();
        let Some((first, rest)) = self.route_set.split_first() else {
            return Addressing {
                uri: target.clone(),
                routes: Vec::new(),
                next_hop: target,
            };
        };
        let next_hop = first.uri().clone();
        if next_hop.is_loose_router() {
            return Addressing {
                uri: target,
                routes: self.route_set.clone(),
                next_hop,
            };
        }
        let mut routes = rest.to_vec();
        routes.push(NameAddr::new(&target));
        Addressing {
            uri: next_hop.without_headers(),
            routes,
            next_hop,
        }
    }

    fn learn(&mut self, response: &Message) -> Result<(), DialogError> {
        let mut route_set = record_routes(response)?;
        route_set.reverse();
        self.route_set = route_set;
        self.refresh_target(response);
        Ok(())
    }
}

fn call_id(message: &Message) -> Result<String, DialogError> {
    message
        .call_id()
        .map(str::to_owned)
        .map_err(|_| DialogError::Header("Call-ID"))
}

fn record_routes(message: &Message) -> Result<Vec<NameAddr>, DialogError> {
    let mut routes = Vec::new();
    for route in message.record_routes() {
        if routes.len() == MAX_ROUTES {
            return Err(DialogError::TooManyRoutes);
        }
        routes.push(
            route
                .map_err(|_| DialogError::Header("Record-Route"))?
                .detach(),
        );
    }
    Ok(routes)
}

/// The first Contact, where it is a SIP URI.
fn contact(message: &Message) -> Option<Uri> {
    let contact = message.contacts().next()?.ok()?;
    contact
        .uri()
        .is_sip()
        .then(|| contact.uri().without_headers().detach())
}

/// Where a caller of RFC 2543 is reached, whose INVITE needs no Contact: at its From.
fn old_target(request: &Message) -> Option<Uri> {
    let via = request.top_via().ok()?;
    let modern = via.branch().is_some_and(|it| it.starts_with(MAGIC_COOKIE));
    let from = request.from().ok().filter(|_| !modern)?;
    let target = from.uri().is_sip().then(|| from.uri().without_headers());
    target.map(|target| target.detach())
}

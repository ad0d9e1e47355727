//! Our own registrations at somebody's registrar: signed in, refreshed, tried again (RFC 3261 §10.2,
//! RFC 5626 §4.5).

use super::command::{CommandError, Headers};
use super::draft::{Draft, Signed};
use super::errand::pause;
use super::event::Event;
use super::flows::Flow;
use super::sign_in::is_genuine;
use super::{Agent, Deadline, Owner};
use crate::id::ListenerId;
use crate::sip::auth::client::{Account, Answerer};
use crate::sip::header::Name;
use crate::sip::header::address::NameAddr;
use crate::sip::header::value::RetryAfter;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::status::StatusCode;
use crate::sip::uri::Uri;
use crate::time::{Duration, Instant};

/// The longest Retry-After that is followed.
const MAX_RETRY: Duration = Duration::from_secs(1800);
/// The longest binding that a registrar may make us ask for by 423, in seconds.
const MAX_EXPIRES: u32 = 7 * 86_400;
/// How often in a row a REGISTER is sent again because of 401, 407 or 423.
const MAX_ROUNDS: u8 = 3;
/// Service-Route values at most that are followed.
const MAX_SERVICE_ROUTE: usize = 8;

/// One registration of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistrationId(pub(super) u64);

/// What to register, and where.
#[derive(Debug, Clone)]
pub struct Register {
    /// The address of record.
    pub address: Uri,
    /// The registrars, in the order to be tried: the first that grants is kept until it fails.
    pub registrars: Vec<Uri>,
    /// What to sign in with.
    pub account: Option<Account>,
    /// The socket to send from; by default the first that fits the registrar.
    pub listener: Option<ListenerId>,
    /// How long a binding shall last, in seconds; the registrar may grant less, or demand more.
    pub expires: u32,
    /// Whether calls shall come by the way that this registration goes (RFC 5626), which is then kept
    /// alive and made anew where it fails. Not every registrar serves that. Default not.
    pub outbound: Option<Outbound>,
}

/// Which device registers by a flow, and which of its flows it is (RFC 5626 §4.1, §4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// A URN that is the device's own for ever, such as
    /// `urn:uuid:00000000-0000-1000-8000-000A95A0E128`.
    pub instance: String,
    /// The number of the flow, from 1. A device that registers by several gives each its own.
    pub flow: u32,
}

impl Outbound {
    /// The parameters of Contact; `None` where it is no URN, or the flow is 0.
    fn parameters(&self) -> Option<String> {
        let Self { instance, flow } = self;
        let is_urn = Uri::parse(instance).is_ok() && instance.starts_with("urn:");
        let plain = !instance.contains(['"', '\\', '<', '>']);
        (is_urn && plain && *flow > 0)
            .then(|| format!(";+sip.instance=\"<{instance}>\";reg-id={flow}"))
    }
}

impl Register {
    /// Registers `address` for an hour at a time, at the host that it names.
    pub fn new(address: Uri) -> Self {
        Self {
            address,
            registrars: Vec::new(),
            account: None,
            listener: None,
            expires: 3600,
            outbound: None,
        }
    }
}

/// How a registration of ours stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistrationState {
    /// The first REGISTER is under way.
    Registering,
    /// The registrar has granted it; it is refreshed before `until`.
    Registered {
        /// When the binding would expire.
        until: Instant,
        /// The route that our requests shall take (Service-Route, RFC 3608).
        service_route: Vec<Uri>,
    },
    /// No registrar has granted it; it is tried again.
    Failed {
        /// What the last of them said; `None` where it said nothing.
        status: Option<StatusCode>,
        /// When it is tried again.
        retry_at: Instant,
    },
    /// We took it back, or gave up asking the registrar to; the last of its states.
    Unregistered,
}

/// One registration under way or in force.
#[derive(Debug)]
pub(super) struct Registration {
    command: Register,
    local: NameAddr,
    domain: Uri,
    answerer: Option<Answerer>,
    /// What a server has asked us to sign in as: header field of the credentials.
    signs_as: Name<'static>,
    call_id: String,
    sequence: u32,
    /// The registrar in use, and how many have failed in this round.
    current: usize,
    failed: usize,
    failures: u32,
    rounds: u8,
    leaving: bool,
    due: Option<Instant>,
    contact_parameters: String,
    pub(super) flow: Option<Flow>,
}

impl Agent {
    /// Registers an address and keeps it registered until [`unregister`](Self::unregister);
    /// [`Event::Registration`] tells how it goes.
    ///
    /// # Errors
    /// [`CommandError`] where nothing was sent.
    pub fn register(
        &mut self,
        now: Instant,
        mut command: Register,
    ) -> Result<RegistrationId, CommandError> {
        if self.draining {
            return Err(CommandError::Draining);
        }
        if self.registrations.len() >= self.config.max_registrations {
            return Err(CommandError::Full);
        }
        let broken = |_| CommandError::Header("From".into());
        let scheme = if command.address.as_str().starts_with("sips:") {
            "sips"
        } else {
            "sip"
        };
        let domain = Uri::parse(&format!("{scheme}:{}", command.address.host()));
        let domain = domain.map_err(|_| CommandError::Unroutable)?;
        if command.registrars.is_empty() {
            let port = command.address.port().map(|port| format!(":{port}"));
            let at = format!("{domain}{}", port.unwrap_or_default());
            let at = Uri::parse(&at).map_err(|_| CommandError::Unroutable)?;
            command.registrars.push(at);
        }
        for registrar in &command.registrars {
            self.check_route(registrar, command.listener)?;
        }
        let contact_parameters = match &command.outbound {
            None => String::new(),
            Some(outbound) => outbound
                .parameters()
                .ok_or_else(|| CommandError::Header("Contact".into()))?,
        };
        let tag = format!("{:016x}", self.rng.next_u64());
        let local = NameAddr::new(&command.address);
        let id = RegistrationId(self.next_id());
        let registration = Registration {
            local: local.with_tag(&tag).map_err(broken)?,
            domain,
            answerer: command.account.clone().map(Answerer::new),
            signs_as: Name::Authorization,
            call_id: self.new_call_id(),
            sequence: 0,
            current: 0,
            failed: 0,
            failures: 0,
            rounds: 0,
            leaving: false,
            due: None,
            contact_parameters,
            flow: None,
            command,
        };
        self.registrations.insert(id, Box::new(registration));
        self.tell_registration(id, RegistrationState::Registering);
        self.send_register(now, id);
        self.flush(now);
        Ok(id)
    }

    /// Takes a registration back; [`RegistrationState::Unregistered`] follows.
    pub fn unregister(&mut self, now: Instant, id: RegistrationId) {
        let Some(registration) = self.registrations.get_mut(&id) else {
            return;
        };
        if !std::mem::replace(&mut registration.leaving, true) {
            registration.rounds = 0;
            self.send_register(now, id);
            self.flush(now);
        }
    }

    /// Takes every registration back.
    pub fn unregister_all(&mut self, now: Instant) {
        let all: Vec<_> = self.registrations.keys().copied().collect();
        for id in all {
            self.unregister(now, id);
        }
    }

    /// The moment for which a registration waits.
    pub(super) fn registration_due(&self, id: RegistrationId) -> Option<Instant> {
        self.registrations.get(&id)?.due
    }

    /// It is time to refresh, or to try again.
    pub(super) fn refresh_registration(&mut self, now: Instant, at: Instant, id: RegistrationId) {
        if self.registration_due(id) == Some(at) {
            self.send_register(now, id);
        }
    }

    fn send_register(&mut self, now: Instant, id: RegistrationId) {
        let Some(registration) = self.registrations.get_mut(&id) else {
            return;
        };
        let draft = registration.next_draft();
        self.send_request(now, Owner::Registration(id), draft);
    }

    pub(super) fn registration_answered(
        &mut self,
        now: Instant,
        id: RegistrationId,
        response: &Message,
    ) {
        let Some(registration) = self.registrations.get_mut(&id) else {
            return;
        };
        let Some(status) = response.status().filter(|status| !status.is_provisional()) else {
            return;
        };
        if response.cseq().map(|cseq| cseq.number()) != Ok(registration.sequence) {
            // The answer to a REGISTER that another has overtaken, such as that which takes it back.
            return;
        }
        let again = match status {
            StatusCode::UNAUTHORIZED => Some(Name::WwwAuthenticate),
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => Some(Name::ProxyAuthenticate),
            _ => None,
        };
        let again = match again {
            Some(name) => registration.sign_in(name, response, &mut self.rng),
            None => status == StatusCode::INTERVAL_TOO_BRIEF && registration.lengthen(response),
        };
        if again && registration.rounds < MAX_ROUNDS {
            registration.rounds += 1;
            return self.send_register(now, id);
        }
        if registration.leaving {
            return self.registration_over(id);
        }
        let answerer = registration.answerer.as_mut();
        let genuine = answerer.is_none_or(|answerer| is_genuine(answerer, response));
        let granted = registration.granted(response);
        self.counters.impostors += u64::from(!genuine);
        match granted.filter(|_| status.is_success() && genuine) {
            Some(seconds) => self.registration_granted(now, id, seconds, response),
            None => {
                let wanted = response.retry_after().ok().flatten();
                self.registrar_failed(now, id, Some(status), wanted);
            }
        }
    }

    /// A REGISTER got no answer, or could not be sent.
    pub(super) fn registration_failed(&mut self, now: Instant, id: RegistrationId) {
        match self.registrations.get(&id) {
            Some(registration) if registration.leaving => self.registration_over(id),
            Some(_) => self.registrar_failed(now, id, None, None),
            None => {}
        }
    }

    fn registration_over(&mut self, id: RegistrationId) {
        if self.registrations.remove(&id).is_some() {
            self.tell_registration(id, RegistrationState::Unregistered);
        }
    }

    fn registration_granted(
        &mut self,
        now: Instant,
        id: RegistrationId,
        seconds: u32,
        response: &Message,
    ) {
        let granted = Duration::from_secs(u64::from(seconds));
        // Well before it expires, and not all clients of a registrar at once.
        let refresh = granted.mul_f64(0.8 + 0.1 * self.rng.next_f64());
        let routes = response.addresses(Name::ServiceRoute);
        let routes = routes.filter_map(Result::ok).take(MAX_SERVICE_ROUTE);
        let service_route = routes.map(|route| route.uri().detach()).collect();
        if let Some(registration) = self.registrations.get_mut(&id) {
            (
                registration.failed,
                registration.failures,
                registration.rounds,
            ) = (0, 0, 0);
        }
        self.wake_registration(id, now + refresh);
        self.keep_flow(now, id, response);
        let until = now + granted;
        let state = RegistrationState::Registered {
            until,
            service_route,
        };
        self.tell_registration(id, state);
    }

    /// A registrar has failed or refused: the next one is asked at once, or all of them again after
    /// a pause.
    fn registrar_failed(
        &mut self,
        now: Instant,
        id: RegistrationId,
        status: Option<StatusCode>,
        wanted: Option<RetryAfter>,
    ) {
        let Some(registration) = self.registrations.get_mut(&id) else {
            return;
        };
        registration.change_registrar();
        if registration.failed > 0 {
            return self.send_register(now, id);
        }
        let pause = pause(registration.failures, &mut self.rng);
        registration.failures += 1;
        let wanted = wanted.map_or(Duration::ZERO, |wanted| {
            Duration::from_secs(u64::from(wanted.seconds))
        });
        let retry_at = now + pause.max(wanted.min(MAX_RETRY));
        self.wake_registration(id, retry_at);
        self.tell_registration(id, RegistrationState::Failed { status, retry_at });
    }

    /// The flow of a registration has failed: it registers again after a pause.
    pub(super) fn register_anew(&mut self, now: Instant, id: RegistrationId) {
        let Some(registration) = self.registrations.get(&id).filter(|r| !r.leaving) else {
            return;
        };
        let retry_at = now + pause(registration.failures, &mut self.rng);
        self.wake_registration(id, retry_at);
        let status = None;
        self.tell_registration(id, RegistrationState::Failed { status, retry_at });
    }

    fn wake_registration(&mut self, id: RegistrationId, at: Instant) {
        if let Some(registration) = self.registrations.get_mut(&id) {
            registration.due = Some(at);
            self.deadlines.push(at, Deadline::Registration(id));
        }
    }

    fn tell_registration(&mut self, registration: RegistrationId, state: RegistrationState) {
        self.events.push_back(Event::Registration {
            registration,
            state,
        });
    }
}

impl Registration {
    /// Whether calls come by the way that it goes.
    pub(super) fn keeps_flow(&self) -> bool {
        self.command.outbound.is_some()
    }

    /// The next REGISTER, signed where we know how.
    fn next_draft(&mut self) -> Draft {
        self.due = None;
        self.sequence += 1;
        let expires = if self.leaving {
            0
        } else {
            self.command.expires
        };
        let supported = match self.keeps_flow() {
            true => "path, outbound",
            false => "path",
        };
        let uri = self.domain.to_string();
        let credentials = self.answerer.as_mut().and_then(|answerer| {
            let credentials = answerer.credentials(Method::Register.as_str(), &uri, b"")?;
            Some(Signed {
                name: self.signs_as,
                value: credentials.to_string(),
            })
        });
        Draft {
            method: Method::Register,
            uri: self.domain.clone(),
            next_hop: self.command.registrars[self.current].clone(),
            routes: Vec::new(),
            from: self.local.clone(),
            to: NameAddr::new(&self.command.address),
            call_id: self.call_id.clone(),
            sequence: self.sequence,
            max_forwards: 70,
            headers: Headers::from([
                ("Expires".to_owned(), expires.to_string()),
                ("Supported".to_owned(), supported.to_owned()),
            ]),
            body: None,
            listener: self.command.listener,
            session_id: None,
            credentials,
            contact_parameters: self.contact_parameters.clone(),
            timer: Headers::new(),
        }
    }

    /// Takes in a challenge; true where answering it can help.
    fn sign_in(
        &mut self,
        name: Name<'static>,
        response: &Message,
        rng: &mut crate::rng::Rng,
    ) -> bool {
        let Some(answerer) = &mut self.answerer else {
            return false;
        };
        let rows: Vec<_> = response.header_all(name).map(|row| row.text()).collect();
        self.signs_as = match name == Name::ProxyAuthenticate {
            true => Name::ProxyAuthorization,
            false => Name::Authorization,
        };
        answerer.take(rows.iter().map(|text| text.as_bytes()), rng)
    }

    /// Takes in 423: true where the registrar wants a longer time that we can ask for.
    fn lengthen(&mut self, response: &Message) -> bool {
        let least = response.min_expires().ok().flatten().unwrap_or_default();
        let helps = least > self.command.expires && least <= MAX_EXPIRES;
        if helps {
            self.command.expires = least;
        }
        helps
    }

    /// For how long the registrar has granted it: by our Contact in the answer, or its Expires; `None`
    /// where it has not.
    fn granted(&self, response: &Message) -> Option<u32> {
        let via = response.top_via().ok()?;
        let contacts = response.contacts().filter_map(Result::ok);
        let mut ours = contacts.filter(|contact| {
            let uri = contact.uri();
            uri.host().eq_ignore_ascii_case(via.host()) && uri.port() == via.port()
        });
        let told = ours
            .next()
            .and_then(|ours| ours.param("expires")?.parse().ok());
        let told = told.or_else(|| response.expires().ok().flatten());
        let asked = self.command.expires;
        Some(told.unwrap_or(asked).min(MAX_EXPIRES)).filter(|seconds| *seconds > 0)
    }

    /// Turns to the next registrar; `failed` is zero again where all have been tried.
    fn change_registrar(&mut self) {
        let all = self.command.registrars.len();
        self.current = (self.current + 1) % all;
        self.failed = (self.failed + 1) % all;
        self.rounds = 0;
        // Another server's nonces mean nothing to it.
        self.answerer = self.command.account.clone().map(Answerer::new);
    }
}

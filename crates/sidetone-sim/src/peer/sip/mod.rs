//! A scripted SIP user agent: its own transactions and dialogs on text, not the engine's machines,
//! so that the two check each other.

pub mod call;
mod dialog;
mod text;
mod ua;

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use sidetone::sip::message::Message;
use sidetone::time::Instant;

use super::offer::Abilities;
use super::rtp::{Habits, RtpPeer};
use crate::network::NetworkError;
use crate::node::{Context, NodeId};
use crate::sim::Handle;
use call::{CallError, SipCall};
use ua::UserAgent;

/// How a peer's SIP travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// Datagrams, repeated until answered (RFC 3261 §17).
    #[default]
    Udp,
    /// A stream to each address, opened when first needed.
    Tcp,
}

impl Transport {
    fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}

/// How a peer is made.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// How its SIP travels. Default UDP.
    pub transport: Transport,
    /// Its port. Default 5060.
    pub port: u16,
    /// Its address, one of its host's. Default the preferred one.
    pub ip: Option<IpAddr>,
    /// What it can do with audio.
    pub abilities: Abilities,
    /// How its RTP behaves.
    pub habits: Habits,
    /// Whether it answers OPTIONS, BYE, CANCEL, INFO and re-INVITE by itself, as a phone does.
    /// Default true; false leaves every request to the script.
    pub automatic: bool,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            transport: Transport::Udp,
            port: 5060,
            ip: None,
            abilities: Abilities::default(),
            habits: Habits::default(),
            automatic: true,
        }
    }
}

/// How a call is placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dial {
    /// Whether the INVITE carries an offer; without one the answer to it must. Default true.
    pub offer: bool,
    /// Further header lines, without line ends.
    pub headers: Vec<String>,
    /// The user part of From. Default the host's name.
    pub user: Option<String>,
}

impl Default for Dial {
    fn default() -> Self {
        Self {
            offer: true,
            headers: Vec::new(),
            user: None,
        }
    }
}

/// A message that went over a peer's wire.
#[derive(Debug, Clone)]
pub struct Logged {
    /// When.
    pub at: Instant,
    /// Whether the peer sent it; otherwise it arrived.
    pub sent: bool,
    /// The message.
    pub message: Message,
}

/// A user agent on a host of the simulation; clones are the same agent.
///
/// ```
/// use std::time::Duration;
/// use sidetone_sim::peer::sip::SipPeer;
/// use sidetone_sim::peer::sound::Sound;
/// use sidetone_sim::sim::Sim;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::new(1);
/// let alice = SipPeer::open(&sim, "alice")?;
/// let bob = SipPeer::open(&sim, "bob")?;
/// sim.spawn({
///     let bob = bob.clone();
///     async move {
///         let call = bob.incoming().await?;
///         call.ring(180);
///         call.answer().await?;
///         call.media().speak(&Sound::speech(2, Duration::from_secs(1))).await;
///         call.ended().await;
///         Ok::<(), sidetone_sim::peer::sip::call::CallError>(())
///     }
/// });
/// sim.block_on(async {
///     let call = alice.call(&bob.uri("bob")).await?;
///     call.media().press("2").await;
///     let heard = call.media().hear_for(Duration::from_secs(2)).await;
///     assert!(!heard.is_silent());
///     call.hang_up().await
/// })?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SipPeer {
    sim: Handle,
    id: NodeId,
    host: String,
    profile: Profile,
    ua: Rc<RefCell<UserAgent>>,
}

impl SipPeer {
    /// A user agent over UDP on a host of this name, which is added where there is none.
    ///
    /// # Errors
    /// [`NetworkError::InUse`] where the host's port 5060 is.
    pub fn open(sim: &Handle, host: &str) -> Result<Self, NetworkError> {
        Self::with_profile(sim, host, Profile::default())
    }

    /// A user agent on a host of this name, which is added where there is none.
    ///
    /// # Errors
    /// [`NetworkError`] where the profile's address or port cannot be had.
    pub fn with_profile(sim: &Handle, host: &str, profile: Profile) -> Result<Self, NetworkError> {
        let host_id = {
            let mut network = sim.network();
            match network.host(host) {
                Ok(id) => id,
                Err(_) => network.add_host(host, &[])?,
            }
        };
        let ip = profile
            .ip
            .unwrap_or_else(|| sim.network().addresses(host_id)[0]);
        let wanted = SocketAddr::new(ip, profile.port);
        let rng = sim.fork_rng();
        let ua = UserAgent::new(host_id, profile.transport, profile.automatic, rng);
        let ua = Rc::new(RefCell::new(ua));
        let id = sim.add_node(ua.clone());
        sim.act(id, |context| {
            let socket = match profile.transport {
                Transport::Udp => context.bind(host_id, wanted)?,
                Transport::Tcp => context.listen(host_id, wanted)?,
            };
            let address = context.network().address(socket);
            ua.borrow_mut().opened(socket, address);
            Ok(())
        })?;
        Ok(Self {
            sim: sim.clone(),
            id,
            host: host.to_owned(),
            profile,
            ua,
        })
    }

    /// The address of its SIP socket.
    pub fn address(&self) -> SocketAddr {
        self.ua.borrow().address()
    }

    /// The host that it lives on.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// A SIP URI that reaches it.
    pub fn uri(&self, user: &str) -> String {
        match self.profile.transport {
            Transport::Udp => format!("sip:{user}@{}", self.address()),
            Transport::Tcp => format!("sip:{user}@{};transport=tcp", self.address()),
        }
    }

    /// Calls the URI and waits until the call is up.
    ///
    /// # Errors
    /// [`CallError`] where it is refused, not answered, or cannot be placed.
    pub async fn call(&self, uri: &str) -> Result<SipCall, CallError> {
        let call = self.dial(uri, Dial::default())?;
        call.answered().await?;
        Ok(call)
    }

    /// Sends an INVITE and waits for nothing.
    ///
    /// # Errors
    /// [`CallError::NoSuchHost`] where the URI's host is not on the network, and
    /// [`CallError::Network`] where there is no port for the media.
    pub fn dial(&self, uri: &str, dial: Dial) -> Result<SipCall, CallError> {
        let destination = self.resolve(uri)?;
        let media = self.open_media()?;
        let user = dial.user.clone().unwrap_or_else(|| self.host.clone());
        let local = media.address();
        let abilities = self.profile.abilities.clone();
        let index = self.act(|ua, context| {
            let index = ua.dial(uri, &user, destination, local, abilities);
            ua.invite(context, index, &dial);
            index
        });
        Ok(SipCall::new(self.clone(), index, media))
    }

    /// Waits for the next call that comes in; nothing but 100 was answered to it so far.
    ///
    /// # Errors
    /// [`CallError::Network`] where there is no port for the media.
    pub async fn incoming(&self) -> Result<SipCall, CallError> {
        let index = self.until(UserAgent::next_arrival).await;
        let media = self.open_media()?;
        let local = media.address();
        let abilities = self.profile.abilities.clone();
        self.ua.borrow_mut().adopt(index, local, abilities);
        Ok(SipCall::new(self.clone(), index, media))
    }

    /// Waits for the next request that is not answered by the agent itself and starts no call:
    /// with [`Profile::automatic`] off also those within calls.
    pub async fn next_request(&self) -> Message {
        self.until(UserAgent::next_request).await
    }

    /// Answers a request of [`next_request`](Self::next_request).
    pub fn respond(&self, request: &Message, status: u16, headers: &[String]) {
        self.act(|ua, context| ua.respond(context, request, status, headers, None));
    }

    /// Sends bytes as they are, in one datagram or on the stream to the destination.
    pub fn send_raw(&self, destination: SocketAddr, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        self.act(|ua, context| ua.transmit(context, destination, bytes));
    }

    /// Sends a request outside a call and waits for its final response.
    ///
    /// # Errors
    /// [`CallError::NoSuchHost`], or [`CallError::TimedOut`] after 32 s.
    pub async fn request(
        &self,
        method: &str,
        uri: &str,
        headers: &[String],
    ) -> Result<Message, CallError> {
        let destination = self.resolve(uri)?;
        let user = self.host.clone();
        let key = self.act(|ua, context| {
            let index = ua.dial(uri, &user, destination, destination, Abilities::default());
            ua.request(context, index, method, headers, ("", ""))
        });
        self.until(|ua| ua.outcome(&key)).await
    }

    /// Loses the next messages that arrive.
    pub fn drop_incoming(&self, messages: u32) {
        self.ua.borrow_mut().drop_incoming = messages;
    }

    /// Loses the next messages that the agent sends.
    pub fn drop_outgoing(&self, messages: u32) {
        self.ua.borrow_mut().drop_outgoing = messages;
    }

    /// The agent's machine dies: it sends nothing and hears nothing any more.
    pub fn die(&self) {
        self.drop_incoming(u32::MAX);
        self.drop_outgoing(u32::MAX);
    }

    /// The messages that it sent and got, the last 10,000 of them.
    pub fn log(&self) -> Vec<Logged> {
        self.ua.borrow().log()
    }

    /// How many requests with this method arrived, repetitions included.
    pub fn received(&self, method: &str) -> usize {
        self.count(false, method)
    }

    /// How many requests with this method were sent, repetitions included.
    pub fn sent(&self, method: &str) -> usize {
        self.count(true, method)
    }

    fn count(&self, sent: bool, method: &str) -> usize {
        let ua = self.ua.borrow();
        ua.entries()
            .filter(|entry| entry.sent == sent)
            .filter(|entry| entry.message.method().is_some_and(|m| m.as_str() == method))
            .count()
    }

    fn open_media(&self) -> Result<RtpPeer, NetworkError> {
        let ip = self.address().ip();
        RtpPeer::open_at(&self.sim, &self.host, ip, self.profile.habits)
    }

    fn resolve(&self, uri: &str) -> Result<SocketAddr, CallError> {
        let ipv4 = self.address().is_ipv4();
        dialog::destination(uri, ipv4, |name| self.sim.network().resolve(name))
            .ok_or_else(|| CallError::NoSuchHost(uri.to_owned()))
    }

    fn act<T>(&self, act: impl FnOnce(&mut UserAgent, &mut Context<'_>) -> T) -> T {
        self.sim
            .act(self.id, |context| act(&mut self.ua.borrow_mut(), context))
    }

    async fn until<T>(&self, mut done: impl FnMut(&mut UserAgent) -> Option<T>) -> T {
        poll_fn(|context| {
            let mut ua = self.ua.borrow_mut();
            if let Some(result) = done(&mut ua) {
                return Poll::Ready(result);
            }
            ua.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests;

//! One end of an RTP stream: speaks on a sample clock that may drift, and remembers what it hears.

mod ears;
mod state;

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use sidetone::srtp::key::Keying;
use sidetone::srtp::session::Session;
use sidetone::time::Instant;

use super::sound::{Heard, Sound, samples_in};
use crate::network::NetworkError;
use crate::node::NodeId;
use crate::sim::Handle;
use state::{SampleClock, State, Utterance, event_code};

/// Which of the two laws of G.711 a peer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Law {
    /// PCMU, payload type 0.
    #[default]
    Mu,
    /// PCMA, payload type 8.
    A,
}

impl Law {
    /// The static payload type (RFC 3551 §6).
    pub fn payload_type(self) -> u8 {
        match self {
            Self::Mu => 0,
            Self::A => 8,
        }
    }
}

/// Where and how a peer sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlet {
    /// Where RTP goes.
    pub rtp: SocketAddr,
    /// Where RTCP goes.
    pub rtcp: SocketAddr,
    /// The codec.
    pub law: Law,
    /// The payload type of telephone events (RFC 4733), where the other side takes them.
    pub telephone_event: Option<u8>,
    /// Whether anything is sent at all: false on hold.
    pub active: bool,
}

/// How a peer's clock and habits are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Habits {
    /// How much faster than true its sample clock runs, in parts per million. Default 0.
    pub drift_ppm: i32,
    /// Audio in a packet. Default 20 ms.
    pub packet_time: Duration,
    /// Whether it sends packets of silence when it has nothing to say. Default true.
    pub sends_silence: bool,
    /// How often it sends RTCP, where at all. Default every 5 s.
    pub rtcp_every: Option<Duration>,
    /// How long a pressed digit lasts. Default 100 ms.
    pub digit: Duration,
    /// The pause after a digit. Default 100 ms.
    pub gap: Duration,
    /// How much of what it hears it keeps. Default 2 minutes.
    pub memory: Duration,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            drift_ppm: 0,
            packet_time: Duration::from_millis(20),
            sends_silence: true,
            rtcp_every: Some(Duration::from_secs(5)),
            digit: Duration::from_millis(100),
            gap: Duration::from_millis(100),
            memory: Duration::from_secs(120),
        }
    }
}

/// What went in and out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Statistics {
    /// RTP packets that were sent.
    pub sent: u64,
    /// RTP packets that arrived, copies included.
    pub received: u64,
    /// Packets that came twice.
    pub duplicates: u64,
    /// Packets that came after one with a higher sequence number.
    pub reordered: u64,
    /// Packets that are missing between the first and the last one of each stream.
    pub lost: u64,
    /// Streams heard: one, and one more each time the SSRC or the timestamps jump.
    pub streams: u64,
    /// Packets with a payload type that the peer does not know, or that are no RTP.
    pub strange: u64,
    /// Packets that could not be opened with the keys agreed on.
    pub undecryptable: u64,
    /// RTCP packets that arrived and could be read.
    pub reports: u64,
    /// The share of our packets that the other side misses, in 1/256, as its last report says.
    pub reported_loss: u8,
    /// Whether an RTCP goodbye came.
    pub goodbye: bool,
    /// The longest time between two packets that arrived.
    pub longest_gap: Duration,
}

/// A digit that arrived as telephone event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digit {
    /// `0` to `9`, `*`, `#`, `A` to `D`.
    pub digit: char,
    /// How long its last packet says that it was.
    pub duration: Duration,
    /// When its first packet arrived.
    pub at: Instant,
}

/// An RTP end on a host of the simulation; clones are the same end.
///
/// ```
/// use std::time::Duration;
/// use sidetone_sim::peer::rtp::{Habits, Outlet, RtpPeer};
/// use sidetone_sim::peer::sound::Sound;
/// use sidetone_sim::sim::Sim;
///
/// # fn main() -> Result<(), sidetone_sim::network::NetworkError> {
/// let sim = Sim::new(1);
/// sim.network().add_host("a", &[])?;
/// sim.network().add_host("b", &[])?;
/// let a = RtpPeer::open(&sim, "a", Habits::default())?;
/// let b = RtpPeer::open(&sim, "b", Habits::default())?;
/// a.start(Outlet::to(b.address()));
/// let speech = Sound::speech(1, Duration::from_secs(1));
/// a.say(&speech);
/// let heard = sim.block_on(b.hear_for(Duration::from_secs(2)));
/// assert!(heard.find(&speech).is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RtpPeer {
    sim: Handle,
    id: NodeId,
    state: Rc<RefCell<State>>,
}

impl Outlet {
    /// PCMU with telephone events as payload type 101 to an address and, for RTCP, the next port.
    pub fn to(rtp: SocketAddr) -> Self {
        Self {
            rtp,
            rtcp: SocketAddr::new(rtp.ip(), rtp.port().wrapping_add(1)),
            law: Law::Mu,
            telephone_event: Some(101),
            active: true,
        }
    }
}

impl RtpPeer {
    /// Opens a pair of ports on the preferred address of a host. Nothing is sent before
    /// [`start`](Self::start).
    ///
    /// # Errors
    /// [`NetworkError`] where there is no such host or no port left.
    pub fn open(sim: &Handle, host: &str, habits: Habits) -> Result<Self, NetworkError> {
        let ip = {
            let network = sim.network();
            network.addresses(network.host(host)?)[0]
        };
        Self::open_at(sim, host, ip, habits)
    }

    /// As [`open`](Self::open), on one of the host's addresses.
    ///
    /// # Errors
    /// As there.
    pub fn open_at(
        sim: &Handle,
        host: &str,
        ip: std::net::IpAddr,
        habits: Habits,
    ) -> Result<Self, NetworkError> {
        let host = sim.network().host(host)?;
        let mut rng = sim.fork_rng();
        let state = Rc::new(RefCell::new(State::new(habits, sim.anchor(), &mut rng)));
        let id = sim.add_node(state.clone());
        let sockets = sim.act(id, |context| {
            let (rtp, rtcp) = context.bind_pair(host, ip, None)?;
            Ok((rtp, rtcp, context.network().address(rtp)))
        })?;
        {
            let mut state = state.borrow_mut();
            state.sockets = Some((sockets.0, sockets.1));
            state.address = sockets.2;
        }
        Ok(Self {
            sim: sim.clone(),
            id,
            state,
        })
    }

    /// The address for RTP; RTCP is at the next port.
    pub fn address(&self) -> SocketAddr {
        self.state.borrow().address
    }

    /// Protects what is sent and opens what arrives by these keys from now on, or no more.
    pub fn protect(&self, keying: Option<Keying>) {
        self.change(|state, now| {
            let next = keying.map(Session::new);
            match (&mut state.srtp, next) {
                (Some(session), Some(next)) => drop(session.renew(now, next)),
                (held, next) => *held = next,
            }
        });
    }

    /// Starts to send, or goes on under other terms.
    pub fn start(&self, outlet: Outlet) {
        self.change(|state, now| {
            state.outlet = Some(outlet);
            state.clock.get_or_insert(SampleClock {
                start: now,
                frames: 0,
            });
            state.schedule();
        });
    }

    /// What the peer does with the streams that come and go.
    pub fn set_habits(&self, change: impl FnOnce(&mut Habits)) {
        self.change(|state, now| {
            change(&mut state.habits);
            if state.clock.is_some() {
                state.clock = Some(SampleClock {
                    start: now,
                    frames: 0,
                });
                state.schedule();
            }
        });
    }

    /// The payload types that mean telephone events when they arrive. Default 101.
    pub fn set_telephone_event(&self, payload_type: u8) {
        self.state.borrow_mut().telephone_event = payload_type;
    }

    /// Sends nothing more, as if the peer's machine had died: no goodbye either.
    pub fn mute(&self) {
        self.change(|state, _| {
            state.outlet = None;
            state.schedule();
        });
    }

    /// Says something after what is still to be said.
    pub fn say(&self, sound: &Sound) {
        let mut state = self.state.borrow_mut();
        if state.sockets.is_none() {
            return;
        }
        state.said.push_back(Utterance {
            sound: sound.clone(),
            position: 0,
        });
    }

    /// Says something again and again, from the beginning of the next packet, until
    /// [`hush`](Self::hush).
    pub fn keep_saying(&self, sound: &Sound) {
        let mut state = self.state.borrow_mut();
        state.said.clear();
        state.background = Some(Utterance {
            sound: sound.clone(),
            position: 0,
        });
    }

    /// Says nothing more.
    pub fn hush(&self) {
        let mut state = self.state.borrow_mut();
        state.said.clear();
        state.background = None;
    }

    /// Waits until everything was said that was to be said.
    pub async fn finish_saying(&self) {
        self.until(|state| state.said.is_empty().then_some(()))
            .await;
    }

    /// Says something and waits until it was said; gives the time at which its first packet left.
    pub async fn speak(&self, sound: &Sound) -> Instant {
        self.finish_saying().await;
        self.say(sound);
        let started = self
            .until(|state| match state.said.front() {
                Some(utterance) if utterance.position == 0 => None,
                _ => Some(state.last_sent),
            })
            .await;
        self.finish_saying().await;
        started
    }

    /// Presses digits one after the other and waits until the last one is sent; whatever else is
    /// pressed in the string is left out.
    pub async fn press(&self, digits: &str) {
        self.start_pressing(digits);
        self.until(|state| state.digits.is_empty().then_some(()))
            .await;
    }

    /// As [`press`](Self::press), without waiting.
    pub fn start_pressing(&self, digits: &str) {
        let mut state = self.state.borrow_mut();
        if state.sockets.is_none() {
            return;
        }
        state.digits.extend(digits.chars().filter_map(event_code));
    }

    /// Listens for this long, and gives what arrived in that time.
    pub async fn hear_for(&self, duration: Duration) -> Heard {
        let from = self.state.borrow().heard_end();
        self.sim.sleep(duration).await;
        self.state.borrow().heard_since(from)
    }

    /// Listens until the last `window` of what arrived satisfies the condition, looking every
    /// 100 ms, for at most `within`.
    pub async fn hear_until(
        &self,
        window: Duration,
        within: Duration,
        condition: impl Fn(&Heard) -> bool,
    ) -> Option<Heard> {
        let deadline = self.sim.now() + within;
        let from = self.state.borrow().heard_end();
        let wanted = samples_in(window) as u64;
        loop {
            let heard = {
                let state = self.state.borrow();
                let end = state.heard_end();
                (end - from >= wanted).then(|| state.heard_since(end - wanted))
            };
            if let Some(heard) = heard.filter(&condition) {
                return Some(heard);
            }
            if self.sim.now() >= deadline {
                return None;
            }
            self.sim.sleep(Duration::from_millis(100)).await;
        }
    }

    /// Everything that was heard, as far as it is remembered.
    pub fn heard(&self) -> Heard {
        self.state.borrow().heard_since(0)
    }

    /// The digits that arrived so far.
    pub fn digits(&self) -> Vec<Digit> {
        self.state.borrow().digits_heard.clone()
    }

    /// Waits for the next digit that ends after this call.
    pub async fn next_digit(&self) -> char {
        let known = self.state.borrow().digits_heard.len();
        self.until(|state| state.digits_heard.get(known).map(|digit| digit.digit))
            .await
    }

    /// What went in and out.
    pub fn statistics(&self) -> Statistics {
        self.state.borrow().statistics()
    }

    /// When the last packet arrived.
    pub fn last_arrival(&self) -> Option<Instant> {
        self.state.borrow().last_arrival
    }

    /// Closes the ports, with a goodbye where RTCP is on. What was still to be said or pressed is
    /// left out, and whoever waits for it goes on.
    pub fn close(&self) {
        let mut state = self.state.borrow_mut();
        self.sim.act(self.id, |context| {
            if state.habits.rtcp_every.is_some() {
                state.report(context, true);
            }
            if let Some((rtp, rtcp)) = state.sockets.take() {
                context.unbind(rtp);
                context.unbind(rtcp);
            }
            state.outlet = None;
            state.fall_silent();
            state.schedule();
        });
        drop(state);
        // Only now can the node be asked for its next deadline.
        self.change(|_, _| ());
    }

    fn change(&self, change: impl FnOnce(&mut State, Instant)) {
        self.sim.act(self.id, |context| {
            change(&mut self.state.borrow_mut(), context.now());
        });
    }

    async fn until<T>(&self, mut done: impl FnMut(&State) -> Option<T>) -> T {
        poll_fn(|context| {
            let mut state = self.state.borrow_mut();
            if let Some(result) = done(&state) {
                return Poll::Ready(result);
            }
            state.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests;

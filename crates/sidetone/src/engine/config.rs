//! What an engine is configured with.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use thiserror::Error;

use crate::b2bua::trunk::cap::Cap;
use crate::call::data::carriage::DataPolicy;
use crate::call::early::EarlyMediaPolicy;
use crate::call::redirect::RedirectPolicy;
use crate::engine::recording::beep::Beep;
use crate::engine::recording::policy::RecordingPolicy;
use crate::media::codec::Codec;
use crate::media::codec::g711::Law;
use crate::media::frame::SampleRate;
use crate::media::jitter;
use crate::media::leg::config::Redundancy;
use crate::media::mixer::speakers::Selection;
use crate::media::recorder::crypt::age::Recipient;
use crate::media::recorder::digest::Digest;
use crate::media::recorder::expiry::ExpiryConfig;
use crate::media::recorder::journal::JournalConfig;
use crate::media::recorder::layout::Format;
use crate::media::recorder::seal::SigningKey;
use crate::media::recorder::stamp::Stamping;
use crate::media::recorder::upload::Upload;
use crate::media::wav::Encoding;
use crate::sdp::crypto::CryptoSuite;
use crate::sdp::negotiate::security::MediaSecurity;
use crate::sip::agent::config::{AgentConfig, ReliableProvisional};
use crate::sip::auth::server::VerifierConfig;
use crate::sip::auth::store::CredentialStore;
use crate::sip::event::package::EventConfig;
use crate::sip::overload::admission::AdmissionConfig;
use crate::sip::registrar::config::RegistrarConfig;
use crate::sip::transport::Transport;
use crate::sip::transport::access::AccessList;
use crate::sip::transport::tls::Tls;
use crate::sip::transport::trust::TrustDomain;
use crate::time::Duration;

/// How those sign in who have to.
#[derive(Debug, Clone)]
pub struct Authentication {
    /// How they are challenged.
    pub challenge: VerifierConfig,
    /// Who they may be.
    pub users: Arc<dyn CredentialStore>,
}

/// How calls are recorded.
#[derive(Debug, Clone)]
pub struct RecordingConfig {
    /// The journal of the disk that recordings are written to. With one, a killed engine or a power loss
    /// costs a recording at most its last second, and what was left unfinished is completed at the next
    /// start. Default none: a killed engine leaves a file that plays up to its last second or so, a power
    /// loss takes what the system had not written yet.
    pub journal: Option<JournalConfig>,
    /// Whether each recording has a record beside it (`NAME.wav.seal`) by which `sidetone verify` finds
    /// what was changed. Default no.
    pub sealed: bool,
    /// By what these records are chained. Default SHA-256.
    pub digest: Digest,
    /// The key that signs these records. Default none: then whoever can write the disk can make a record
    /// anew.
    pub key: Option<SigningKey>,
    /// How long recordings must be kept whose plan does not say: the name of the rule, and for how long from
    /// their beginning. [`delete`](crate::media::recorder::retention::delete) refuses before; recordings with a label
    /// are sealed. Default none.
    pub retention: Option<(String, Duration)>,
    /// Bytes that must be free on the disk for a new recording to begin; below, it fails, which
    /// [`Event::Storage`](crate::engine::event::Event::Storage) tells of, and nothing is deleted to make room.
    /// Default 256 MiB.
    pub least_free: u64,
    /// Who can read recordings, by age keys (`age-keygen`): 20 at most. Default nobody in particular: samples and
    /// timelines are stored in the clear. With recipients nothing of them is, in the journal neither; recordings
    /// are sealed then whatever `sealed` says, and a recording that cannot be encrypted fails.
    pub recipients: Vec<Recipient>,
    /// What files recordings are. Default WAV of 16-bit linear samples; G.711 takes half of it, and loses nothing of a
    /// call in the same law. FLAC loses nothing of any call. Ogg Opus wants Opus among the codecs.
    pub format: Format,
    /// Which calls are recorded as soon as they are answered. Default none: those that a flow records.
    pub policy: Option<RecordingPolicy>,
    /// Where recordings are uploaded to when they are complete, by the real driver. Default nowhere.
    pub upload: Option<Upload>,
    /// Who stamps records with the time when they are complete (RFC 3161), by the real driver; recordings are sealed
    /// then whatever `sealed` says. Default nobody.
    pub stamping: Option<Stamping>,
    /// Has recordings deleted by the real driver when their label's date has come, with a proof signed by `key`, which has to
    /// be there. What [`upload`](Self::upload) sends away is queued for that when the store has it, and not at all where it
    /// is removed then. Default they stay for ever.
    pub expiry: Option<ExpiryConfig>,
    /// The tone that tells that a recording runs, where its plan names no other. Default none.
    pub beep: Option<Beep>,
    /// Whether recordings, here and by servers elsewhere, pause while a party that they record asks not to be recorded
    /// (`a=recordpref` of `off` or `pause`), and go on when none does any more; a flow can still pause and resume them.
    /// Default no: the flow is told, and nothing else.
    pub heeds_preferences: bool,
}

impl Default for RecordingConfig {
    fn default() -> Self {
        Self {
            journal: None,
            sealed: false,
            digest: Digest::Sha256,
            key: None,
            retention: None,
            least_free: 256 << 20,
            recipients: Vec::new(),
            format: Format::Wav(Encoding::Pcm16),
            policy: None,
            upload: None,
            stamping: None,
            expiry: None,
            beep: None,
            heeds_preferences: false,
        }
    }
}

/// One listening SIP socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// How SIP travels on it.
    pub transport: Transport,
    /// The address to bind; port 0 lets the system choose.
    pub bind: SocketAddr,
    /// The address that Via and Contact show, where it differs from the bound one (a public address
    /// in front of a private one).
    pub advertise: Option<SocketAddr>,
    /// The host name that Via and Contact show in place of an address, such as the one that the
    /// certificate speaks for. Peers must find the address to show by it.
    pub host: Option<String>,
    /// Whether peers may be behind NAT: responses go to where the request came from, and requests
    /// within a call to where the peer's came from, unless a proxy stands between. Default no. Peers
    /// that connect by TLS or WebSocket are always treated so: they seldom can be connected to.
    pub nat: bool,
    /// How TLS is done here, where it differs from [`Config::tls`].
    pub tls: Option<Tls>,
    /// The web pages (`https://phone.example.com`) whose scripts may connect by WebSocket; a browser
    /// says where they came from. Default none. Programs that are no browsers need not be named.
    pub origins: Vec<String>,
    /// Whether media of callers who come in here is protected, where it differs from
    /// [`Config::media_security`].
    pub media_security: Option<MediaSecurity>,
    /// Whether the descriptions of callers who come in here are passed on to whom they are connected
    /// with, rather than answered: such calls have no media here, and can only be connected
    /// (`Call::connect`) or refused. Default no.
    pub passes_media: bool,
    /// Whether recording sessions may be begun here (RFC 7866): a session border controller or another
    /// exchange sends what it wants recorded, and a flow answers and records it as any caller. Who may, the
    /// access list, certificates and the flow itself decide. Default no: they are refused with 420.
    pub records: bool,
    /// Who may send requests to it, by address, and who has to sign in. Default: open to all.
    pub access: AccessList,
    /// Whether whoever comes in here belongs to the trust domain, as on a private network of
    /// carriers: see [`Config::trust`]. Default no.
    pub trusted: bool,
}

impl Listener {
    /// A listener that shows the address that it is bound to, open to all.
    pub fn new(transport: Transport, bind: SocketAddr) -> Self {
        Self {
            transport,
            bind,
            advertise: None,
            host: None,
            nat: false,
            tls: None,
            origins: Vec::new(),
            media_security: None,
            passes_media: false,
            records: false,
            access: AccessList::default(),
            trusted: false,
        }
    }
}

/// The configuration of one engine.
///
/// The defaults serve a loopback engine on port 5060: `Config::on(address)` puts all of it on
/// another address.
///
/// ```
/// use sidetone::engine::config::Config;
/// let config = Config::on("192.0.2.10".parse().unwrap()).sip_port(5080);
/// assert!(config.validate().is_ok());
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The SIP listeners; the first of each transport also sends. Default UDP and TCP on
    /// 127.0.0.1:5060.
    pub listeners: Vec<Listener>,
    /// How TLS is done, both by those listeners that use it and where the engine connects: TLS and
    /// secure WebSocket need it. Default `None`.
    pub tls: Option<Tls>,
    /// The DNS servers that are asked for the addresses of names. Default none: those of the system,
    /// with its file of hosts.
    pub dns_servers: Vec<SocketAddr>,
    /// How those sign in whom a listener's access list asks to. Default `None`.
    pub authentication: Option<Authentication>,
    /// The peers whose assertions of who calls are believed (P-Asserted-Identity, RFC 3325), and who are
    /// told ours. Default nobody: what strangers assert is taken out of their messages, and strangers
    /// are told nothing.
    pub trust: TrustDomain,
    /// Whose redirections (3xx) of our calls are followed, and where to. Default none.
    pub redirects: RedirectPolicy,
    /// Which sound of a dialled party's side is heard before the answer. Default what comes, unless
    /// P-Early-Media forbids it.
    pub early_media: EarlyMediaPolicy,
    /// How the data of calls travels, and whose is taken. Default: that of trusted peers; up to 128 bytes
    /// as User-to-User, more in the body.
    pub call_data: DataPolicy,
    /// Whether callers may ask to join a call (RFC 3911). Default no: they get 488, or 481 where there
    /// is no such call.
    pub joins: bool,
    /// Whose users register here. Default `None`: REGISTER gets 405. The addresses of the listeners
    /// are added to its aliases.
    pub registrar: Option<RegistrarConfig>,
    /// Whose state may be subscribed to and published here, in which packages (RFC 6665, RFC 3903).
    /// Default `None`: SUBSCRIBE and PUBLISH get 405. The addresses of the listeners and the names of
    /// the registrar are added to its aliases; with the dialog package, the calls of users are told.
    pub events: Option<EventConfig>,
    /// The media types of messages (RFC 3428) that are taken; others get 415. Default `text/plain`,
    /// `message/cpim` and `application/im-iscomposing+xml`.
    pub message_types: Vec<String>,
    /// The address that media sockets are bound to. Default 127.0.0.1.
    pub media_bind: IpAddr,
    /// The media address that SDP shows, where it differs from the bound one.
    pub media_advertise: Option<IpAddr>,
    /// The UDP ports for media, two a call (RTP on the even, RTCP on the odd port above it). `None`,
    /// the default, lets the system choose.
    pub media_ports: Option<RangeInclusive<u16>>,
    /// The code point under which media is sent (RFC 2474), 0 to 63; `None` leaves it to the system.
    /// Default 46, expedited forwarding. On systems other than Linux the default is `None`.
    pub media_dscp: Option<u8>,
    /// Bytes that may wait at each media socket to be received; `None`, the default, leaves it to the
    /// system. Linux counts a packet of 20 ms at about 1 kB.
    pub media_receive_buffer: Option<usize>,
    /// Pins media thread n to this core plus n. Default none: the system chooses.
    pub media_first_core: Option<usize>,
    /// Runs the media threads before all others of the machine that have no such priority, 1 to 99
    /// (`SCHED_RR`). Default none. The engine does not start where it may not do so: Linux wants
    /// `CAP_SYS_NICE` or a limit `RLIMIT_RTPRIO`.
    pub media_priority: Option<u8>,
    /// How long a media thread that has received lets packets gather before it looks again, so that it
    /// takes many at one waking. What is passed on waits so much longer at most, what is decoded waits for
    /// its tick anyway. Default 0.2 ms; zero looks at once.
    pub media_gather: Duration,
    /// Who is mixed in a room: everybody up to 12 parties, and the 6 loudest beyond that, by default.
    pub selection: Selection,
    /// The user part of the engine's own Contact and From. Default `sidetone`.
    pub user: String,
    /// The product token of User-Agent and Server headers. Default `Sidetone/<version>`.
    pub product: String,
    /// The codecs that are offered and accepted, best first. Default A-law, then µ-law.
    pub codecs: Vec<Arc<dyn Codec>>,
    /// When packets carry copies of those before them (RFC 2198), with peers that take them. Default
    /// while losses are reported.
    pub redundancy: Redundancy,
    /// Copies of how many packets each one then carries, 1 to 3. Default 1.
    pub redundant_packets: u8,
    /// The packet time that is offered: 10, 20, 30, 40 or 60 ms. Default 20 ms.
    pub ptime: Duration,
    /// How long received packets are held before they are played. Default adaptive, from nothing to
    /// 400 ms above the network's least delay.
    pub jitter: jitter::Mode,
    /// How long an answered call that should receive media may receive none before it is ended;
    /// `None` never ends it. Time does not count while either side holds the other. Default 30 s.
    pub media_timeout: Option<Duration>,
    /// Whether a stream's source may be learnt from its first packets, within a short window, where
    /// they come from another port than SDP says, on the host that SDP names or that signalling
    /// goes to and comes from (symmetric RTP behind NAT). Default on; switch it off on trunks whose
    /// addresses are known.
    pub symmetric_media: bool,
    /// Whether media is protected by SRTP, with keys that travel in SDP (SDES, RFC 4568). Default
    /// off. What is mandatory and cannot be had is refused with 488.
    pub media_security: MediaSecurity,
    /// The suites that are offered and accepted, best first. Default AES-128 with an 80-bit tag,
    /// which everybody has, after both of GCM, which cost less.
    pub srtp_suites: Vec<CryptoSuite>,
    /// Whether keys may travel over UDP, TCP and plain WebSocket, where everybody on the way can read them
    /// (RFC 4568 §7.1.1 wants TLS). Default no: media is not protected over them then, and refused
    /// where protection is mandatory.
    pub sdes_in_clear: bool,
    /// Whether a key pressed by one party of a bridge is sent on to the other, as a telephone event.
    /// Keys pressed while digits are collected are not. Default on.
    pub relay_digits: bool,
    /// Which provisional responses (180, 183) to callers who support 100rel are sent reliably
    /// (RFC 3262). Default those with a description: early media.
    pub reliable_provisional: ReliableProvisional,
    /// The session interval to ask for (RFC 4028): where the other party understands session timers,
    /// the call is refreshed by UPDATE or re-INVITE at half of it, and ends with
    /// `EndReason::SessionExpired` where the other party has vanished. At least 90 s; `None` asks for
    /// none. Default 30 min.
    pub session_expires: Option<Duration>,
    /// The shortest session interval that another party may ask for; shorter ones get 422. At least
    /// 90 s, which is the default.
    pub min_session_expires: Duration,
    /// How long a dialled party may ring before the attempt is given up. Default 60 s.
    pub ring_timeout: Duration,
    /// How long an incoming call may stay undecided or ringing before it is refused with 480.
    /// Default 180 s.
    pub incoming_timeout: Duration,
    /// What each account may call by trunks ([`Target::trunk`](crate::b2bua::plan::Target::trunk)): a
    /// user who has signed in, a trunk, or the address of a stranger. Default: everything.
    pub caps: Vec<Cap>,
    /// When new callers are refused because there is more to do than can be done.
    pub admission: AdmissionConfig,
    /// Whether requests say that the engine obeys servers which want to be spared, and it does
    /// (RFC 7339). Default no: some old peers mind unknown parameters in Via.
    pub obeys_overload: bool,
    /// Whether an answer whose connection is gone goes to where the DNS says that its Via leads; see
    /// [`AgentConfig::responses_by_name`] for what that risks. Default no.
    pub responses_by_name: bool,
    /// How calls are recorded.
    pub recording: RecordingConfig,
    /// The most calls at once; one more is refused with 503. A call costs about 40 kB.
    /// Default 2,000.
    pub max_calls: usize,
    /// The media workers (threads in the real driver). Default 1.
    pub media_workers: u16,
}

impl Default for Config {
    fn default() -> Self {
        Self::on(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }
}

impl Config {
    /// A configuration with SIP (UDP and TCP, port 5060) and media on `address`.
    pub fn on(address: IpAddr) -> Self {
        let listen = |transport| Listener::new(transport, SocketAddr::new(address, 5060));
        Self {
            listeners: vec![listen(Transport::Udp), listen(Transport::Tcp)],
            tls: None,
            dns_servers: Vec::new(),
            authentication: None,
            trust: TrustDomain::default(),
            redirects: RedirectPolicy::default(),
            early_media: EarlyMediaPolicy::default(),
            call_data: DataPolicy::default(),
            joins: false,
            registrar: None,
            events: None,
            message_types: AgentConfig::default().message_types,
            media_bind: address,
            media_advertise: None,
            media_ports: None,
            media_dscp: cfg!(target_os = "linux").then_some(46),
            media_receive_buffer: None,
            media_first_core: None,
            media_priority: None,
            media_gather: Duration::from_micros(200),
            selection: Selection::default(),
            user: "sidetone".into(),
            product: concat!("Sidetone/", env!("CARGO_PKG_VERSION")).into(),
            codecs: vec![Arc::new(Law::A), Arc::new(Law::Mu)],
            redundancy: Redundancy::OnLoss,
            redundant_packets: 1,
            ptime: Duration::from_millis(20),
            jitter: jitter::Mode::ADAPTIVE,
            media_timeout: Some(Duration::from_secs(30)),
            symmetric_media: true,
            media_security: MediaSecurity::Off,
            srtp_suites: vec![
                CryptoSuite::AeadAes256Gcm,
                CryptoSuite::AeadAes128Gcm,
                CryptoSuite::AesCm128HmacSha1_80,
            ],
            sdes_in_clear: false,
            relay_digits: true,
            reliable_provisional: ReliableProvisional::default(),
            session_expires: Some(Duration::from_secs(1800)),
            min_session_expires: Duration::from_secs(90),
            ring_timeout: Duration::from_secs(60),
            incoming_timeout: Duration::from_secs(180),
            caps: Vec::new(),
            admission: AdmissionConfig::default(),
            obeys_overload: false,
            responses_by_name: false,
            recording: RecordingConfig::default(),
            max_calls: 2_000,
            media_workers: 1,
        }
    }

    /// Puts every listener on `port`; 0 lets the system choose.
    #[must_use]
    pub fn sip_port(mut self, port: u16) -> Self {
        for listener in &mut self.listeners {
            listener.bind.set_port(port);
        }
        self
    }

    /// The media address that SDP shows.
    pub fn media_address(&self) -> IpAddr {
        self.media_advertise.unwrap_or(self.media_bind)
    }

    /// How TLS is done at a listener.
    pub fn tls_of(&self, listener: &Listener) -> Option<Tls> {
        listener.tls.as_ref().or(self.tls.as_ref()).cloned()
    }

    fn wants_srtp(&self) -> bool {
        let listeners = self.listeners.iter().filter_map(|l| l.media_security);
        let mut policies = listeners.chain([self.media_security]);
        policies.any(|policy| policy != MediaSecurity::Off)
    }

    /// The highest rate of sound that the codecs carry.
    pub fn highest_rate(&self) -> SampleRate {
        let rates = self.codecs.iter().map(|codec| codec.sample_rate());
        rates.max().unwrap_or(SampleRate::HZ_8000)
    }

    /// The rates that rooms may have: those of the codecs.
    pub(crate) fn room_rates(&self) -> Vec<SampleRate> {
        let mut rates: Vec<_> = self
            .codecs
            .iter()
            .map(|codec| codec.sample_rate())
            .collect();
        rates.sort_unstable();
        rates.dedup();
        rates
    }

    /// Checks every value against its documented range.
    ///
    /// # Errors
    /// The first value that is out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.listeners.is_empty() {
            return Err(ConfigError::NoListener);
        }
        for listener in &self.listeners {
            if listener.bind.ip().is_unspecified() && listener.advertise.is_none() {
                return Err(ConfigError::UnspecifiedSip(listener.bind));
            }
            if listener.transport.is_secure() && self.tls_of(listener).is_none() {
                return Err(ConfigError::NoTls(listener.bind));
            }
            if !listener.host.as_deref().is_none_or(is_host_name) {
                return Err(ConfigError::Host(listener.bind));
            }
        }
        let asks = self.listeners.iter().any(|l| l.access.authenticates());
        match &self.authentication {
            None if asks => return Err(ConfigError::NoAuthentication),
            Some(with) if with.challenge.algorithms.is_empty() => {
                return Err(ConfigError::NoAuthentication);
            }
            _ => {}
        }
        if let Some(registrar) = &self.registrar {
            if !registrar.is_possible() {
                return Err(ConfigError::Registrar);
            }
            if !registrar.policy.allows_strangers() && self.authentication.is_none() {
                return Err(ConfigError::NoAuthentication);
            }
        }
        if let Some(events) = &self.events {
            if !events.is_possible() {
                return Err(ConfigError::Events);
            }
            if !events.strangers && self.authentication.is_none() {
                return Err(ConfigError::NoAuthentication);
            }
        }
        let (policy, beep) = (&self.recording.policy, &self.recording.beep);
        let policy = policy.as_ref().is_none_or(RecordingPolicy::is_possible);
        if !policy || !beep.as_ref().is_none_or(Beep::is_possible) {
            return Err(ConfigError::Recording);
        }
        if self.recording.expiry.is_some() && self.recording.key.is_none() {
            return Err(ConfigError::Expiry);
        }
        let shortest = Duration::from_secs(90);
        if self.session_expires.is_some_and(|it| it < shortest)
            || self.min_session_expires < shortest
        {
            return Err(ConfigError::SessionTimer);
        }
        if self.media_address().is_unspecified() {
            return Err(ConfigError::UnspecifiedMedia);
        }
        let sends = |codec: &Arc<dyn Codec>| codec.rtp_map().encoding != "CN";
        if !self.codecs.iter().any(sends) {
            return Err(ConfigError::NoCodec);
        }
        if self.srtp_suites.is_empty() && self.wants_srtp() {
            return Err(ConfigError::NoSuite);
        }
        if !(1..=3).contains(&self.redundant_packets) {
            return Err(ConfigError::RedundantPackets(self.redundant_packets));
        }
        if ![10, 20, 30, 40, 60].contains(&self.ptime.as_millis()) {
            return Err(ConfigError::Ptime(self.ptime));
        }
        if !self.jitter.is_possible() {
            return Err(ConfigError::Jitter(self.jitter));
        }
        if self.max_calls == 0 || self.media_workers == 0 {
            return Err(ConfigError::NothingAllowed);
        }
        let pairs = self.media_ports.as_ref().map(|ports| {
            let first = u32::from(*ports.start()).next_multiple_of(2).max(2);
            (u32::from(*ports.end()) + 1).saturating_sub(first) / 2
        });
        if pairs == Some(0) {
            return Err(ConfigError::MediaPorts);
        }
        let is_code_point = self.media_dscp.is_none_or(|dscp| dscp <= 63);
        let is_priority = self.media_priority.is_none_or(|it| (1..=99).contains(&it));
        if !is_code_point || !is_priority {
            return Err(ConfigError::MediaThreads);
        }
        let token = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_graphic());
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/%".contains(&b);
        if !self.user.bytes().all(plain) || !token(&self.user) || !token(&self.product) {
            return Err(ConfigError::Name);
        }
        Ok(())
    }
}

fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(plain)
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// A configuration that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no SIP listener.
    #[error("no SIP listener is configured")]
    NoListener,
    /// A listener is bound to every address, and nothing says which one to show.
    #[error("listener {0} is bound to every address: set `advertise` to the one that peers reach")]
    UnspecifiedSip(SocketAddr),
    /// A listener uses TLS, and nothing says how.
    #[error("listener {0} uses TLS: set `tls`")]
    NoTls(SocketAddr),
    /// The host name that a listener shows is none.
    #[error("listener {0} shows a host name that is none")]
    Host(SocketAddr),
    /// Media is bound to every address, and nothing says which one to show.
    #[error("media is bound to every address: set `media_advertise` to the one that peers reach")]
    UnspecifiedMedia,
    /// A session interval is shorter than RFC 4028 allows.
    #[error("session intervals are at least 90 s")]
    SessionTimer,
    /// A listener, the registrar or the server of events asks people to sign in, and nothing says how,
    /// or by which algorithm.
    #[error("credentials are asked for: set `authentication` and an algorithm")]
    NoAuthentication,
    /// The registrar's domain is empty, or its times and bounds do not fit together.
    #[error("the registrar's domain, times or bounds make no sense")]
    Registrar,
    /// The domain of the server of events is empty, or its times and bounds do not fit together.
    #[error("the domain, times or bounds of events make no sense")]
    Events,
    /// A share of the recording policy is not within 0 to 100, or its beep cannot be heard.
    #[error("the recording policy's shares or beeps make no sense")]
    Recording,
    /// Recordings are to be deleted, and there is no key that signs the proof.
    #[error("recordings are deleted with a proof: set `recording.key`")]
    Expiry,
    /// There is no codec.
    #[error("no codec is configured that carries sound")]
    NoCodec,
    /// Media is to be protected, and there is no suite to protect it with.
    #[error("media is to be protected by no suite at all")]
    NoSuite,
    /// `redundant_packets` is not within 1 to 3.
    #[error("{0} redundant packets are not within 1 to 3")]
    RedundantPackets(u8),
    /// The packet time is not one of 10, 20, 30, 40 and 60 ms.
    #[error("a packet time of {0:?} is not one of 10, 20, 30, 40 and 60 ms")]
    Ptime(Duration),
    /// The jitter buffer's delays are out of their range.
    #[error("a jitter buffer cannot be {0:?}: see `Mode::is_possible`")]
    Jitter(jitter::Mode),
    /// The range of media ports holds no pair of an even port and the odd one above it.
    #[error("the range of media ports holds no even port and the odd one above it")]
    MediaPorts,
    /// `media_dscp` is above 63, or `media_priority` not within 1 to 99.
    #[error("a code point is 0 to 63, and a priority 1 to 99")]
    MediaThreads,
    /// `max_calls` or `media_workers` is zero.
    #[error("max_calls and media_workers must be at least 1")]
    NothingAllowed,
    /// `user` or `product` is empty or holds a character that SIP does not allow there.
    #[error("user and product must be plain tokens")]
    Name,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_needs_one_to_show() {
        let any: IpAddr = "0.0.0.0".parse().unwrap();
        let mut config = Config::on(any);
        assert!(matches!(
            config.validate(),
            Err(ConfigError::UnspecifiedSip(_))
        ));
        for listener in &mut config.listeners {
            listener.advertise = Some("192.0.2.1:5060".parse().unwrap());
        }
        assert_eq!(config.validate(), Err(ConfigError::UnspecifiedMedia));
        config.media_advertise = Some("192.0.2.1".parse().unwrap());
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn media_ports_come_in_pairs() {
        let mut config = Config::default();
        for (ports, fine) in [
            (10_000..=10_001, true),
            (10_001..=10_003, true),
            (10_001..=10_002, false),
            (65_535..=65_535, false),
            (0..=1, false),
        ] {
            config.media_ports = Some(ports.clone());
            assert_eq!(config.validate().is_ok(), fine, "{ports:?}");
        }
    }

    #[test]
    fn a_user_that_would_break_a_uri_is_refused() {
        for user in ["", "a b", "a@b", "a>b", "a\"b", "a\r\nEvil: x"] {
            let config = Config {
                user: user.into(),
                ..Config::default()
            };
            assert_eq!(config.validate(), Err(ConfigError::Name), "{user:?}");
        }
    }

    #[test]
    fn out_of_range_values_are_named() {
        let mut config = Config {
            ptime: Duration::from_millis(25),
            ..Config::default()
        };
        assert!(matches!(config.validate(), Err(ConfigError::Ptime(_))));
        config.ptime = Duration::from_millis(20);
        config.codecs.clear();
        assert_eq!(config.validate(), Err(ConfigError::NoCodec));
    }
}

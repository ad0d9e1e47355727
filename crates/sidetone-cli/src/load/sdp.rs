//! The descriptions that the parties exchange, as far as they need them.

use std::io;
use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use sidetone::media::codec::g711::Law;
use sidetone::media::codec::{Codec, Decoder, Encoder, Terms};
use sidetone::media::frame::SampleRate;
use sidetone::rng::Rng;
use sidetone::srtp::key::MasterKey;
use sidetone::srtp::suite;
use sidetone_opus::codec::Opus;

use super::Suite;

/// Codecs of the parties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// G.711 A-law
    Pcma,
    /// G.711 µ-law
    Pcmu,
    /// Opus, 24 kbit/s
    Opus,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Pcma => "PCMA/8000",
            Self::Pcmu => "PCMU/8000",
            Self::Opus => "opus/48000/2",
        }
    }

    /// The number that it has by itself, or that we give it.
    pub(super) fn static_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
            Self::Opus => 111,
        }
    }

    /// Ticks of the RTP clock in a packet.
    pub(super) fn ticks(self) -> u32 {
        match self {
            Self::Pcma | Self::Pcmu => 160,
            Self::Opus => 960,
        }
    }

    fn clock(self) -> u32 {
        self.ticks() * 50
    }

    fn codec(self) -> Box<dyn Codec> {
        match self {
            Self::Pcma => Box::new(Law::A),
            Self::Pcmu => Box::new(Law::Mu),
            Self::Opus => Box::new(Opus::new().bit_rate(24_000)),
        }
    }

    pub(super) fn encoder(self) -> io::Result<Box<dyn Encoder>> {
        let terms = Terms::new(SampleRate::HZ_8000);
        self.codec().encoder(&terms).map_err(io::Error::other)
    }

    pub(super) fn decoder(self) -> io::Result<Box<dyn Decoder>> {
        let terms = Terms::new(SampleRate::HZ_8000);
        self.codec().decoder(&terms).map_err(io::Error::other)
    }
}

/// A key of SRTP and its name in SDP.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    suite: Suite,
    bytes: Vec<u8>,
}

impl Keys {
    /// The key of party `number`: different for each, the same in every run.
    pub(super) fn new(suite: Suite, number: u64) -> Self {
        let mut rng = Rng::new(number + 1);
        let length = if suite == Suite::Cm { 30 } else { 28 };
        let bytes = (0..length).map(|_| rng.next_u32() as u8).collect();
        Self { suite, bytes }
    }

    fn name(suite: Suite) -> &'static str {
        match suite {
            Suite::Cm => "AES_CM_128_HMAC_SHA1_80",
            Suite::Gcm => "AEAD_AES_128_GCM",
        }
    }

    /// The key in the first `a=crypto` line of its suite, with the line's tag.
    fn read(text: &str, suite: Suite) -> Option<(String, Self)> {
        let mut lines = text
            .lines()
            .filter_map(|line| line.strip_prefix("a=crypto:"));
        let line = lines.find(|line| line.contains(Self::name(suite)))?;
        let tag = line.split_whitespace().next()?.to_owned();
        let key = line.split_once("inline:")?.1;
        let key = key.split(['|', ' ']).next()?;
        let bytes = STANDARD.decode(key).ok()?;
        Some((tag, Self { suite, bytes }))
    }

    pub(super) fn master(&self) -> io::Result<MasterKey> {
        let suite = match self.suite {
            Suite::Cm => suite::Suite::AesCm128HmacSha1_80,
            Suite::Gcm => suite::Suite::AeadAes128Gcm,
        };
        let (key, salt) = self.bytes.split_at(self.bytes.len().min(16));
        MasterKey::new(suite, key, salt).map_err(io::Error::other)
    }

    /// The key as SDP and rtpengine have it: name and base64.
    pub(super) fn text(&self, tag: &str) -> String {
        let key = STANDARD.encode(&self.bytes);
        format!("a=crypto:{tag} {} inline:{key}\r\n", Self::name(self.suite))
    }
}

/// Our side of a call's media.
#[derive(Debug, Clone)]
pub(super) struct Local {
    pub(super) address: SocketAddr,
    pub(super) format: Format,
    pub(super) keys: Option<Keys>,
}

impl Local {
    /// Its description; `payload_type` and `tag` answer those of an offer.
    pub(super) fn describe(&self, payload_type: u8, tag: &str) -> String {
        let ip = self.address.ip();
        let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
        let profile = if self.keys.is_some() {
            "RTP/SAVP"
        } else {
            "RTP/AVP"
        };
        let crypto = self.keys.as_ref().map(|keys| keys.text(tag));
        format!(
            "v=0\r\no=load 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
             m=audio {} {profile} {payload_type} 101\r\na=rtpmap:{payload_type} {}\r\n\
             a=rtpmap:101 telephone-event/{}\r\n{}a=ptime:20\r\n",
            self.address.port(),
            self.format.name(),
            self.format.clock(),
            crypto.unwrap_or_default()
        )
    }
}

/// The other side's media, by its description.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    pub(super) address: SocketAddr,
    /// The number under which it takes our codec.
    pub(super) payload_type: u8,
    pub(super) keys: Option<Keys>,
}

impl Remote {
    /// Reads a description; gives the tag of its key too.
    pub(super) fn read(text: &str, local: &Local) -> Option<(Self, String)> {
        let media = text
            .lines()
            .find_map(|line| line.strip_prefix("m=audio "))?;
        let mut words = media.split_whitespace();
        let port: u16 = words.next()?.parse().ok()?;
        let types: Vec<&str> = words.skip(1).collect();
        let host = text.lines().find_map(|line| line.strip_prefix("c=IN "))?;
        let ip: IpAddr = host.split_whitespace().nth(1)?.parse().ok()?;
        let mapped = text.lines().find_map(|line| {
            let (number, name) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
            name.trim()
                .eq_ignore_ascii_case(local.format.name())
                .then(|| number.to_owned())
        });
        let own = local.format.static_type().to_string();
        let number = mapped.unwrap_or(own);
        types.contains(&number.as_str()).then_some(())?;
        let (tag, keys) = match &local.keys {
            Some(own) => {
                let (tag, keys) = Keys::read(text, own.suite)?;
                (tag, Some(keys))
            }
            None => ("1".to_owned(), None),
        };
        let remote = Self {
            address: SocketAddr::new(ip, port),
            payload_type: number.parse().ok()?,
            keys,
        };
        Some((remote, tag))
    }
}

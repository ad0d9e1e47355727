//! What a scripted user agent knows of one call: tags, targets, sequence numbers, descriptions.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use sidetone::sdp::crypto::{Crypto, CryptoSuite};
use sidetone::sip::header::Name;
use sidetone::sip::message::Message;
use sidetone::sip::uri::Uri;

use super::call::End;
use super::text;
use sidetone::srtp::key::{Keying, MasterKey};
use sidetone::srtp::suite::Suite;

use crate::peer::offer::{Abilities, Described, Direction, describe};
use crate::peer::rtp::Outlet;

/// How far a call is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// Called or being called; not answered.
    Early,
    /// Answered.
    Up,
    /// Over.
    Ended(End),
}

/// One call of a scripted user agent.
#[derive(Debug)]
pub(super) struct Dialog {
    pub(super) phase: Phase,
    pub(super) call_id: String,
    pub(super) local_tag: String,
    pub(super) remote_tag: Option<String>,
    /// From and To as this side writes them, without tags.
    pub(super) local: String,
    pub(super) remote: String,
    /// Where requests go: the other side's Contact once it is known.
    pub(super) target: String,
    pub(super) routes: Vec<String>,
    /// Where messages are sent without a route.
    pub(super) destination: SocketAddr,
    pub(super) cseq: u32,
    /// The INVITE that came in.
    pub(super) invite: Option<Message>,
    /// The key of the INVITE's own transaction, and what a CANCEL must repeat of it.
    pub(super) attempt: Option<Attempt>,
    pub(super) responses: Vec<Message>,
    /// The ACK to the 200, to be repeated when that is.
    pub(super) ack: Option<(u32, Bytes)>,
    pub(super) acknowledged: bool,
    pub(super) media: Description,
    /// INFO bodies and the like that arrived within the call.
    pub(super) requests: VecDeque<Message>,
}

/// An INVITE that is not finally answered.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) key: String,
    pub(super) branch: String,
    pub(super) cseq: u32,
    pub(super) uri: String,
}

/// This side's offer and answer, and what came of them.
#[derive(Debug)]
pub(super) struct Description {
    pub(super) rtp: SocketAddr,
    pub(super) abilities: Abilities,
    pub(super) direction: Direction,
    version: u64,
    /// How media flows now, and how often that changed.
    pub(super) outlet: Option<Outlet>,
    pub(super) changes: u64,
    /// This side's key in its last description, and both sides' in force.
    key: Option<Crypto>,
    pub(super) keying: Option<Keying>,
    /// The other side's last description.
    pub(super) theirs: Option<Described>,
}

impl Description {
    pub(super) fn new(rtp: SocketAddr, abilities: Abilities) -> Self {
        Self {
            rtp,
            abilities,
            direction: Direction::SendReceive,
            version: 0,
            outlet: None,
            changes: 0,
            key: None,
            keying: None,
            theirs: None,
        }
    }

    /// This side's offer, a new version of its description.
    pub(super) fn own(&mut self) -> String {
        self.describe(1)
    }

    fn describe(&mut self, tag: u32) -> String {
        self.version += 1;
        let secrecy = self.abilities.srtp.as_ref();
        self.key = secrecy.and_then(|s| s.key(tag, self.version));
        let key = self.key.as_ref();
        describe(self.rtp, self.version, &self.abilities, self.direction, key)
    }

    /// The keys of both sides, where they agree on a suite.
    fn agree(&self, theirs: &Described) -> Option<Keying> {
        let own = self.key.as_ref()?;
        let fits = |key: &&Crypto| (key.tag, key.suite) == (own.tag, own.suite);
        let theirs = theirs.crypto.iter().find(fits)?;
        Some(Keying {
            local: master_key(own)?,
            remote: master_key(theirs)?,
        })
    }

    /// Takes the other side's description.
    pub(super) fn accept(&mut self, sdp: &str) {
        let Some(theirs) = Described::read(sdp) else {
            return;
        };
        self.outlet = theirs.outlet(&self.abilities, self.direction);
        self.keying = self.agree(&theirs);
        self.theirs = Some(theirs);
        self.changes += 1;
    }

    /// Takes the other side's offer and gives the answer to it.
    pub(super) fn answer(&mut self, sdp: &str) -> String {
        if let Some(theirs) = Described::read(sdp) {
            self.direction = theirs.answering_direction();
        }
        self.accept(sdp);
        let all = self.abilities.clone();
        if let Some(theirs) = &self.theirs {
            let offered =
                |law: &crate::peer::rtp::Law| theirs.payload_types.contains(&law.payload_type());
            self.abilities.laws.retain(offered);
            self.abilities.telephone_event = theirs
                .telephone_event
                .filter(|_| all.telephone_event.is_some());
        }
        let suite = all.srtp.as_ref().map(|s| s.suite);
        let offered = self.theirs.iter().flat_map(|theirs| &theirs.crypto);
        let chosen = offered
            .filter(|key| Some(key.suite) == suite)
            .map(|key| key.tag);
        let tag = { chosen }.next();
        if tag.is_none() {
            self.abilities.srtp = None;
        }
        let answer = self.describe(tag.unwrap_or(1));
        self.keying = self.theirs.as_ref().and_then(|theirs| self.agree(theirs));
        self.abilities = all;
        answer
    }
}

fn master_key(crypto: &Crypto) -> Option<MasterKey> {
    let suite = match crypto.suite {
        CryptoSuite::AesCm128HmacSha1_80 => Suite::AesCm128HmacSha1_80,
        CryptoSuite::AesCm128HmacSha1_32 => Suite::AesCm128HmacSha1_32,
        CryptoSuite::AesCm256HmacSha1_80 => Suite::AesCm256HmacSha1_80,
        CryptoSuite::AesCm256HmacSha1_32 => Suite::AesCm256HmacSha1_32,
        CryptoSuite::AeadAes128Gcm => Suite::AeadAes128Gcm,
        CryptoSuite::AeadAes256Gcm => Suite::AeadAes256Gcm,
        _ => return None,
    };
    MasterKey::new(suite, crypto.key(), crypto.salt()).ok()
}

impl Dialog {
    /// Takes what the dialog-forming or target-refreshing message of the other side says.
    pub(super) fn learn(&mut self, message: &Message, local_is_from: bool) {
        let header = if local_is_from { Name::To } else { Name::From };
        if let Some(tag) = text::tag(&text::value(message, header)) {
            self.remote_tag = Some(tag);
        }
        if let Ok(contact) = message.contact() {
            self.target = contact.uri().as_str().to_owned();
        }
    }

    /// Takes the route set from the dialog-forming message (RFC 3261 §12.1).
    pub(super) fn learn_routes(&mut self, message: &Message, reversed: bool) {
        let mut routes: Vec<String> = message
            .record_routes()
            .flatten()
            .map(|route| String::from_utf8_lossy(route.as_bytes()).into_owned())
            .collect();
        if reversed {
            routes.reverse();
        }
        self.routes = routes;
    }

    /// From and To of a message that this side sends in the call.
    pub(super) fn parties(&self) -> (String, String) {
        let from = format!("{};tag={}", self.local, self.local_tag);
        let to = match &self.remote_tag {
            Some(tag) => format!("{};tag={tag}", self.remote),
            None => self.remote.clone(),
        };
        (from, to)
    }

    /// The URI that decides where requests in the call are sent.
    pub(super) fn next_hop(&self) -> String {
        match self.routes.first() {
            Some(route) => text::uri(route),
            None => self.target.clone(),
        }
    }
}

/// The address that a SIP URI names; port 5060 where it names none.
pub(super) fn destination(
    uri: &str,
    ipv4: bool,
    resolve: impl Fn(&str) -> Vec<IpAddr>,
) -> Option<SocketAddr> {
    let uri = Uri::parse(uri).ok()?;
    let port = uri.port().unwrap_or(5060);
    let ip = match uri.host_ip() {
        Some(ip) => ip,
        None => resolve(uri.host())
            .into_iter()
            .find(|ip| ip.is_ipv4() == ipv4)?,
    };
    Some(SocketAddr::new(ip, port))
}

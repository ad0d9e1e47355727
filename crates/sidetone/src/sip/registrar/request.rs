//! What a REGISTER asks for, read and checked before anything is changed (RFC 3261 §10.3).

use std::net::SocketAddr;

use smallvec::SmallVec;

use super::Reply;
use super::config::RegistrarConfig;
use crate::sip::header::Name;
use crate::sip::header::address::NameAddr;
use crate::sip::message::Message;
use crate::sip::status::StatusCode;
use crate::sip::uri::{Scheme, Uri};

/// Bytes of a contact's URI at most.
const MAX_CONTACT: usize = 512;
/// Bytes of a Call-ID at most.
const MAX_CALL_ID: usize = 256;
/// Bytes of a device's instance at most.
const MAX_INSTANCE: usize = 128;
/// Proxies of Path at most, and their bytes.
const MAX_PATH: (usize, usize) = (8, 1024);

/// What is to be done with an address of record.
#[derive(Debug)]
pub(super) enum Wanted {
    /// Nothing: its bindings are asked for.
    Look,
    /// All of its bindings are to go (`Contact: *`).
    RemoveAll,
    /// These bindings are to be made, changed, or removed.
    Update(SmallVec<[Contact; 1]>),
}

/// One Contact of a REGISTER.
#[derive(Debug)]
pub(super) struct Contact {
    pub(super) text: Box<str>,
    pub(super) uri: Uri,
    pub(super) q: u16,
    /// Seconds; zero removes the binding.
    pub(super) expires: u32,
    /// The device and the number of its flow, where it asks for outbound.
    pub(super) outbound: Option<(Box<str>, u32)>,
}

/// Everything of a REGISTER that counts.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) wanted: Wanted,
    pub(super) call_id: Box<str>,
    pub(super) sequence: u32,
    pub(super) path: Option<Box<str>>,
}

/// The user part of the address of record, without escapes; `None` where it is not of our domain.
pub(super) fn name_of(uri: &Uri, config: &RegistrarConfig) -> Option<String> {
    if !matches!(uri.scheme(), Scheme::Sip | Scheme::Sips) || !config.is_ours(uri.host()) {
        return None;
    }
    let name = uri.user_decoded()?;
    // What is logged, compared and shown: no control characters, and none that ends a name.
    let plain = !name.is_empty() && !name.contains(|c: char| c.is_control() || c == '@');
    plain.then(|| name.into_owned())
}

/// Reads a REGISTER; `own` are the addresses that we listen at, which are nobody's contact.
pub(super) fn read(
    request: &Message,
    config: &RegistrarConfig,
    own: &[SocketAddr],
) -> Result<Asked, Reply> {
    let bad = || Reply::new(StatusCode::BAD_REQUEST);
    let call_id = request.call_id().map_err(|_| bad())?;
    if call_id.len() > MAX_CALL_ID {
        return Err(bad());
    }
    let path = path_of(request).ok_or_else(bad)?;
    Ok(Asked {
        wanted: wanted(request, config, own, path.as_deref())?,
        call_id: call_id.into(),
        sequence: request.cseq().map_err(|_| bad())?.number(),
        path,
    })
}

fn wanted(
    request: &Message,
    config: &RegistrarConfig,
    own: &[SocketAddr],
    path: Option<&str>,
) -> Result<Wanted, Reply> {
    let bad = || Reply::new(StatusCode::BAD_REQUEST);
    // A broken Expires counts as none (RFC 3261 §10.2.1.1 says so of the parameter).
    let expires = request.expires().ok().flatten();
    if request.has_star_contact() {
        return match expires {
            Some(0) => Ok(Wanted::RemoveAll),
            _ => Err(bad()),
        };
    }
    let mut contacts = SmallVec::new();
    for contact in request.contacts() {
        let contact = contact.map_err(|_| bad())?;
        if contacts.len() >= config.max_bindings_per_address {
            return Err(Reply::new(StatusCode::SERVICE_UNAVAILABLE));
        }
        let wanted = expires.unwrap_or(config.default_expires);
        let mut read = contact_of(&contact, wanted, own).ok_or_else(bad)?;
        read.expires = granted(read.expires, config)?;
        let outbound = outbound_of(&contact).filter(|_| request.supported().has("outbound"));
        if outbound.is_some() && !first_hop_knows_outbound(request, path) {
            return Err(Reply::new(StatusCode::FIRST_HOP_LACKS_OUTBOUND_SUPPORT));
        }
        read.outbound = outbound;
        contacts.push(read);
    }
    Ok(match contacts.is_empty() {
        true => Wanted::Look,
        false => Wanted::Update(contacts),
    })
}

/// How long a contact that asks for `seconds` lasts.
fn granted(seconds: u32, config: &RegistrarConfig) -> Result<u32, Reply> {
    match seconds {
        0 => Ok(0),
        _ if seconds < config.min_expires => {
            let least = config.min_expires.to_string();
            Err(Reply::new(StatusCode::INTERVAL_TOO_BRIEF).and(Name::MinExpires, least))
        }
        _ => Ok(seconds.min(config.max_expires)),
    }
}

fn contact_of(contact: &NameAddr, expires: u32, own: &[SocketAddr]) -> Option<Contact> {
    let uri = contact.uri();
    let text = uri.as_str();
    let reachable = match uri.host_ip() {
        Some(ip) => {
            let at = SocketAddr::new(ip, uri.port().unwrap_or(5060));
            !(ip.is_unspecified() || ip.is_multicast() || own.contains(&at))
        }
        None => true,
    };
    // Header fields in it would be put into requests that others send.
    let plain = uri.is_sip() && uri.headers().is_none() && uri.port() != Some(0);
    if !reachable || !plain || text.len() > MAX_CONTACT {
        return None;
    }
    let expires = match contact.param("expires") {
        Some(text) => text.parse().unwrap_or(expires),
        None => expires,
    };
    Some(Contact {
        text: text.into(),
        uri: uri.clone(),
        q: match contact.param("q") {
            Some(text) => thousandths(&text)?,
            None => 1000,
        },
        expires,
        outbound: None,
    })
}

/// `0.5` as 500 (RFC 3261 §25.1, `qvalue`).
fn thousandths(text: &str) -> Option<u16> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = part.bytes().all(|byte| byte.is_ascii_digit());
    if !matches!(whole, "0" | "1") || part.len() > 3 || !digits {
        return None;
    }
    let q = format!("{whole}{part:0<3}").parse().ok()?;
    (q <= 1000).then_some(q)
}

/// The device and the flow of an outbound contact (RFC 5626 §4.2).
fn outbound_of(contact: &NameAddr) -> Option<(Box<str>, u32)> {
    let reg_id: u32 = contact.param("reg-id")?.parse().ok()?;
    let instance = contact.param("+sip.instance")?;
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    let fine = (1..=MAX_INSTANCE).contains(&instance.len()) && instance.bytes().all(plain);
    (fine && reg_id > 0).then(|| (instance.as_ref().into(), reg_id))
}

/// Whether the first hop kept the flow: it is us, or a proxy that marked its Path so (RFC 5626 §6).
fn first_hop_knows_outbound(request: &Message, path: Option<&str>) -> bool {
    if request.vias().count() < 2 {
        return true;
    }
    let edge = path.and_then(|path| path.lines().last());
    let edge = edge.and_then(|text| Uri::parse(text).ok());
    edge.is_some_and(|uri| uri.param("ob").is_some())
}

/// The URIs of Path, one a line; `None` where they are broken or too many.
fn path_of(request: &Message) -> Option<Option<Box<str>>> {
    let mut all = String::new();
    for (index, value) in request.addresses(Name::Path).enumerate() {
        let value = value.ok()?;
        if index > 0 {
            all.push('\n');
        }
        all.push_str(value.uri().as_str());
        if index >= MAX_PATH.0 || all.len() > MAX_PATH.1 || !value.uri().is_sip() {
            return None;
        }
    }
    Some((!all.is_empty()).then(|| all.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_thousandths() {
        for (text, q) in [
            ("1", Some(1000)),
            ("1.0", Some(1000)),
            ("0", Some(0)),
            ("0.5", Some(500)),
            ("0.123", Some(123)),
            ("0.", Some(0)),
            ("1.001", None),
            ("2", None),
            ("0.1234", None),
            ("-0.1", None),
            ("0.x", None),
            ("", None),
        ] {
            assert_eq!(thousandths(text), q, "{text}");
        }
    }
}

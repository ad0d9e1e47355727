//! One binding of an address of record to a contact, and what happens to it.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::sip::transport::Path;
use crate::sip::uri::Uri;
use crate::time::Instant;

/// Where a user is reached for some time: a contact, and the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    pub(super) contact: Box<str>,
    pub(super) call_id: Box<str>,
    /// The proxies of Path, a URI each, with a line break between them.
    pub(super) path: Option<Box<str>>,
    pub(super) instance: Option<Box<str>>,
    pub(super) reg_id: u32,
    pub(super) sequence: u32,
    pub(super) expires: Instant,
    pub(super) q: u16,
    pub(super) flow: Path,
    pub(super) source: SocketAddr,
}

impl Binding {
    /// The contact's URI as it was registered. Behind a NAT its host is a private address.
    pub fn contact(&self) -> &str {
        &self.contact
    }

    /// How much the user likes to be reached there, in thousandths: 1,000 by default, 0 the least.
    pub fn q(&self) -> u16 {
        self.q
    }

    /// When it expires.
    pub fn expires(&self) -> Instant {
        self.expires
    }

    /// The proxies that requests to the contact go through, in order (RFC 3327).
    pub fn path(&self) -> impl Iterator<Item = &str> {
        self.path.as_deref().into_iter().flat_map(str::lines)
    }

    /// What tells the device from all others (RFC 5626 §4.1), such as
    /// `<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>`.
    pub fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }

    /// The number of the device's flow (RFC 5626 §4.2); `None` where the contact is no outbound one.
    pub fn reg_id(&self) -> Option<u32> {
        Some(self.reg_id).filter(|id| *id > 0)
    }

    /// The socket or connection that the REGISTER came by. Requests sent there reach a device behind
    /// a NAT.
    pub fn flow(&self) -> Path {
        self.flow
    }

    /// The address that the REGISTER came from: the device's, its NAT's, or its proxy's.
    pub fn source(&self) -> SocketAddr {
        self.source
    }

    /// Whether the contact is `uri` (RFC 3261 §19.1.4).
    pub(super) fn is_at(&self, text: &str, uri: &Uri) -> bool {
        *self.contact == *text
            || Uri::parse(&self.contact).is_ok_and(|contact| contact.is_equivalent(uri))
    }
}

/// Something happened to a binding, polled with
/// [`Registrar::poll_event`](super::Registrar::poll_event).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The address of record, `name@domain`.
    pub address: Arc<str>,
    /// What happened.
    pub kind: ChangeKind,
    /// The binding as it is now, or as it was.
    pub binding: Binding,
}

/// What happened to a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeKind {
    /// It is new.
    Registered,
    /// It was there, and was refreshed or changed.
    Refreshed,
    /// It was not refreshed in time.
    Expired,
    /// The user removed it.
    Removed,
    /// The connection that an outbound binding lived on was closed (RFC 5626 §6).
    FlowClosed,
}

//! What the engine asks of its driver.

use std::net::SocketAddr;

use crate::id::{PortId, WorkerId};
use crate::media::command::Command;
use crate::media::recorder::storage::StorageCommand;
use crate::sip::agent::event::{DriverRequest, Transmit};

/// A pair of media sockets that the driver has opened and the engine may give to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaPort {
    /// The driver's number for the pair.
    pub id: PortId,
    /// The address of the RTP socket.
    pub rtp: SocketAddr,
    /// The address of the RTCP socket.
    pub rtcp: SocketAddr,
}

/// What the engine asks of its driver; polled until `None` after every input.
#[derive(Debug)]
pub enum Output {
    /// Send SIP bytes.
    Signal(Transmit),
    /// Open or close a stream connection, or look up a name.
    Driver(DriverRequest),
    /// Hand a command to a media worker.
    Media(WorkerId, Command),
    /// Hand a command to storage.
    Storage(StorageCommand),
    /// Open this many more media port pairs and give them to `Core::add_port`.
    NeedPorts(usize),
}

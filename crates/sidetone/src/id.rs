//! Identifiers that the engine mints; none of them is ever taken from the network.

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($inner:ty)),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    )+};
}

ids! {
    /// A call: one SIP INVITE session with one party and its media leg. Unique within an engine.
    CallId(u64),
    /// A media leg: one RTP stream pair with one party. Unique within an engine.
    LegId(u64),
    /// A room: sources, sinks and the gains between them. Unique within an engine.
    RoomId(u64),
    /// One playing prompt or tone. Unique within an engine.
    PlayId(u64),
    /// One recording. Unique within an engine.
    RecordingId(u64),
    /// One fork of what a party says or hears. Unique within an engine.
    ForkId(u64),
    /// A pair of media sockets (RTP and RTCP) that the driver has opened.
    PortId(u32),
    /// A media worker: one thread in the real driver.
    WorkerId(u16),
    /// A listening SIP socket, numbered in the order of the configuration.
    ListenerId(u16),
    /// An accepted or opened SIP stream connection.
    ConnectionId(u64),
    /// A caller whose call is carried through to another party. Unique within an engine.
    PassageId(u64),
    /// A trunk: a carrier or another exchange, numbered in the order in which they were added.
    TrunkId(u32),
}

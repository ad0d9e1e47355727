//! Digest authentication (RFC 7616, RFC 8760): the arithmetic, the client's side, the server's side.

pub mod client;
pub mod digest;
pub mod server;
pub mod store;

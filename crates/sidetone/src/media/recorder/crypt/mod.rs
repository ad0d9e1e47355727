//! Recordings that nobody reads but whom they are for: what is stored is encrypted by a key of its own, and that
//! key by the public keys of its readers.

pub mod age;
mod bech32;
pub mod cipher;

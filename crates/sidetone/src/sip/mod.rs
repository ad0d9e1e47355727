//! SIP signalling (RFC 3261): wire formats and the machines above them.

pub mod agent;
pub mod auth;
pub mod dialog;
pub mod event;
pub mod frame;
pub mod header;
pub mod health;
pub mod lex;
pub mod message;
pub mod method;
pub mod overload;
pub mod registrar;
pub mod siprec;
pub mod status;
pub mod transaction;
pub mod transport;
pub mod uri;

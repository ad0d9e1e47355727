//! Event notification (RFC 6665) and publication (RFC 3903): packages, their documents, and the
//! machines that serve them.

pub mod compositor;
pub mod dialog_info;
pub mod notifier;
pub mod package;
pub mod packages;
pub mod pidf;
pub mod summary;
pub mod xml;

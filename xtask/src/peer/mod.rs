//! Real peers that we did not write, each driven in its own folder on ports of its own.

pub(crate) mod baresip;
pub(crate) mod browser;
pub(crate) mod capture;
pub(crate) mod certificates;
pub(crate) mod dns;
pub(crate) mod engine;
pub(crate) mod flow;
pub(crate) mod kamailio;
pub(crate) mod linphone;
pub(crate) mod network;
pub(crate) mod own;
pub(crate) mod place;
pub(crate) mod process;
pub(crate) mod s3;
pub(crate) mod scenario;
pub(crate) mod sipp;
pub(crate) mod site;
pub(crate) mod sluice;
pub(crate) mod softphone;

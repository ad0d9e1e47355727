//! An IVR: a menu, opening hours, and an order number that is read back digit by digit.
#![forbid(unsafe_code)]

pub mod flow;

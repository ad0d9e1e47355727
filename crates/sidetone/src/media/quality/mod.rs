//! How good a call sounds: rating it, and finding out why it does not.

pub mod emodel;

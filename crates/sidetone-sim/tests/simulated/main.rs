//! Whole engines among scripted peers in virtual time: one program, since each that a test links takes as long
//! as all of them.

mod agent;
mod b2bua;
mod call_data;
mod call_details;
mod call_features;
mod chaos;
mod codecs;
mod conversation;
mod digits;
mod direct;
mod engine;
mod engine_review;
mod events;
mod evidence;
mod hostile;
mod hour;
mod injection;
mod joining;
mod media;
mod originals;
mod quality;
mod recorded;
mod redirects;
mod replay;
mod siprec;
mod speech;
mod srtp;
mod stage;
mod transfers;
mod trunks;

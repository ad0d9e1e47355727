//! The `sidetone` command-line tool.
#![forbid(unsafe_code)]

mod account;
mod answer;
mod call;
mod codecs;
mod course;
mod delete;
mod desk;
mod digits;
mod export;
mod line;
mod load;
mod parse;
mod register;
mod replay;
mod serving;
mod sip;
mod srs;
mod srtp;
mod stamp;
mod tls;
mod upload;
mod users;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A telephone engineer's tool: looks at SIP, places calls and answers them, finds out why one
/// sounded bad, and whether a recording is what was recorded.
#[derive(Debug, Parser)]
#[command(name = "sidetone", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Call(call::Call),
    Answer(answer::Answer),
    Parse(parse::Parse),
    Load(load::Load),
    Replay(replay::Replay),
    Verify(verify::Verify),
    Export(export::Export),
    Delete(delete::Delete),
    Srs(srs::Srs),
    Stamp(stamp::Stamp),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Call(call) => call.run(),
        Command::Answer(answer) => answer.run(),
        Command::Parse(parse) => parse.run(),
        Command::Load(load) => load.run(),
        Command::Replay(replay) => replay.run(),
        Command::Verify(verify) => verify.run(),
        Command::Export(export) => export.run(),
        Command::Delete(delete) => delete.run(),
        Command::Srs(srs) => srs.run(),
        Command::Stamp(stamp) => stamp.run(),
    }
}

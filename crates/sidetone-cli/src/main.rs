//! The `sidetone` command-line tool.
#![forbid(unsafe_code)]

mod parse;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A telephone engineer's tool: looks at SIP, places calls and answers them.
#[derive(Debug, Parser)]
#[command(name = "sidetone", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Parse(parse::Parse),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Parse(parse) => parse.run(),
    }
}

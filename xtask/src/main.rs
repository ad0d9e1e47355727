//! The project's own commands: `cargo xtask test | demo | bench | load | fuzz | quality`.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "this program's output is its purpose")]
#![allow(
    clippy::disallowed_methods,
    reason = "a driver of real programs lives in real time"
)]

mod audio;
mod bench;
mod demo;
mod fuzz;
mod guards;
mod interop;
mod load;
mod peer;
mod quality;
mod report;
mod scenario;
mod setup;
mod shell;
mod test;
mod tools;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask test [STEP…]        set up what is missing, then run every check, or only the named steps
cargo xtask demo [--stay]       a call with real softphones, start to end; --stay serves yours afterwards
cargo xtask bench [FILTER]      measure with optimised code
cargo xtask bench scenario [ROW…] [--calls N] [--seconds N] [--rounds N] [--quick] [--write]
                                measure whole servers under calls, beside a floor and rtpengine
cargo xtask bench soak [ROW] [--minutes M] [--load PERCENT,…] [--calls N]
                                one of those rows under steady load for long, 30 minutes at 80 % of a core:
                                memory, late ticks beside a floor's, packets lost
cargo xtask load [calls] [registrations] [--quick]
                                measure calls and registrations with SIPp as the load, next to Kamailio
cargo xtask fuzz [--minutes N] [--keep] [TARGET]
                                fuzz every target (or one) for N minutes in all; needs a nightly compiler;
                                keep adds what reaches new code to fuzz/seeds
cargo xtask quality [--quick] [--only TABLE] [--clips tuning] [--json] [--bless]
                                score speech over bad networks next to peers, and write docs/quality.md
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.split_first() {
        Some((&"test", steps)) => test::run(steps),
        Some((&"demo", options)) => demo::run(options),
        Some((&"bench", filter)) => bench::run(filter),
        Some((&"load", options)) => load::run(options),
        Some((&"ticker", options)) => scenario::soak::ticker(options),
        Some((&"fuzz", options)) => fuzz::run(options),
        Some((&"quality", options)) => quality::run(options),
        _ => Err(std::io::Error::other(format!(
            "usage:\n{USAGE}{}",
            test::usage()
        ))),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::from(2)
        }
    }
}

//! Carries IP packets between two TUN devices as the simulator's links would: late, lost, reordered,
//! twice, or squeezed. Many kernels come without netem; TUN they have.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "a link between real programs lives in real time"
)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this program's output is its report"
)]

#[cfg(target_os = "linux")]
mod device;
mod line;
mod options;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match run(&options::Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sidetone-shaper: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(target_os = "linux")]
fn run(options: &options::Options) -> std::io::Result<()> {
    device::shape(options)
}

#[cfg(not(target_os = "linux"))]
fn run(_options: &options::Options) -> std::io::Result<()> {
    Err(std::io::Error::other("this program knows Linux's TUN only"))
}

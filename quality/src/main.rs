//! Makes the calls of the grid for `cargo xtask quality`.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "this program's output is its purpose")]

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use sidetone_quality::clips::{self, Purpose};
use sidetone_quality::grid;
use sidetone_quality::run::Bench;

const USAGE: &str = "\
sidetone-quality FOLDER [--clips tuning|reporting] [--each N] [--only TABLE] [--neteq PROGRAM]
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(folder) = args.first().map(PathBuf::from) else {
        return Err(io::Error::other(USAGE));
    };
    let option = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1).map(String::as_str)
    };
    let purpose = option("--clips").unwrap_or("reporting");
    let purpose = Purpose::from_name(purpose).ok_or_else(|| io::Error::other(USAGE))?;
    let each = option("--each").and_then(|n| n.parse().ok()).unwrap_or(2);
    let clips = clips::load(purpose, each)?;
    std::fs::create_dir_all(&folder)?;
    let bench = Bench {
        folder: &folder,
        clips: &clips,
        neteq: option("--neteq").map(Path::new),
    };
    let mut cells = Vec::new();
    let only = option("--only");
    for table in grid::tables()
        .iter()
        .filter(|t| only.is_none_or(|only| only == t.name))
    {
        cells.extend(bench.table(table)?);
        println!("{}: {} calls so far", table.name, cells.len());
    }
    let names: Vec<&str> = clips.iter().map(|clip| clip.name.as_str()).collect();
    let all = json!({ "clips": names, "cells": cells });
    std::fs::write(folder.join("cells.json"), serde_json::to_vec(&all)?)
}

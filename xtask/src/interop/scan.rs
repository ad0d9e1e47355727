//! SIPVicious, which scans the Internet for telephone systems to steal calls from, at a registrar where
//! callers have to sign in. The same scans of careless proxies find a user and a password, so they can.

use std::fs;
use std::io;

use super::{Case, Proof, SOON};
use crate::peer::kamailio::Kamailio;
use crate::peer::own::Own;
use crate::peer::place::Place;
use crate::peer::process::Process;

pub(super) const CASES: [Case; 1] = [Case {
    name: "scan: SIPVicious finds nothing that it can use",
    needs: &["svmap", "svwar", "svcrack", "kamailio"],
    run: scan,
}];

/// Who may sign in.
const USER: &str = "105";
/// With a password that is among those guessed.
const PASSWORD: &str = "138";
/// What is guessed: enough that a source is slowed before it is right.
const GUESSES: &str = "100-140";
/// Whom the scans ask for, that user first: the answers must not tell it from the others. Where all
/// answers are refusals that a scan knows nothing to do with, it stops after the first few.
const ASKED: &str = "105\n100\n101\n102\n103\n104\n106\n107\n108\n109\n";

fn scan(place: &Place) -> io::Result<Proof> {
    fs::write(place.path("users.txt"), ASKED)?;
    let careless = Kamailio::spawn_telling(place, USER)?;
    let patient = Kamailio::spawn_registrar(place, PASSWORD, None)?;
    let careful = careful(place)?;
    let guarded = port(&careful.uri())?;
    let [open, lax] = [&careless, &patient].map(|proxy| port(&proxy.address()));
    let (open, lax) = (open?, lax?);
    let users = ["-d", "../users.txt", "--maximumtime=3"];
    let control = start(place, "control", "svwar", &open, &users)?;
    let search = start(place, "search", "svmap", &guarded, &[])?;
    let guess = ["-u", USER, "-r", GUESSES, "--maximumtime=3"];
    let cracked = start(place, "cracked", "svcrack", &lax, &guess)?;
    let mut fruitless = vec![start(place, "guess", "svcrack", &guarded, &guess)?];
    for method in ["REGISTER", "OPTIONS", "INVITE"] {
        for (name, force) in [("polite", None), ("forced", Some("--force"))] {
            let name = format!("{name}-{}", method.to_lowercase());
            let options = [&users[..], &["-m", method]].concat();
            let options: Vec<&str> = options.into_iter().chain(force).collect();
            fruitless.push(start(place, &name, "svwar", &guarded, &options)?);
        }
    }
    let control = finish(control)?;
    if !control.contains(USER) || !control.contains("reqauth") {
        return Err(io::Error::other(format!(
            "the scan finds nothing anywhere: {control}"
        )));
    }
    let cracked = finish(cracked)?;
    if !cracked.contains(PASSWORD) {
        return Err(io::Error::other(format!(
            "no password can be guessed anywhere: {cracked}"
        )));
    }
    let found = finish(search)?;
    if !found.contains("unknown") || found.to_lowercase().contains("sidetone") {
        return Err(io::Error::other(format!("we tell what we are: {found}")));
    }
    for scan in fruitless {
        let found = finish(scan)?;
        if !found.contains("found nothing") {
            return Err(io::Error::other(format!("a scan found something: {found}")));
        }
    }
    let log = careful.log();
    if log.contains("incoming") || log.contains("registered") {
        return Err(io::Error::other(format!("a scan came in: {log}")));
    }
    let from = format!("sip.Status-Line && udp.srcport == {guarded}");
    Ok(Proof::none()
        .shows("refusals", format!("{from} && sip.Status-Code == 401"), 5)
        .lacks(
            "answers that tell users apart",
            format!("{from} && !(sip.Status-Code in {{401, 405}})"),
        ))
}

/// Our registrar, with the algorithm that the scans know.
fn careful(place: &Place) -> io::Result<Own> {
    let file = place.path("accounts.txt");
    fs::write(&file, format!("{USER}:{PASSWORD}\n"))?;
    let file = file.display().to_string();
    let options = ["--registrar", "desk", "--users", &file, "--digest", "md5"];
    Own::answer(place, &Vec::new(), &options)
}

fn port(address: &str) -> io::Result<String> {
    let port = address.rsplit(':').next().map(str::to_owned);
    port.ok_or_else(|| io::Error::other("no port"))
}

/// Starts one of its programs against a port.
fn start(
    place: &Place,
    name: &str,
    program: &str,
    port: &str,
    options: &[&str],
) -> io::Result<Process> {
    let dir = place.path(name);
    fs::create_dir_all(&dir)?;
    let mut command = place.command(program);
    let own = place.take_signalling().to_string();
    command.args(["-b", "127.0.0.1", "-P", &own, "-p", port]);
    Process::spawn(program, &dir, command.args(options).arg("127.0.0.1"))
}

/// What it printed.
fn finish(mut scan: Process) -> io::Result<String> {
    scan.succeed(SOON)?;
    Ok(scan.log())
}

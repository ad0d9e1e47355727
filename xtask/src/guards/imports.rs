//! Guards over what the library's modules import.

use std::collections::{BTreeMap, BTreeSet};

use super::lexer::Token;
use super::paths::{self, Named};
use super::tree::{Source, Tree};

const LIBRARY: &str = "crates/sidetone/src/";

/// The floors of the house: a folder imports its own floor (where no wall stands) and those below.
const FLOORS: [(&str, u8); 20] = [
    ("time", 1),
    ("id", 1),
    ("rng", 1),
    ("error", 1),
    ("sip", 2),
    ("sdp", 2),
    ("rtp", 2),
    ("srtp", 3),
    ("media", 3),
    ("webrtc", 4),
    ("call", 5),
    ("b2bua", 5),
    ("engine", 6),
    ("config", 6),
    ("face", 7),
    ("net", 7),
    ("fuzz", 8),
    ("prelude", 8),
    ("testing", 8),
    ("lib", 9),
];

/// Folders that never see each other, whatever their floors.
const WALLS: [(&str, &[&str]); 5] = [
    ("sip", &["sdp", "rtp", "media", "srtp"]),
    ("sdp", &["sip", "rtp", "media", "srtp"]),
    ("rtp", &["sip", "sdp", "media", "srtp"]),
    ("media", &["sip", "sdp"]),
    ("srtp", &["sip", "sdp"]),
];

/// Files that only say what stands on the wire.
const WIRE: [&str; 19] = [
    "sip::lex",
    "sip::method",
    "sip::status",
    "sip::uri",
    "sip::header",
    "sip::message",
    "sip::frame",
    "sip::event::xml",
    "sip::event::pidf",
    "sip::event::dialog_info",
    "sip::event::summary",
    "sdp::session",
    "sdp::attribute",
    "sdp::crypto",
    "sdp::extension",
    "rtp::packet",
    "rtp::rtcp",
    "rtp::event",
    "rtp::extension",
];

/// Modules that may read a clock, open sockets or files, and start threads.
const DRIVERS: [&str; 2] = ["net", "face"];

/// Paths that only drivers may name, by their beginning.
const FORBIDDEN: [&str; 15] = [
    "std::time::Instant",
    "std::time::SystemTime",
    "std::thread::spawn",
    "std::thread::scope",
    "std::thread::sleep",
    "std::thread::Builder",
    "std::net::UdpSocket",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::fs",
    "std::env",
    "tokio::net",
    "tokio::time",
    "tokio::task",
    "tokio::fs",
];

/// Re-exports that are agreed on: the module, and the path it shows.
const REEXPORTS: [(&str, &str); 1] = [("time", "std::time::Duration")];

/// No folder imports one that is walled off from it or stands on a higher floor.
pub(crate) fn walls(tree: &Tree) -> Vec<String> {
    each(tree, |source, named, out| {
        let Some(from) = source.module().into_iter().next() else {
            return;
        };
        let Some(to) = folder(named) else { return };
        let walled = WALLS
            .iter()
            .any(|(folder, others)| *folder == from && others.contains(&to));
        let above = match (floor(&from), floor(to)) {
            (Some(from), Some(to)) => to > from,
            _ => false,
        };
        if from != to && (walled || above) {
            let why = if walled {
                "a wall stands between"
            } else {
                "it is a floor above"
            };
            out.push(at(
                source,
                named.line,
                &format!("{from}/ imports {} ({why})", show(named)),
            ));
        }
    })
}

/// Wire files import other wire files and the ground floor, nothing else of ours.
pub(crate) fn wire(tree: &Tree) -> Vec<String> {
    each(tree, |source, named, out| {
        let module = source.module();
        if !is_wire(&module) || named.path[0] != "crate" {
            return;
        }
        let to = &named.path[1..];
        let ground = folder(named).is_some_and(|folder| floor(folder) == Some(1));
        if !ground && !is_wire(to) && !to.starts_with(&module) {
            out.push(at(
                source,
                named.line,
                &format!("a wire file imports {}", show(named)),
            ));
        }
    })
}

/// Neither modules nor folders import each other in a circle. A folder's inner files count as one
/// module with it.
pub(crate) fn circles(tree: &Tree) -> Vec<String> {
    let units: BTreeSet<String> = tree
        .rust(LIBRARY)
        .map(|source| unit(&source.module()))
        .collect();
    let mut modules = BTreeMap::<String, BTreeSet<String>>::new();
    let mut folders = BTreeMap::<String, BTreeSet<String>>::new();
    for source in tree.rust(LIBRARY) {
        let module = source.module();
        let from = unit(&module);
        for named in paths::named(&source.production(), &module) {
            if named.path[0] != "crate" || named.path.len() < 2 || module.is_empty() {
                continue;
            }
            let to = [unit(&named.path[1..]), named.path[1].clone()]
                .into_iter()
                .find(|candidate| units.contains(candidate));
            let Some(to) = to.filter(|to| *to != from) else {
                continue;
            };
            let (here, there) = (module[0].clone(), named.path[1].clone());
            if here != there {
                folders.entry(here).or_default().insert(there);
            }
            modules.entry(from.clone()).or_default().insert(to);
        }
    }
    let mut found = circle(&modules);
    found.extend(circle(&folders));
    found
}

/// Nothing is re-exported, except what a module's own private files define.
pub(crate) fn reexports(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for source in tree.rust(LIBRARY) {
        let module = source.module();
        let tokens = source.production();
        for named in paths::named(&tokens, &module) {
            let agreed = REEXPORTS.contains(&(module.join("::").as_str(), show(&named).as_str()));
            if named.reexport && !agreed && !from_private_child(&tokens, &module, &named) {
                found.push(at(
                    &source,
                    named.line,
                    &format!("re-exports {}", show(&named)),
                ));
            }
        }
    }
    found
}

/// `net/` and `face/` import no item that the library keeps to itself, so that anybody could
/// write such a driver.
pub(crate) fn drivers(tree: &Tree) -> Vec<String> {
    let mut hidden = BTreeMap::new();
    for source in tree.rust(LIBRARY) {
        hidden.insert(source.module(), hidden_items(&source.production()));
    }
    each(tree, |source, named, out| {
        let ours = folder(named).is_some_and(|folder| !DRIVERS.contains(&folder));
        let driver = source
            .module()
            .first()
            .is_some_and(|from| DRIVERS.contains(&from.as_str()));
        let Some((name, owner)) = named.path[1..].split_last().filter(|_| driver && ours) else {
            return;
        };
        if hidden.get(owner).is_some_and(|items| items.contains(name)) {
            out.push(at(
                source,
                named.line,
                &format!("{} is not public", show(named)),
            ));
        }
    })
}

/// Machines, the simulator and the examples' call flows take time and bytes as arguments.
pub(crate) fn clocks(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for source in tree.rust("") {
        if !is_machine(&source) {
            continue;
        }
        let tokens = source.production();
        for named in foreign(&tokens, &source.module()) {
            let path = show(&named);
            let forbidden = FORBIDDEN.iter().any(|bad| {
                path == *bad
                    || path
                        .strip_prefix(bad)
                        .is_some_and(|rest| rest.starts_with("::"))
            });
            // The simulator takes its seed from the environment and an example its settings from
            // a file; the library's machines take nothing.
            let input = path.starts_with("std::env") || path.starts_with("std::fs");
            let excused = input && !source.path.starts_with(LIBRARY);
            if (forbidden || path == "tokio::spawn") && !excused {
                found.push(at(
                    &source,
                    named.line,
                    &format!("{path} belongs to the drivers"),
                ));
            }
        }
    }
    found
}

fn is_machine(source: &Source<'_>) -> bool {
    if source.path.starts_with(LIBRARY) {
        return !source
            .module()
            .first()
            .is_some_and(|folder| DRIVERS.contains(&folder.as_str()));
    }
    // A failing simulation says how to repeat it, and is repeated through the environment.
    let seed = source.path == "crates/sidetone-sim/src/seed.rs";
    (source.path.starts_with("crates/sidetone-sim/src/") && !seed)
        || (source.path.starts_with("examples/") && !source.path.ends_with("main.rs"))
}

/// Paths into other crates: those of `use` declarations, and those spelt out in the code.
fn foreign(tokens: &[Token], module: &[String]) -> Vec<Named> {
    let mut all = paths::named(tokens, module);
    for (index, token) in tokens.iter().enumerate() {
        let begins = token.is("std") || token.is("tokio");
        let inner = index > 0 && tokens[index - 1].is_sign(':');
        if begins && !inner {
            let words = tokens[index..]
                .iter()
                .take_while(|t| t.word().is_some() || t.is_sign(':'));
            let path: Vec<String> = words.filter_map(|t| t.word().map(str::to_owned)).collect();
            all.push(Named {
                path,
                line: token.line,
                reexport: false,
            });
        }
    }
    all.sort_by(|a, b| (a.line, &a.path).cmp(&(b.line, &b.path)));
    all.dedup_by(|a, b| a.line == b.line && a.path == b.path);
    all
}

/// Calls `check` with every path that production code of the library names.
fn each(tree: &Tree, check: impl Fn(&Source<'_>, &Named, &mut Vec<String>)) -> Vec<String> {
    let mut found = Vec::new();
    for source in tree.rust(LIBRARY) {
        for named in paths::named(&source.tokens, &source.module()) {
            check(&source, &named, &mut found);
        }
    }
    found
}

fn folder(named: &Named) -> Option<&str> {
    (named.path[0] == "crate")
        .then(|| named.path.get(1).map(String::as_str))
        .flatten()
}

fn floor(folder: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(name, _)| *name == folder)
        .map(|(_, floor)| *floor)
}

fn is_wire(path: &[String]) -> bool {
    path.len() >= 2 && WIRE.contains(&format!("{}::{}", path[0], path[1]).as_str())
}

/// The module that circles are looked for among: at most two names deep.
fn unit(path: &[String]) -> String {
    path.iter().take(2).cloned().collect::<Vec<_>>().join("::")
}

fn show(named: &Named) -> String {
    named.path.join("::")
}

fn at(source: &Source<'_>, line: usize, what: &str) -> String {
    format!("{}:{line}: {what}", source.path)
}

/// Names of items declared `pub(…)`.
fn hidden_items(tokens: &[Token]) -> BTreeSet<String> {
    const KINDS: [&str; 8] = [
        "struct", "enum", "fn", "const", "static", "type", "trait", "mod",
    ];
    let mut items = BTreeSet::new();
    for (index, token) in tokens.iter().enumerate() {
        if !(token.is("pub") && tokens.get(index + 1).is_some_and(|next| next.is_sign('('))) {
            continue;
        }
        let after = tokens[index..]
            .iter()
            .skip_while(|token| !token.is_sign(')'))
            .skip(1)
            .take(4);
        let words: Vec<&str> = after.filter_map(Token::word).collect();
        let kind = words.iter().rposition(|word| KINDS.contains(word));
        if let Some(name) = kind.and_then(|kind| words.get(kind + 1)) {
            items.insert((*name).to_owned());
        }
    }
    items
}

/// Whether a re-export takes a name out of a private file of the same module.
fn from_private_child(tokens: &[Token], module: &[String], named: &Named) -> bool {
    let child = match named.path[0].as_str() {
        "crate" => named.path[1..]
            .strip_prefix(module)
            .and_then(<[String]>::first),
        _ => named.path.first(),
    };
    child.is_some_and(|child| {
        tokens.iter().enumerate().any(|(index, token)| {
            let visible =
                index > 0 && (tokens[index - 1].is("pub") || tokens[index - 1].is_sign(')'));
            token.is("mod") && !visible && tokens.get(index + 1).is_some_and(|next| next.is(child))
        })
    })
}

/// The circles in a graph, each once, as `a → b → a`.
fn circle(graph: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut found = Vec::new();
    let mut done = BTreeSet::new();
    for start in graph.keys() {
        let mut path = vec![start.clone()];
        follow(graph, &mut path, &mut done, &mut found);
    }
    found
}

fn follow(
    graph: &BTreeMap<String, BTreeSet<String>>,
    path: &mut Vec<String>,
    done: &mut BTreeSet<String>,
    found: &mut Vec<String>,
) {
    let Some(here) = path.last().cloned() else {
        return;
    };
    if done.contains(&here) {
        return;
    }
    for next in graph.get(&here).into_iter().flatten() {
        if let Some(from) = path.iter().position(|step| step == next) {
            found.push(format!("{} → {next}", path[from..].join(" → ")));
        } else {
            path.push(next.clone());
            follow(graph, path, done, found);
            path.pop();
        }
    }
    done.insert(here);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(files: &[(&str, &str)]) -> Tree {
        let files: Vec<(String, &str)> = files
            .iter()
            .map(|(path, text)| (format!("{LIBRARY}{path}"), *text))
            .collect();
        let borrowed: Vec<(&str, &str)> = files.iter().map(|(p, t)| (p.as_str(), *t)).collect();
        Tree::planted(&borrowed)
    }

    #[test]
    fn a_breach_in_a_wall_is_found() {
        let tree = library(&[
            (
                "sip/agent.rs",
                "use crate::{time::Instant, media::frame::Frame};",
            ),
            ("rtp/session.rs", "fn f() { crate::sdp::session::parse(); }"),
            (
                "media/leg.rs",
                "use crate::rtp::packet::View; use super::frame::Frame;",
            ),
            (
                "sip/dialog.rs",
                "use crate::engine::Engine; mod tests { use super::super::media; }",
            ),
        ]);
        let found = walls(&tree);
        assert_eq!(found.len(), 3, "{found:#?}");
        assert!(found[0].contains("rtp/session.rs:1"));
        assert!(found[1].contains("sip/agent.rs:1") && found[1].contains("media::frame"));
        assert!(found[2].contains("floor above"));
    }

    #[test]
    fn a_wire_file_that_imports_a_machine_is_found() {
        let tree = library(&[
            (
                "sip/message.rs",
                "use crate::sip::uri::Uri; use crate::rng::Rng;",
            ),
            (
                "sip/header/via.rs",
                "use crate::sip::transaction::Key; use super::parse;",
            ),
            ("rtp/rtcp.rs", "use super::session::Sender;"),
        ]);
        let found = wire(&tree);
        assert_eq!(found.len(), 2, "{found:#?}");
    }

    #[test]
    fn circles_of_modules_and_of_folders_are_found() {
        let modules = library(&[
            ("sip/a.rs", "use crate::sip::b::B;"),
            ("sip/b.rs", "use super::c::C;"),
            ("sip/c.rs", "use super::a::A;"),
            (
                "sip/d.rs",
                "#[cfg(test)] mod tests { use crate::sip::a::A; } use super::a::A;",
            ),
        ]);
        assert_eq!(circles(&modules), ["sip::a → sip::b → sip::c → sip::a"]);
        let folders = library(&[
            ("call/leg.rs", "use crate::engine::timer::T;"),
            ("engine/timer.rs", ""),
            ("engine/core.rs", "use crate::call::leg::Leg;"),
        ]);
        assert_eq!(circles(&folders), ["call → engine → call"]);
        let inner = library(&[
            (
                "sip/agent/mod.rs",
                "mod session; use self::session::Session;",
            ),
            ("sip/agent/session.rs", "use super::Agent;"),
        ]);
        assert_eq!(circles(&inner), [""; 0]);
    }

    #[test]
    fn reexports_are_found_unless_a_private_file_owns_the_name() {
        let tree = library(&[
            ("lib.rs", "pub mod sip; pub use crate::sip::uri::Uri;"),
            (
                "sip/mod.rs",
                "pub mod uri; pub use uri::Uri; pub(crate) use self::uri::Host;",
            ),
            (
                "sip/agent/mod.rs",
                "mod session; pub use self::session::Session;",
            ),
        ]);
        assert_eq!(reexports(&tree).len(), 3, "{:#?}", reexports(&tree));
    }

    #[test]
    fn a_driver_that_uses_a_hidden_item_is_found() {
        let tree = library(&[
            (
                "media/worker.rs",
                "pub(crate) struct Inner; pub struct Worker; pub(super) const fn f() {}",
            ),
            (
                "net/media.rs",
                "use crate::media::worker::{Inner, Worker, f};",
            ),
            ("call/leg.rs", "use crate::media::worker::Inner;"),
        ]);
        assert_eq!(drivers(&tree).len(), 2, "{:#?}", drivers(&tree));
    }

    #[test]
    fn clocks_sockets_and_threads_outside_the_drivers_are_found() {
        let tree = Tree::planted(&[
            (
                "crates/sidetone/src/media/leg.rs",
                "use std::time::{Duration, Instant};",
            ),
            (
                "crates/sidetone/src/sip/agent.rs",
                "fn f() { std::thread::spawn(|| ()); }",
            ),
            (
                "crates/sidetone/src/net/media.rs",
                "use std::net::UdpSocket;",
            ),
            (
                "crates/sidetone-sim/src/lib.rs",
                "async fn f() { tokio::time::sleep(D).await }",
            ),
            ("crates/sidetone-udp/src/lib.rs", "use std::net::UdpSocket;"),
            (
                "examples/ivr/src/lib.rs",
                "use std::net::SocketAddr; use tokio::time::sleep;",
            ),
            ("examples/ivr/src/main.rs", "use tokio::time::sleep;"),
        ]);
        let found = clocks(&tree);
        assert_eq!(found.len(), 4, "{found:#?}");
    }
}

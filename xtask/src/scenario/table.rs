//! The table, on the terminal and in docs/benchmarks.md.

use std::fmt::Write as _;
use std::fs;
use std::io;

use super::row::{Bench, Kind, Outcome, Row};
use crate::shell;

/// Between these lines the document is written by this program.
const BEGIN: &str = "<!-- cargo xtask bench scenario --write: from here -->";
const END: &str = "<!-- to here -->";

/// All that was measured.
pub(super) struct Table {
    markdown: String,
}

impl Table {
    /// Of each row the round that cost least: everything else on the machine only adds.
    pub(super) fn new(bench: &Bench, rows: &[&Row], all: &[(&str, Outcome)]) -> Self {
        let best = |name: &str| {
            let own = all.iter().filter(|(row, _)| *row == name);
            let best = own.min_by(|a, b| a.1.cost().total_cmp(&b.1.cost()));
            best.map(|(_, outcome)| outcome)
        };
        let floor = best("floor").map(Outcome::cost);
        let mut text = String::from(
            "| row | calls | ms a call-second (aim) | µs a packet | of the floor | delay median, 99.9 % (ms) | \
             lost | heard right | kB a call | load not in time |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
        );
        for row in rows {
            if let Some(outcome) = best(row.name) {
                let _ = writeln!(text, "{}", line(row, outcome, floor));
            }
        }
        text.push_str(
            "\nHow late the ticks ran (of the rows with ticks, in the round that is shown):\n\n",
        );
        for row in rows {
            if let Some(ticks) = best(row.name).and_then(|outcome| outcome.ticks.as_ref()) {
                let _ = writeln!(text, "- {}: {ticks}", row.name);
            }
        }
        let _ = writeln!(
            text,
            "\n{} s each, {} calls unless the column says otherwise; the server on one core, the load on the \
             other.",
            bench.seconds, bench.calls
        );
        Self { markdown: text }
    }

    pub(super) fn markdown(&self) -> &str {
        &self.markdown
    }

    /// Puts it into the document, in place of the last one.
    pub(super) fn write(&self) -> io::Result<()> {
        let path = shell::root().join("docs/benchmarks.md");
        let text = fs::read_to_string(&path)?;
        let parts = text.split_once(BEGIN);
        let parts = parts.and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
        let (head, tail) = parts.ok_or_else(|| io::Error::other("no place for the table"))?;
        fs::write(
            path,
            format!("{head}{BEGIN}\n\n{}\n{END}{tail}", self.markdown),
        )
    }
}

fn line(row: &Row, outcome: &Outcome, floor: Option<f64>) -> String {
    let figure = |name| outcome.figure(name).unwrap_or(0.0);
    let cost = outcome.cost();
    let aim = row.aim.map(|aim| format!(" ({aim})")).unwrap_or_default();
    let parties = figure("parties").max(1.0);
    let packets = figure("received").max(1.0);
    let per_packet = cost * figure("seconds") * outcome.calls as f64 * 1e3 / packets;
    let ratio = floor.filter(|_| parties > outcome.calls as f64 && row.kind != Kind::Answer);
    let ratio = ratio.map_or(String::new(), |floor| format!("{:.2}", cost / floor));
    let matched = figure("matched") * 2.0 > packets;
    let delay = match matched || row.kind == Kind::Answer {
        true if !matched => String::new(),
        true => format!(
            "{:.2}, {:.2}",
            figure("delay_median") / 1e3,
            figure("delay_999") / 1e3
        ),
        false => format!("mouth to ear {:.0}", figure("mouth_to_ear")),
    };
    let memory = outcome.figure("memory_kb");
    format!(
        "| {}: {} | {} | {cost:.3}{aim} | {per_packet:.2} | {ratio} | {delay} | {} | {} of {} | {} | {} of {} |",
        row.name,
        row.what,
        outcome.calls,
        outcome.lost(),
        figure("found"),
        figure("pieces"),
        memory.map_or(String::new(), |kb| format!("{kb:.0}")),
        figure("not_in_time"),
        figure("sent"),
    )
}

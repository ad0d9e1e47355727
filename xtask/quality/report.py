"""Tells what the laboratory found: FOLDER/figures.json, and DOCS/quality.md with its plots.

report.py FOLDER [DOCS]: without DOCS the tables go to standard output only.
"""

import json
import subprocess
import sys
from pathlib import Path

TITLES = {
    "loss": "PCMU by packet loss",
    "codecs": "Codecs by packet loss",
    "extras": "What redundancy, FEC and pauses cost and bring",
    "delays": "Varying delay, nothing lost",
    "traces": "Traces of 15,000 packets",
    "drift": "Clocks that differ by 200 ppm",
}
# PESQ of shared targets that other systems reached on other clips; not run here.
QUOTED = {
    ("loss", "PCMU"): [
        ("spandsp (quoted)", [4.28, 3.98, 3.65, 3.38, 2.94, 2.33, 2.37, 2.93]),
        ("PJMEDIA WSOLA (quoted)", [4.25, 3.99, 3.69, 3.46, 3.02, 2.49, 2.53, 3.03]),
        ("G.711 Appendix I (quoted)", [4.28, 4.01, 3.71, 3.47, 3.04, 2.50, 2.46, 3.00]),
    ],
}
COLOURS = ["#1f77b4", "#d62728", "#7f7f7f", "#2ca02c", "#9467bd"]


def mean(values):
    values = [value for value in values if value is not None]
    return sum(values) / len(values) if values else None


def figures(folder):
    """One record a call: its scores, its delay, and what was made up."""
    cells = json.loads((folder / "cells.json").read_text())
    scores = json.loads((folder / "scores.json").read_text())
    found = []
    for cell in cells["cells"]:
        pairs = [scores[p["heard"]] for p in cell.pop("pairs") if p["heard"] in scores]
        own = cell["own"]
        played = own.get("played_ms")
        cell["pesq"] = mean(pair[0] for pair in pairs)
        cell["plcmos"] = mean(pair[1] for pair in pairs)
        cell["concealed_percent"] = 100 * own["concealed_ms"] / played if played else None
        found.append(cell)
    return {"clips": cells["clips"], "calls": found}


def unique(values):
    return list(dict.fromkeys(values))


def number(value, digits):
    return "" if value is None else f"{value:.{digits}f}"


def entry(cell):
    """PESQ / PLCMOS / mean delay."""
    parts = [number(cell["pesq"], 2), number(cell["plcmos"], 2), number(cell["delay_ms"], 0)]
    return " / ".join(parts)


def loss_table(name, calls):
    scenes = unique(call["scene"] for call in calls)
    lines = ["| format | receiver | " + " | ".join(scenes) + " |", "|---" * (len(scenes) + 2) + "|"]
    for form in unique(call["format"] for call in calls):
        for receiver in unique(call["receiver"] for call in calls if call["format"] == form):
            row = {c["scene"]: c for c in calls if (c["format"], c["receiver"]) == (form, receiver)}
            cells = [entry(row[scene]) if scene in row else "" for scene in scenes]
            lines.append(f"| {form} | {receiver} | " + " | ".join(cells) + " |")
        for title, values in QUOTED.get((name, form), []):
            cells = [f"{value:.2f}" for value in values]
            lines.append(f"| {form} | {title} | " + " | ".join(cells) + " |")
    return lines


def delay_table(calls):
    lines = [
        "| format | kbit/s | network | receiver | PESQ | PLCMOS | delay, mean | delay, 95 % | concealed | slowed, ms | shortened, ms | oracle, 1 % late |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for c in calls:
        own = c["own"]
        share = c["concealed_percent"]
        lines.append(
            f"| {c['format']} | {c['kbps']:.0f} | {c['scene']} | {c['receiver']} | {number(c['pesq'], 2)} | {number(c['plcmos'], 2)}"
            f" | {c['delay_ms']:.0f} ms | {c['delay_p95_ms']:.0f} ms"
            f" | {'' if share is None else f'{share:.2f} %'}"
            f" | {number(own.get('stretched_ms'), 0)} | {number(own.get('shortened_ms'), 0)}"
            f" | {c['oracle_ms']} ms |"
        )
    return lines


def loss_plot(calls):
    """PESQ over random loss."""
    calls = [c for c in calls if c["scene"].split()[0].isdigit()]
    width, height, left, bottom = 560, 320, 50, 40
    most = 20

    def place(loss, score):
        x = left + (width - left - 20) * loss / most
        y = height - bottom - (height - bottom - 20) * (score - 1) / 3.5
        return f"{x:.1f},{y:.1f}"

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="12">']
    parts.append(f'<rect width="{width}" height="{height}" fill="white"/>')
    for score in (1, 2, 3, 4):
        a, b = place(0, score), place(most, score)
        parts.append(f'<path d="M{a} L{b}" stroke="#ddd"/><text x="{left - 20}" y="{float(a.split(",")[1]) + 4}">{score}</text>')
    for loss in (0, 5, 10, 15, 20):
        x = place(loss, 1).split(",")[0]
        parts.append(f'<text x="{x}" y="{height - 20}" text-anchor="middle">{loss} %</text>')
    parts.append(f'<text x="{width / 2}" y="{height - 4}" text-anchor="middle">packets lost at random</text>')
    parts.append('<text x="12" y="14">PESQ</text>')
    for n, receiver in enumerate(unique(c["receiver"] for c in calls)):
        row = [(int(c["scene"].split()[0]), c["pesq"]) for c in calls if c["receiver"] == receiver]
        path = " L".join(place(loss, score) for loss, score in row if score)
        parts.append(f'<path d="M{path}" fill="none" stroke="{COLOURS[n]}" stroke-width="2"/>')
        parts.append(f'<text x="{width - 190}" y="{30 + 16 * n}" fill="{COLOURS[n]}">{receiver}</text>')
    return "\n".join(parts + ["</svg>"]) + "\n"


def delay_plot(calls):
    """Delay against what was concealed, PCMU."""
    calls = [c for c in calls if c["format"] == "PCMU" and c["concealed_percent"] is not None]
    width, row = 560, 22
    height = row * len(calls) + 50
    most = max([c["delay_ms"] for c in calls] + [1])
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="12">']
    parts.append(f'<rect width="{width}" height="{height}" fill="white"/>')
    parts.append('<text x="8" y="16">mean delay in ms (bar), concealed in % (figure)</text>')
    receivers = unique(c["receiver"] for c in calls)
    for n, c in enumerate(calls):
        y = 30 + row * n
        length = 230 * c["delay_ms"] / most
        colour = COLOURS[receivers.index(c["receiver"]) % len(COLOURS)]
        parts.append(f'<text x="8" y="{y + 13}">{c["scene"]}, {c["receiver"]}</text>')
        parts.append(f'<rect x="230" y="{y}" width="{length:.1f}" height="{row - 6}" fill="{colour}"/>')
        parts.append(f'<text x="{236 + length:.1f}" y="{y + 13}">{c["delay_ms"]:.0f} ms, {c["concealed_percent"]:.2f} %</text>')
    return "\n".join(parts + ["</svg>"]) + "\n"


def commit():
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def tables(found):
    text = []
    for name in unique(call["table"] for call in found["calls"]):
        calls = [call for call in found["calls"] if call["table"] == name]
        text += [f"### {TITLES.get(name, name)}", ""]
        text += loss_table(name, calls) if name in ("loss", "codecs") else delay_table(calls)
        text.append("")
    return "\n".join(text)


def main():
    folder = Path(sys.argv[1])
    found = figures(folder)
    (folder / "figures.json").write_text(json.dumps(found, indent=1))
    text = tables(found)
    print(text)
    if len(sys.argv) < 3:
        return
    docs = Path(sys.argv[2])
    page = docs / "quality.md"
    begin, end = "<!-- measured -->\n", "<!-- end -->\n"
    before, _, rest = page.read_text().partition(begin)
    _, _, after = rest.partition(end)
    named = f"Measured at commit {commit()} with {len(found['clips'])} clips: {', '.join(found['clips'])}.\n\n"
    page.write_text(before + begin + "\n" + named + text + "\n" + end + after)
    plots = [("loss", loss_plot, "quality-loss.svg"), ("traces", delay_plot, "quality-traces.svg")]
    for name, plot, file in plots:
        calls = [call for call in found["calls"] if call["table"] == name]
        if calls:
            (docs / file).write_text(plot(calls))


if __name__ == "__main__":
    main()

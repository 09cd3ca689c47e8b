"""A picture of a report of :mod:`benchmarks.answers`: ``python -m benchmarks.picture FILE.json -o docs/answers.svg``.

The same report gives the same octets. Each panel has one scale and its servers in order, the best on top; the picture
needs nothing from elsewhere, and is readable on light and on dark pages.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.servers import OURS, PEERS, SERVERS

#: Pixels: between things, of a line of text, of a bar with the space around it, of names left of bars, of the longest
#: bar, and of the figures right of it.
GAP, LINE, BAR, NAMES, LONGEST, FIGURES = 24, 18, 22, 104, 270, 76
COLUMNS = 2
#: Letters of a line below the panels.
LETTERS = 140
_WIDTH = NAMES + LONGEST + FIGURES
_STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.title { font-weight: 600; font-size: 14px; }
.note { font-size: 12px; fill: #59636e; }
.name { text-anchor: end; }
.page { fill: #ffffff; }
.peer { fill: #b6bec8; }
.ours { fill: #1f6feb; }
.ours-text { font-weight: 600; fill: #0b57d0; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .note { fill: #9198a1; }
  .page { fill: #0d1117; }
  .peer { fill: #4d5763; }
  .ours { fill: #388bfd; }
  .ours-text { fill: #79b8ff; }
}
"""


class Panel(NamedTuple):
    """A title, and (server, figure, its text) in order, the best first."""

    title: str
    bars: Sequence[tuple[str, float, str]]


def panels(report: dict[str, Any]) -> list[Panel]:
    """What there is to show of a report: the loads, then what is better when it is less."""
    servers = {name: found for name, found in report["servers"].items() if name in (OURS, *PEERS)}
    loads = [load for load in report["titles"] if load in servers[OURS]["loads"]]
    found = [
        _panel(
            f"{report['titles'][load]}: queries/s",
            {name: server["loads"][load]["rate"] for name, server in servers.items() if load in server["loads"]},
            "{:,.0f}".format,
            most=True,
        )
        for load in loads
    ]
    ready = {name: server["ready-seconds"] for name, server in servers.items()}
    memory = {name: server["memory-later"]["all-bytes"] / 1e6 for name, server in servers.items()}
    return [
        *found,
        _panel("from the start to right answers (less is better)", ready, "{:.2f} s".format),
        _panel("memory of all processes after the loads (less is better)", memory, "{:,.0f} MB".format),
    ]


def _panel(title: str, figures: dict[str, float], text: Callable[[float], str], most: bool = False) -> Panel:
    order = sorted(figures, key=lambda name: (-figures[name] if most else figures[name], name))
    return Panel(title, [(name, figures[name], text(figures[name])) for name in order])


def draw(report: dict[str, Any]) -> str:
    """The picture as SVG."""
    found = panels(report)
    rows = [found[at : at + COLUMNS] for at in range(0, len(found), COLUMNS)]
    width = COLUMNS * (_WIDTH + GAP) + GAP
    lines: list[str] = []
    top = GAP
    for row in rows:
        for column, panel in enumerate(row):
            lines += _bars(panel, GAP + column * (_WIDTH + GAP), top)
        top += max(LINE + BAR * len(panel.bars) for panel in row) + GAP
    for note in notes(report):
        lines.append(_text(GAP, top, note, "note"))
        top += LINE
    size = f'viewBox="0 0 {width} {top}" width="{width}" height="{top}"'
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(_spoken(found))}">',
        f"<style>\n{_STYLE}</style>",
        f'<rect class="page" width="{width}" height="{top}" rx="8"/>',
    ]
    return "\n".join([*head, *lines, "</svg>\n"])


def _bars(panel: Panel, left: int, top: int) -> Iterator[str]:
    most = max(figure for _, figure, _ in panel.bars) or 1
    yield _text(left, top + 4, panel.title, "title")
    for number, (name, figure, text) in enumerate(panel.bars):
        y = top + LINE + number * BAR
        ours = name == OURS
        kind, letters = ("ours", " ours-text") if ours else ("peer", "")
        length = max(round(LONGEST * figure / most), 1)
        yield _text(left + NAMES - 8, y + 14, name, f"name{letters}")
        yield f'<rect class="{kind}" x="{left + NAMES}" y="{y + 2}" width="{length}" height="{BAR - 6}" rx="2"/>'
        yield _text(left + NAMES + length + 6, y + 14, text, letters.strip())


def _text(x: int, y: int, text: str, kind: str) -> str:
    kind = f' class="{kind}"' if kind else ""
    return f'<text{kind} x="{x}" y="{y}">{escape(text)}</text>'


def notes(report: dict[str, Any]) -> list[str]:
    """What the figures are of, in lines."""
    found = {
        f"{SERVERS[name].program} {server['version']}" for name, server in report["servers"].items() if name in PEERS
    }
    edns = "with" if report["edns"] else "without"
    said = (
        f"{report['names']:,} blocked trees; one core for the server, one for the load; medians of runs in turn "
        f"({report['runs']}); over UDP {edns} EDNS where nothing else is said. {', '.join(sorted(found))}; "
        f"dnsperf {report['dnsperf']}, Python {report['machine']['python']}, {report['machine']['processor']}."
    )
    return textwrap.wrap(said, LETTERS)


def _spoken(found: Sequence[Panel]) -> str:
    """The panels for who cannot see them."""
    return "; ".join(f"{title}: {', '.join(f'{name} {text}' for name, _, text in bars)}" for title, bars in found)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw what benchmarks.answers measured.")
    parser.add_argument("report", type=Path, metavar="FILE", help="what --json wrote")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the picture, in SVG")
    arguments = parser.parse_args()
    report = json.loads(arguments.report.read_text(encoding="utf-8"))
    arguments.output.write_text(draw(report), encoding="utf-8")


if __name__ == "__main__":
    main()

"""How fast a list becomes a file, format by format: ``python -m benchmarks.exports``.

The list is in memory, as a build has it. A run is all that is left to do: fit it into the format, count what the format
cannot say, render, hash, write and flush the file. Each format starts from nothing, and of several runs the fastest
counts; the last line is all formats at once, as in a build, where they share the spelling of the names. Formats that
state names are given a million names with rules of every kind, those that state addresses a million networks. Rules a
second are those of the processor's time, of which one thread takes all; the seconds beside it are those of the clock,
and longer where the machine has other work to do or the disk is slow.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import corpus
from sinkhole.compiler.blocklist import Blocklist, keys_of, resolve
from sinkhole.compiler.compile import Compiled
from sinkhole.compiler.planned import ListPlan
from sinkhole.exports.publish import publish
from sinkhole.formats import FORMATS
from sinkhole.formats.format import Format
from sinkhole.rules import Kind, On, Parsed, Rank, Rule, Scope, Special

RULES = 1_000_000
#: Rules a second that every format should reach.
LIMIT = 1_000_000
_EXACT, _BELOW, _TREE = (Kind(scope) for scope in (Scope.EXACT, Scope.SUBDOMAINS, Scope.TREE))
_ALLOW, _AGAIN = Kind(Scope.TREE, allow=True), Kind(Scope.TREE, rank=Rank.IMPORTANT)
#: The rules that stand together, each with what it puts in front of the name, and how often of a hundred times.
_SHAPES = (
    (42, ((_EXACT, ""),)),
    (42, ((_TREE, ""),)),
    (8, ((_BELOW, ""),)),
    (4, ((_TREE, ""), (_ALLOW, "ok."))),
    (2, ((_TREE, ""), (_ALLOW, "ok."), (_EXACT, "www."), (_TREE, "cdn."))),
    (1, ((_TREE, ""), (Kind(Scope.EXACT, allow=True), "ok.my."))),
    (1, ((_TREE, ""), (_ALLOW, "ok."), (_AGAIN, "bad.ok."))),
)


def rules(count: int, seed: int) -> Iterator[tuple[str, Kind]]:
    """``count`` rules of every kind: names alone, trees, what is below a name, and trees with exceptions in them."""
    draw = random.Random(seed)
    weights = [weight for weight, _ in _SHAPES]
    left = count
    for name in corpus.names(count, seed):
        (_, shape), *_ = draw.choices(_SHAPES, weights)
        for kind, front in shape[:left]:
            yield front + name, kind
        left -= min(left, len(shape))
        if not left:
            return


def networks(count: int, seed: int) -> Iterator[Special]:
    """``count`` rules about addresses, in order, as lists of addresses have them: one in a hundred is an exception."""
    draw = random.Random(seed)
    for number in sorted(draw.sample(range(1 << 32), count)):
        yield Special(0, On.ADDRESS, f"{ip_address(number)}/32", Kind(Scope.EXACT, draw.random() < 0.01))


def compiled(stated: Iterable[tuple[str, Kind]], special: Iterable[Special] = ()) -> Compiled:
    """A list as a build leaves it in memory."""
    parsed = Parsed()
    for name, kind in stated:
        parsed.add(Rule(name, kind))
    blocklist = Blocklist()
    blocklist.merge(keys_of(parsed))
    told = tuple((rule, "bench") for rule in special)
    made = Compiled(ListPlan("bench", "A made-up list"), resolve(blocklist.masks), (), frozenset(), (), told)
    assert made.version  # which a build works out once
    return made


class Run(NamedTuple):
    """Seconds of the processor that exports took, seconds of the clock, and their octets."""

    cpu: float
    seconds: float
    size: int


def write(made: Compiled, formats: Iterable[Format]) -> Run:
    """Export ``made`` in all ``formats``."""
    with tempfile.TemporaryDirectory(prefix="sinkhole-bench-") as directory:
        began, cpu = time.perf_counter(), time.process_time()
        written = publish(Path(directory), [made], formats)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        return Run(cpu, seconds, sum(file.bytes for file in written))


def measure(count: int, runs: int, seed: int) -> dict[str, Any]:
    """Every format alone, and all that state names together; the report as ``--json`` writes it."""
    names = compiled(rules(count, seed))
    report: dict[str, Any] = {"rules": count, "formats": {}}
    for name, format in FORMATS.items():
        made = names if format.lines else compiled((), networks(count, seed))
        run = min(write(made, [format]) for _ in range(runs))
        report["formats"][name] = {**_figures(run), "rules-a-second": round(count / run.cpu)}
    report["all"] = _figures(min(write(names, FORMATS.values()) for _ in range(runs)))
    return report


def _figures(run: Run) -> dict[str, float]:
    return {"seconds": round(run.seconds, 3), "cpu-seconds": round(run.cpu, 3), "bytes": run.size}


def show(report: dict[str, Any]) -> None:
    """The report as a table in Markdown."""
    print(f"{report['rules']:,} rules\n\n| format | rules/s | CPU | seconds | file |\n|---|---:|---:|---:|---:|")
    for name, found in report["formats"].items():
        print(f"| {name} | {found['rules-a-second']:,} | {_row(found)} |")
    print(f"| **all at once** | | {_row(report['all'])} |")
    slow = [name for name, found in report["formats"].items() if found["rules-a-second"] < LIMIT]
    print(f"\n{f'under {LIMIT:,} rules a second: ' + ', '.join(slow) if slow else 'all limits kept'}")


def _row(found: dict[str, float]) -> str:
    return f"{found['cpu-seconds']:.2f} | {found['seconds']:.2f} | {found['bytes'] / 1e6:.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how fast a list becomes a file in each format.")
    parser.add_argument("--rules", type=int, default=RULES, help=f"rules in the made-up list (default: {RULES})")
    parser.add_argument(
        "--runs", type=int, default=3, help="runs of each format, of which the fastest counts (default: 3)"
    )
    parser.add_argument("--seed", type=int, default=corpus.SEED)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here too")
    arguments = parser.parse_args()
    report = measure(arguments.rules, arguments.runs, arguments.seed)
    show(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

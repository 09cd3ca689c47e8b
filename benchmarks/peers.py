"""A build beside other ways to merge lists: ``python -m benchmarks.peers [--lists DIR] [--hblock PATH]``.

``sort -u`` of the text is the least that anybody has to do; hBlock (https://github.com/hectorm/hblock) is a shell
script that makes a hosts file of hosts lists and leaves out lines of any other syntax; with ``--hosts`` all lists are
made hosts lists before, so that it takes every name too. All take turns, run by run, and the table has medians.
Memory is what the program and all its children have at one moment, shared pages counted once (PSS), looked at every
few milliseconds. Without lists of yours there are made-up ones, in the syntax of each of :data:`MADE`, that share
some names. The build is the whole command, without exports: from nothing, after one list has changed (one name of a
hundred is another), and again after nothing has.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks import corpus
from benchmarks.build import known
from benchmarks.running import configure, machine, watch
from sinkhole.exports.convert import convert
from sinkhole.feeds.body import read_file
from sinkhole.formats import FORMATS

#: Names and syntax of the made-up lists.
MADE = {"hosts": 200_000, "adblock": 200_000, "domains": 150_000, "dnsmasq": 100_000, "unbound": 100_000}


class Run(NamedTuple):
    """Seconds by the clock, processor seconds, and the most octets."""

    seconds: float
    processor: float
    peak: int


def run(command: Sequence[str | Path], **environment: str) -> Run:
    """One run of a program with what it starts. Modules are compiled once, as they are where it is installed."""
    environment = {**os.environ, **environment}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = os.times()
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    peak = watch(process)
    seconds = time.monotonic() - began
    if process.returncode:
        sys.exit(f"{command[0]} failed")
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Run(seconds, used, peak)


def lists(directory: Path, given: Path, derive: bool, hosts: bool = False) -> list[Path]:
    """Copies of the lists in ``given`` below ``directory``, and of each a derived one; all as ``hosts`` lists or as
    they are."""
    directory.mkdir()
    found = []
    for path in sorted(given.iterdir()):
        if known(path):
            text = read_file(path).data
            texts = {path.name: text, f"derived-{path.name}": corpus.derive(text)} if derive else {path.name: text}
            for name, content in texts.items():
                found.append(directory / name.removesuffix(".gz"))
                pieces = convert(content, None, FORMATS["hosts"], name).pieces if hosts else [content]
                found[-1].write_bytes(b"".join(pieces))
    return found


def make(directory: Path) -> Path:
    """Made-up lists below ``directory``: a list begins within the one before it, so names are on several."""
    directory.mkdir()
    drawn = corpus.names(sum(MADE.values()))
    before: list[str] = []
    for form, count in MADE.items():
        again = before[-count // 3 :]
        before = [*again, *islice(drawn, count - len(again))]
        corpus.write(directory / form, before, form)
    return directory


def versions(hblock: Path | None) -> list[str]:
    """The first line that each program prints of itself."""
    programs = ["sort", *([f"sh {hblock}"] if hblock else [])]
    said = [
        subprocess.run([*program.split(), "--version"], capture_output=True, text=True, check=False).stdout
        for program in programs
    ]
    return [text.partition("\n")[0] for text in said]


def change(path: Path, count: int) -> None:
    """Another name in every hundredth line, each time in others."""
    lines = path.read_bytes().split(b"\n")
    lines[count::100] = [corpus.rotated(line) for line in lines[count::100]]
    path.write_bytes(b"\n".join(lines))


def measure(directory: Path, sources: list[Path], runs: int, hblock: Path | None) -> dict[str, list[Run]]:
    """The runs of everything, by name."""
    config = configure(directory, sources)
    urls = directory / "urls"
    urls.write_text("".join(f"file://{path}\n" for path in sources))
    ours = (sys.executable, "-m", "sinkhole", "build", "-q", "--no-exports", "-c", config)
    middle = sorted(sources, key=lambda path: path.stat().st_size)[len(sources) // 2]
    found: dict[str, list[Run]] = {}
    for count in range(runs):
        if hblock:
            command: Sequence[str | Path] = ("sh", hblock, "-q", "-S", urls, "-O", directory / "hosts")
            found.setdefault("hBlock", []).append(run(command, TMPDIR=str(directory)))
        command = ("sort", "-u", "-o", directory / "sorted", *sources)
        found.setdefault("sort -u", []).append(run(command, LC_ALL="C", TMPDIR=str(directory)))
        shutil.rmtree(directory / "state", ignore_errors=True)
        found.setdefault("build from nothing", []).append(run(ours))
        change(middle, count)
        found.setdefault("one list changed", []).append(run(ours))
        found.setdefault("nothing changed", []).append(run(ours))
    return found


def show(found: dict[str, list[Run]]) -> None:
    """The medians as a table in Markdown."""
    least = median(each.seconds for each in found["sort -u"])
    print("| | seconds | of sort -u | processor | peak | runs |\n|---|---:|---:|---:|---:|---|")
    for name, runs in found.items():
        seconds, used, peak = (median(values) for values in zip(*runs, strict=True))
        every = " ".join(f"{each.seconds:.1f}" for each in runs)
        print(f"| {name} | {seconds:.2f} | {seconds / least:.1f} | {used:.2f} | {peak / 1e6:.0f} MB | {every} |")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a build beside sort -u and hBlock.")
    parser.add_argument("--lists", type=Path, metavar="DIR", help="all files in this directory")
    parser.add_argument("--derive", action="store_true", help="derive another list from each")
    parser.add_argument("--hosts", action="store_true", help="make hosts lists of all")
    parser.add_argument("--hblock", type=Path, metavar="PATH", help="the script, to run it too")
    parser.add_argument("--runs", type=int, default=3, help="runs of each (default: 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sinkhole-bench-") as temporary:
        directory = Path(temporary)
        given = arguments.lists or make(directory / "made")
        sources = lists(directory / "lists", given, arguments.derive, arguments.hosts)
        texts = [path.read_bytes() for path in sources]
        count = sum(text.count(b"\n") for text in texts)
        print(f"{len(sources)} lists, {count:,} lines, {sum(map(len, texts)) / 1e6:.1f} MB")
        print(f"{', '.join(versions(arguments.hblock))}\n")
        found = measure(directory, sources, arguments.runs, arguments.hblock)
    show(found)
    if arguments.json:
        report: dict[str, Any] = {"machine": machine(), "versions": versions(arguments.hblock)}
        report["runs"] = {name: [each._asdict() for each in runs] for name, runs in found.items()}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

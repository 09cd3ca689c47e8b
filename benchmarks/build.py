"""Time and memory of a build, and of a worker on what was built: ``python -m benchmarks.build``.

The build is ``sinkhole build`` in a process of its own, without exports and with them, each from nothing. A stage lasts
until the next one begins, and its peak is the most that was resident in it (VmHWM). Processes that read lists beside it
are in the most that all had at one moment (PSS). The worker is started as the
supervisor does it; a query waits in its socket when it starts, so the time to the answer is what a client would see.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import corpus
from benchmarks.running import client, configure, machine, memory, query, watch
from sinkhole import bundle
from sinkhole.config import Endpoint
from sinkhole.errors import SinkholeError
from sinkhole.feeds.body import read_file
from sinkhole.feeds.sniff import decode
from sinkhole.formats import detect
from sinkhole.names import unkey
from sinkhole.service.settings import Settings
from sinkhole.service.sockets import listen

#: The limits that the project sets itself: octets of the build, octets of a worker, seconds to a worker's first answer.
LIMITS = {"build-bytes": 300e6, "worker-bytes": 60e6, "answer-seconds": 0.5}
#: Names that a worker is asked for before it is weighed again: more than it keeps prepared answers for.
ASKED = 50_000
#: Runs ``sinkhole build``, saying at its end when each stage began and how much memory there was at most in it.
_CHILD = """
import json, re, sys, time
began = time.monotonic()
from sinkhole.cli import main, progress

def peak():
    size = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
    open("/proc/self/clear_refs", "w").write("5")  # proc(5): the peak starts again
    return size

stages = [["start", began, 0]]
show = progress.Bars.update

def update(bars, what, done, total):
    what = what if what in ("compile", "bundle", "exports") else "read"
    if what != stages[-1][0]:
        stages[-1][2] = peak()
        stages.append([what, time.monotonic(), 0])
    show(bars, what, done, total)

progress.Bars.update = update
try:
    main()
finally:
    stages[-1][2] = peak()
    json.dump([*stages, ["end", time.monotonic(), 0]], sys.stderr)
"""


def build(config: Path, exports: bool) -> dict[str, Any]:
    """One build from nothing: seconds and peak octets, as a whole and by stage."""
    shutil.rmtree(config.parent / "state", ignore_errors=True)
    arguments = ["build", "-c", str(config), *([] if exports else ["--no-exports"])]
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen([sys.executable, "-c", _CHILD, *arguments], stdout=subprocess.DEVNULL, stderr=said)
        all_bytes = watch(process)
        seconds = time.monotonic() - began
        said.seek(0)
        text = said.read()
    if process.returncode:
        sys.exit(f"sinkhole build failed:\n{text}")
    stages = json.loads(text.splitlines()[-1])
    return {
        "seconds": round(seconds, 2),
        "peak-bytes": max(peak for _, _, peak in stages),
        "all-peak-bytes": all_bytes,
        "stages": {
            what: {"seconds": round(after - at, 2), "peak-bytes": peak}
            for (what, at, peak), (_, after, _) in pairwise(stages)
        },
    }


def worker(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """One worker on a bundle: seconds to the answer for a blocked name, and octets in memory then and after more."""
    (listening,) = listen([Endpoint("127.0.0.1", 0)], 1)
    port = listening.endpoints[0].port
    udp, tcp = (str(sock.fileno()) for sock in (listening.udp[0], listening.tcp[0]))
    settings = Settings(str(path), (("udp", "127.0.0.1", 9),), 1.0, "null-ip", 60)
    ours, theirs = socket.socketpair()
    with ours, theirs, listening.udp[0], listening.tcp[0], client(port, 30.0) as asker:
        asker.send(query(names[0]))
        ours.send(settings.line())
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "sinkhole.service.worker", str(theirs.fileno()), udp, tcp],
            pass_fds=[theirs.fileno(), int(udp), int(tcp)],
        )
        try:
            answer = asker.recv(4096)
            seconds = time.monotonic() - began
            if not answer.endswith(bytes(4)):
                sys.exit(f"{names[0]} is not blocked: {answer.hex()}")
            own, _ = memory(process.pid, path)
            for name in names[:ASKED]:
                asker.send(query(name))
                asker.recv(4096)
            later, mapped = memory(process.pid, path)
        finally:
            process.terminate()
            process.wait()
    return {
        "first-answer-seconds": round(seconds, 3),
        "own-bytes": own,
        "own-bytes-later": later,
        "mapped-bytes": mapped,
    }


def listed(path: Path, count: int, seed: int) -> list[str]:
    """A few names that the bundle at ``path`` blocks, at random but always the same."""
    opened = bundle.load(path)
    number = opened.lists.index("bench")
    found = [key for key, attribute in opened.items() if any(at == number and code & 1 for at, code in attribute)]
    draw = random.Random(seed)
    return [unkey(key).decode() for key in draw.sample(found, min(count, len(found)))]


def known(path: Path) -> bool:
    """Whether a file is a list in a format that we read."""
    try:
        detect(decode(read_file(path).data))
    except SinkholeError as error:
        print(f"left out: {path.name}: {error}", file=sys.stderr)
        return False
    return True


def measure(directory: Path, sources: list[Path], runs: int, seed: int) -> dict[str, Any]:
    """Build and serve ``sources``; the report as ``--json`` writes it. Of several builds the median one counts."""
    config = configure(directory, sources)
    builds = {
        exports: sorted((build(config, exports) for _ in range(runs)), key=lambda run: float(run["seconds"]))[runs // 2]
        for exports in (True, False)
    }
    path = bundle.current(directory / "state" / "bundles")
    assert path
    manifest = json.loads((path / "manifest.json").read_bytes())
    (entry,) = (entry for entry in manifest["lists"] if entry["id"] == "bench")
    names = listed(path, ASKED, seed)
    workers = [worker(path, names) for _ in range(max(runs, 3))]
    return {
        "machine": machine(),
        "lines": sum(source["lines"] for source in entry["sources"]),
        "entries": entry["entries"],
        "bundle-bytes": sum(file.stat().st_size for file in path.iterdir() if file.is_file()),
        "build": builds[False],
        "build-with-exports": builds[True],
        "worker": {key: median(run[key] for run in workers) for key in workers[0]},
    }


def show(report: dict[str, Any]) -> None:
    """The report as tables in Markdown."""
    print(
        f"{report['lines']:,} lines, {report['entries']:,} entries, a bundle of {_megabytes(report['bundle-bytes'])}\n"
    )
    print("| build | seconds | peak of the first process (RSS) | of all at once (PSS) |\n|---|---:|---:|---:|")
    for label, run in (("without exports", report["build"]), ("with exports", report["build-with-exports"])):
        peaks = " | ".join(f"**{_megabytes(run[what])}**" for what in ("peak-bytes", "all-peak-bytes"))
        print(f"| **{label}** | **{run['seconds']}** | {peaks} |")
        for stage, found in run["stages"].items():
            print(f"| … {stage} | {found['seconds']} | {_megabytes(found['peak-bytes'])} | |")
    found = report["worker"]
    rows = {
        "first answer after its start": f"{found['first-answer-seconds']} s",
        "own memory then": _megabytes(found["own-bytes"]),
        f"own memory after {ASKED:,} blocked names": _megabytes(found["own-bytes-later"]),
        "mapped bundle": _megabytes(found["mapped-bytes"]),
    }
    print("\n| a worker | |\n|---|---:|")
    print("\n".join(f"| {label} | {value} |" for label, value in rows.items()))
    figures = {
        "build-bytes": report["build"]["peak-bytes"],
        "worker-bytes": found["own-bytes-later"],
        "answer-seconds": found["first-answer-seconds"],
    }
    missed = [name for name, limit in LIMITS.items() if figures[name] >= limit]
    print(f"\n{'over its limit: ' + ', '.join(missed) if missed else 'all limits kept'}")


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a build, and a worker that serves it.")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--names", type=int, default=corpus.COUNT, help=f"made-up trees (default: {corpus.COUNT})")
    source.add_argument("--lists", type=Path, metavar="DIR", help="all files in this directory as one list instead")
    parser.add_argument("--runs", type=int, default=1, help="builds of each kind (default: 1)")
    parser.add_argument("--seed", type=int, default=corpus.SEED)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sinkhole-bench-") as temporary:
        directory = Path(temporary)
        sources = [directory / "list.txt"]
        if arguments.lists:
            sources = [path.resolve() for path in sorted(arguments.lists.iterdir()) if known(path)]
        else:
            corpus.write(sources[0], corpus.names(arguments.names, arguments.seed), "adblock")
        report = measure(directory, sources, arguments.runs, arguments.seed)
    show(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Answers while the list changes under load: ``python -m benchmarks.reload``.

Two bundles of a million names differ in a thousand. A server with one worker is asked at half of the rate that dnsperf
gets out of it, while the bundle in use is swapped a hundred times, as a build does. Every answer has to be right for
the old list or for the new one, and none may be lost. The same time without any swap comes first, because on a busy
machine much of the worst delay is the machine's; as root, ``--realtime`` puts server and load before everything else
that runs. With ``--reloads-by command`` each swap is a whole ``sinkhole reload``, with its build on the server's core.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import corpus, dnsperf, load
from benchmarks.running import configure, query, upstream, wait_blocked
from sinkhole import bundle
from sinkhole.exports.verify.running import free_port
from sinkhole.files import swap_link
from sinkhole.service import control

NAMES, RELOADS, SEED = 1_000_000, 100, 7
#: Names that only one of the two lists has, each; seconds between the end of one reload and the next.
ONLY, PAUSE = 500, 0.2
_SINKHOLE = (sys.executable, "-m", "sinkhole")


def asked(common: Sequence[str], changing: Sequence[str], count: int = 100_000) -> list[load.Asked]:
    """Of ten queries eight for names on both lists, one for a name on one of them, one for a name on none."""
    draw = random.Random(SEED)
    blocked, free = frozenset({load.BLOCKED}), frozenset({load.FORWARDED})
    mixed = []
    for number in range(count):
        name, allowed = (
            (f"free{draw.randrange(500)}.example", free)
            if number % 10 == 0
            else (draw.choice(changing), blocked | free)
            if number % 10 == 5
            else (draw.choice(common), blocked)
        )
        mixed.append(load.Asked(query(name)[2:], allowed))
    return mixed


def two_bundles(config: Path, listed: Path, names: Sequence[str]) -> list[str]:
    """Build both; the second one is in use then."""
    built = []
    for only in (names[-2 * ONLY : -ONLY], names[-ONLY:]):
        corpus.write(listed, [*names[: -2 * ONLY], *only], "adblock")
        command = [*_SINKHOLE, "build", "-c", str(config), "--no-exports", "--json"]
        done = subprocess.run(command, check=True, capture_output=True)
        built.append(json.loads(done.stdout)["bundle"])
    return built


def swap(state: Path, names: Sequence[str], count: int, pipe: Any) -> None:
    """Put one bundle after the other in use, and wait each time until every worker has it."""
    for number in range(count):
        name = names[number % 2]
        began = time.monotonic()
        swap_link(state / "bundles" / bundle.CURRENT, name)
        while any(worker.get("bundle") != name for worker in control.ask(state, "status", 60)["workers"]):
            time.sleep(0.02)
        pipe.send(time.monotonic() - began)
        time.sleep(PAUSE)
    pipe.send(None)


def command(config: Path, listed: Path, names: Sequence[str], count: int, pipe: Any) -> None:
    """The same by ``sinkhole reload``, with one list file after the other."""
    texts: list[Path] = []
    for only in (names[-2 * ONLY : -ONLY], names[-ONLY:]):
        texts.append(listed.with_suffix(f".{len(texts)}"))
        corpus.write(texts[-1], [*names[: -2 * ONLY], *only], "adblock")
    for number in range(count):
        began = time.monotonic()
        listed.write_bytes(texts[number % 2].read_bytes())
        subprocess.run([*_SINKHOLE, "reload", "-c", str(config)], check=True, capture_output=True)
        pipe.send(time.monotonic() - began)
        time.sleep(PAUSE)
    pipe.send(None)


def measure(names: int, reloads: int, by: str, rate: float | None, realtime: bool) -> dict[str, Any]:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("two cores are needed: one for the server, one for the load")
    os.sched_setaffinity(0, {cores[1]})
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sinkhole-bench-")))
        forward = stack.enter_context(upstream())
        found = list(corpus.names(names))
        listed, port = directory / "list.txt", free_port()
        corpus.write(listed, found, "adblock")
        config = configure(directory, [listed], port, forward)
        bundles = two_bundles(config, listed, found)
        log = stack.enter_context((directory / "log").open("wb"))
        first = ["chrt", "--rr", "1"] if realtime else []
        process = subprocess.Popen(
            [*first, "taskset", "-c", str(cores[0]), *_SINKHOLE, "serve", "-c", str(config)], stdout=log, stderr=log
        )
        if realtime:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        stack.callback(process.wait, 20)
        stack.callback(process.terminate)
        try:
            wait_blocked(port, 60, found[-1])
        except TimeoutError as error:
            sys.exit(f"{error}\n{(directory / 'log').read_text()[-2000:]}")
        queries = dnsperf.write(directory / "queries", random.Random(SEED).sample(found, min(names, 200_000)))
        most = dnsperf.run(port, queries, 5.0).rate
        rate = rate or most / 2
        mixed = asked(found[: -2 * ONLY], found[-2 * ONLY :])
        load.run(port, mixed, rate, lambda now: now < 2)  # the upstream's answers are remembered from here on

        ours, theirs = multiprocessing.Pipe()
        how: dict[str, tuple[Callable[..., None], tuple[Any, ...]]] = {
            "link": (swap, (directory / "state", bundles, reloads, theirs)),
            "command": (command, (config, listed, found, reloads, theirs)),
        }
        target, arguments = how[by]
        took: list[float] = []

        def going(now: float) -> bool:
            while ours.poll():
                if (seconds := ours.recv()) is None:
                    return False
                took.append(seconds)
            return changing.is_alive()

        quiet = load.run(port, mixed, rate, lambda now: now < 20)
        changing = multiprocessing.get_context("fork").Process(target=target, args=arguments)
        changing.start()
        during = load.run(port, mixed, rate, going)
        changing.join()
        return {
            "names": names,
            "reloads": len(took),
            "by": by,
            "realtime": realtime,
            "max-rate": round(most),
            "rate": round(rate),
            "reload-seconds": {
                "mean": round(sum(took) / max(len(took), 1), 2),
                "worst": round(max(took, default=0), 2),
            },
            "without": quiet.data(),
            "during": during.data(),
            "log-lines": len((directory / "log").read_text().splitlines()),
        }


def show(report: dict[str, Any]) -> None:
    print(
        f"{report['reloads']} reloads by {report['by']} of {report['names']:,} names, at {report['rate']:,} of at most "
        f"{report['max-rate']:,} queries/s; a reload takes {report['reload-seconds']['mean']} s, at most "
        f"{report['reload-seconds']['worst']} s\n"
    )
    print(
        "| | queries | lost | wrong | p50 ms | p99 ms | p99.9 ms | worst ms |\n|---|---:|---:|---:|---:|---:|---:|---:|"
    )
    for name in ("without", "during"):
        print(f"| {name} | " + " | ".join(f"{figure:,}" for figure in report[name].values()) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask a server while its list is reloaded again and again.")
    parser.add_argument("--names", type=int, default=NAMES)
    parser.add_argument("--reloads", type=int, default=RELOADS)
    parser.add_argument("--reloads-by", choices=("link", "command"), default="link", dest="by")
    parser.add_argument("--rate", type=float, help="queries a second (default: half of the most it answers)")
    parser.add_argument("--realtime", action="store_true", help="before all else that runs here; needs root")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here too")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    report = measure(arguments.names, arguments.reloads, arguments.by, arguments.rate, arguments.realtime)
    show(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    if report["during"]["lost"] or report["during"]["wrong"] or report["reloads"] != arguments.reloads:
        sys.exit("answers were lost or wrong, or reloads failed")


if __name__ == "__main__":
    main()

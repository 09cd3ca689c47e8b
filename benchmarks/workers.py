"""Two workers on two cores beside one on one: ``python -m benchmarks.workers``.

With three cores the load has one of its own. With two, dnsperf needs the time that the workers leave, so each worker is
held to a share of its core (by a control group; needs root), and what two of them answer with twice that share says
whether they get in each other's way. Both servers are up at the same time and take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import corpus, dnsperf, servers
from benchmarks.answers import NAMES, Queries, upstream
from benchmarks.running import processor
from benchmarks.servers import OURS, Running

#: Of its core, how much a worker gets when the load has no core of its own; microseconds in which it gets that.
SHARE, PERIOD = 0.35, 4000
LOADS = ("random", "again")
#: Client ports, so that the kernel has something to share out among the workers; queries under way.
_CLIENTS = ("-c", "40", "-q", "200")
#: Where control groups are made.
GROUPS = Path("/sys/fs/cgroup")


@contextmanager
def held(name: str, share: float) -> Iterator[Path]:
    """A control group (cgroups(7), of either version) whose processes together get ``share`` of a core.

    Its processes have to have ended before.
    """
    first = (GROUPS / "cpu").is_dir()
    group = GROUPS / "cpu" / name if first else GROUPS / name
    quota = round(PERIOD * share)
    limits = {"cpu.cfs_period_us": PERIOD, "cpu.cfs_quota_us": quota} if first else {"cpu.max": f"{quota} {PERIOD}"}
    with ExitStack() as stack:
        try:
            if not first:
                (GROUPS / "cgroup.subtree_control").write_text("+cpu")
            group.mkdir()
            stack.callback(group.rmdir)
            for file, limit in limits.items():
                (group / file).write_text(str(limit))
        except OSError as error:
            sys.exit(f"three cores are needed, or root and control groups to hold workers back on two: {error}")
        yield group


def measure(count: int, runs: int, seconds: float, seed: int) -> dict[str, Any]:
    """Run everything; the report as ``--json`` writes it."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("two cores are needed")
    own = len(cores) > 2
    if own:
        os.sched_setaffinity(0, {cores[2]})
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sinkhole-bench-")))
        listed = list(corpus.names(count, seed))
        queries = Queries(directory, listed, seconds, seed)
        forward = stack.enter_context(upstream(directory, str(cores[-1])))
        found: dict[int, Running] = {}
        for number in (1, 2):
            place = directory / str(number)
            place.mkdir()
            groups = (
                []
                if own
                else [stack.enter_context(held(f"{place.parent.name}-{number}-{at}", SHARE)) for at in range(number)]
            )
            on = ",".join(map(str, cores[:number]))
            server = stack.enter_context(servers.running(OURS, listed, place, on, forward, workers=number))
            hold(servers.workers(server.process.pid), cores, groups)
            found[number] = server
        figures: dict[str, dict[int, list[tuple[float, float]]]] = {load: {1: [], 2: []} for load in LOADS}
        for load in LOADS:
            for _ in range(runs):
                for number, server in found.items():
                    before = processor(server.process.pid)
                    ran = dnsperf.run(server.port, queries.path(load), seconds, "-e", *_CLIENTS)
                    cost = (processor(server.process.pid) - before) / max(ran.done, 1)
                    figures[load][number].append((ran.rate, 1e6 * cost))
        return {
            "names": count,
            "runs": runs,
            "seconds": seconds,
            "cores": len(cores),
            "share": 1.0 if own else SHARE,
            "loads": {
                load: {
                    str(number): {
                        "rate": round(median(rate for rate, _ in found)),
                        "rates": [round(rate) for rate, _ in found],
                        "cost-microseconds": round(median(cost for _, cost in found), 2),
                    }
                    for number, found in each.items()
                }
                for load, each in figures.items()
            },
        }


def hold(pids: Sequence[int], cores: Sequence[int], groups: Sequence[Path]) -> None:
    """Each worker on a core of its own, and in a group of its own when there are any."""
    for at, pid in enumerate(pids):
        os.sched_setaffinity(pid, {cores[at]})
        if groups:
            (groups[at] / "cgroup.procs").write_text(str(pid))


def show(report: dict[str, Any]) -> None:
    """The report as a table in Markdown."""
    where = "a core of its own" if report["share"] == 1 else "the time that the workers leave"
    print(f"{report['names']:,} trees; each worker has {report['share']:.0%} of a core, the load {where}\n")
    print("| load | one worker/s | two/s | ratio | CPU a query: one | two | runs of one, of two, thousands |")
    print("|---|---:|---:|---:|---:|---:|---|")
    for load, found in report["loads"].items():
        one, two = found["1"], found["2"]
        runs = ", ".join(" ".join(f"{rate / 1000:.1f}" for rate in each["rates"]) for each in (one, two))
        print(
            f"| {load} | {one['rate']:,} | {two['rate']:,} | {two['rate'] / one['rate']:.2f} "
            f"| {one['cost-microseconds']} µs | {two['cost-microseconds']} µs | {runs} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare two workers with one.")
    parser.add_argument("--names", type=int, default=NAMES, help=f"trees on the list (default: {NAMES})")
    parser.add_argument("--runs", type=int, default=5, help="runs of each load (default: 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a run (default: 3)")
    parser.add_argument("--seed", type=int, default=corpus.SEED)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here too")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    report = measure(arguments.names, arguments.runs, arguments.seconds, arguments.seed)
    show(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

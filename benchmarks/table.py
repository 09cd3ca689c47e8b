"""A report of :mod:`benchmarks.answers` as tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.servers import OURS, PEERS

Report = Mapping[str, Any]


def lines(report: Report) -> Iterator[str]:
    """What was compared; who starts how fast, with how much memory; ours beside the best; everything; who is out."""
    where, first = report["machine"], report["upstream"]
    yield f"{report['names']:,} trees, {'with' if report['edns'] else 'without'} EDNS, dnsperf {report['dnsperf']}"
    yield f"{where['processor']}, {where['cores']} cores, Python {where['python']}, {where['system']}"
    yield f"the upstream asked directly: {first['direct-rate']:,}/s ({first['version']})\n"
    yield from _servers(report)
    yield from _best(report)
    yield from _all(report)
    for name, why in report["refused"].items():
        yield f"\nno figures for {name}: {why}"


def _servers(report: Report) -> Iterator[str]:
    yield "| server | version | ready after | memory | after the loads | a blocked name gets |"
    yield "|---|---|---:|---:|---:|---|"
    for name, server in report["servers"].items():
        memories = [f"{server[when]['all-bytes'] / 1e6:.0f} MB" for when in ("memory", "memory-later")]
        yield _row(name, server["version"], f"{server['ready-seconds']:.2f} s", *memories, server["blocked"])
    later = report["servers"][OURS]["memory-later"]
    own, mapped = (later[f"worker-{what}-bytes"] / 1e6 for what in ("own", "mapped"))
    yield f"\na worker of {OURS} after the loads: {own:.0f} MB of its own, {mapped:.0f} MB of the bundle"
    for name, server in report["servers"].items():
        if "unlogged" in server:
            yield f"{name}: {server['queries']:,} queries; lines of the log that were lost: {server['unlogged']:,}"
    yield ""


def _best(report: Report) -> Iterator[str]:
    """Ours beside the best of the peers in each respect, which may be another one each time."""
    yield "| load | sinkhole/s | best peer/s | | ratio | CPU a query | least | p99 at half of own most | least |"
    yield "|---|---:|---:|---|---:|---:|---:|---:|---:|"
    for load, ours in report["servers"][OURS]["loads"].items():
        peers = {name: found for name, found in _of(report, load) if name in PEERS}
        if not peers:
            continue
        best = max(peers, key=lambda name: peers[name]["rate"])
        most, least = peers[best]["rate"], min(found["cost-microseconds"] for found in peers.values())
        halves = [
            [found["half"]["p99-microseconds"] for found in some if "half" in found]
            for some in ([ours], peers.values())
        ]
        times = [f"{min(each)} µs" if each else "" for each in halves]
        costs = (f"{cost} µs" for cost in (ours["cost-microseconds"], least))
        ratio = f"{ours['rate'] / most:.2f}"
        yield _row(report["titles"][load], f"{ours['rate']:,}", f"{most:,}", best, ratio, *costs, *times)


def _all(report: Report) -> Iterator[str]:
    common = f"half: p50 | p99 | {report['common-rate']:,}/s: p50 | p99"
    yield f"\n| load | server | queries/s | ours by it | runs, thousands | CPU a query | lost | {common} |"
    yield "|---|---|---:|---:|---|---:|---:|---:|---:|---:|---:|"
    for load, ours in report["servers"][OURS]["loads"].items():
        for name, found in _of(report, load):
            runs = " ".join(f"{rate / 1000:.1f}" for rate in found["rates"])
            rates = (f"{found['rate']:,}", f"{ours['rate'] / found['rate']:.2f}", runs)
            times = [
                f"{found[at][f'{part}-microseconds']} µs" if at in found else ""
                for at in ("half", "common")
                for part in ("p50", "p99")
            ]
            yield _row(load, name, *rates, f"{found['cost-microseconds']} µs", str(found["lost"]), *times)


def _of(report: Report, load: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The servers that took a load, and what was measured."""
    return ((name, server["loads"][load]) for name, server in report["servers"].items() if load in server["loads"])


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"

"""The picture says what the report says, and is the same for the same report."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from benchmarks import picture, table

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


def load(rate: int, **delays: int) -> dict[str, Any]:
    half = {f"{part}-microseconds": value for part, value in delays.items()}
    return {"rate": rate, "rates": [rate], "cost-microseconds": 5.0, "lost": 0} | ({"half": half} if half else {})


def server(version: str, ready: float, memory: int, **loads: dict[str, Any]) -> dict[str, Any]:
    weight = {"all-bytes": memory, "worker-own-bytes": 1, "worker-mapped-bytes": 2}
    found = {"version": version, "ready-seconds": ready, "blocked": "NXDOMAIN", "loads": loads}
    return {**found, "memory": weight, "memory-later": weight}


REPORT: dict[str, Any] = {
    "machine": {"processor": "A <B> & C", "cores": 2, "python": "3.11.7", "system": "Linux"},
    "dnsperf": "2.10.0",
    "names": 800_000,
    "runs": 3,
    "edns": True,
    "common-rate": 5000,
    "titles": {"random": "another blocked name each time", "dot": "the same 500 blocked names over TLS"},
    "upstream": {"version": "unbound 1.17.1", "direct-rate": 90_000},
    "refused": {"named": "names of the list get ['NOERROR', 'NXDOMAIN']"},
    "servers": {
        "sinkhole": server("0.1.0", 0.25, 90_000_000, random=load(120_000, p50=50, p99=400), dot=load(30_000)),
        "sinkhole-bare": server("0.1.0", 0.25, 90_000_000, random=load(999_999, p50=1, p99=1)),
        "dnsmasq": server("2.90", 1.5, 60_000_000, random=load(60_000, p50=60, p99=300)),
        "unbound": server("1.17.1", 2.5, 360_000_000, random=load(80_000, p50=60, p99=500), dot=load(20_000)),
    },
}


def test_the_same_report_is_the_same_picture(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text(json.dumps(REPORT))
    run = [sys.executable, "-m", "benchmarks.picture", str(report), "-o"]
    for name in ("one.svg", "two.svg"):
        subprocess.run([*run, str(tmp_path / name)], cwd=ROOT, check=True)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert (tmp_path / "one.svg").read_text() == picture.draw(REPORT)


def test_panels_have_the_best_on_top_and_only_who_was_measured() -> None:
    rates, tls, ready, memory = picture.panels(REPORT)
    assert rates.title == "another blocked name each time: queries/s"
    assert rates.bars == [
        ("sinkhole", 120_000, "120,000"),
        ("unbound", 80_000, "80,000"),
        ("dnsmasq", 60_000, "60,000"),
    ]
    assert [name for name, _, _ in tls.bars] == ["sinkhole", "unbound"]
    assert [text for _, _, text in ready.bars] == ["0.25 s", "1.50 s", "2.50 s"]
    assert [text for _, _, text in memory.bars] == ["60 MB", "90 MB", "360 MB"]


def test_a_bar_is_as_long_as_its_figure() -> None:
    bars = [bar for bar in ElementTree.fromstring(picture.draw(REPORT)).iter(f"{SVG}rect") if bar.get("x")]
    assert [int(bar.get("width", "0")) for bar in bars[:3]] == [270, 180, 135]
    assert [bar.get("class") for bar in bars[:3]] == ["ours", "peer", "peer"]


def test_nothing_leaves_the_picture_and_it_needs_nothing_from_elsewhere() -> None:
    text = picture.draw(REPORT)
    root = ElementTree.fromstring(text)
    width, height = int(root.get("width", "0")), int(root.get("height", "0"))
    for shape in root.iter(f"{SVG}rect"):
        assert int(shape.get("x", "0")) + int(shape.get("width", "0")) <= width
        assert int(shape.get("y", "0")) + int(shape.get("height", "0")) <= height
    assert text.count("http") == 1
    assert any("A <B> & C" in (line.text or "") for line in root.iter(f"{SVG}text"))


def test_the_table_compares_ours_with_the_best_peer() -> None:
    out = "\n".join(table.lines(REPORT))
    assert (
        "| another blocked name each time | 120,000 | 80,000 | unbound | 1.50 | 5.0 µs | 5.0 µs | 400 µs | 300 µs |"
        in out
    )
    assert "| the same 500 blocked names over TLS | 30,000 | 20,000 | unbound | 1.50 | 5.0 µs | 5.0 µs |  |  |" in out
    assert "| random | dnsmasq | 60,000 | 2.00 | 60.0 | 5.0 µs | 0 | 60 µs | 300 µs |  |  |" in out
    assert "no figures for named: names of the list get" in out

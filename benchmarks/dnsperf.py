"""dnsperf, run and read: queries a second, what was lost, which RCODEs came, and how long answers took."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

#: Seconds beyond its own time that a run may take; queries that may wait for their answers when latency is measured.
SLACK, WAITING = 30.0, 1000
_CODES = re.compile(r"(\w+) (\d+) \([\d.]+%\)")
_TIME = re.compile(r"^> [A-Z]\w+ \S+ \S+ ([\d.]+)$", re.M)


class Ran(NamedTuple):
    """``rate`` in queries a second, ``codes`` the number of answers by RCODE."""

    rate: float
    done: int
    lost: int
    codes: dict[str, int]

    def other_than(self, rcode: str) -> float:
        """The share of answers with another RCODE."""
        return 1 - self.codes.get(rcode, 0) / self.done if self.done else 1.0


def run(port: int, queries: Path, seconds: float, *options: str) -> Ran:
    """As many queries a second as are answered, a hundred under way; the file again and again for ``seconds``."""
    return read(_run(port, queries, seconds, *options))


def delays(port: int, queries: Path, seconds: float, rate: float, *options: str) -> tuple[float, float]:
    """Median and 99th percentile in microseconds, at ``rate`` queries a second."""
    return middle_and_worst(_run(port, queries, seconds, "-v", "-Q", f"{rate:.0f}", "-q", str(WAITING), *options))


def read(text: str) -> Ran:
    """What dnsperf says at its end."""
    codes = {code: int(count) for code, count in _CODES.findall(_said("Response codes", r".*", text))}
    rate, done, lost = (
        float(_said(f"Queries {what}", r"[\d.]+", text)) for what in ("per second", "completed", "lost")
    )
    return Ran(rate, int(done), int(lost), codes)


def middle_and_worst(text: str) -> tuple[float, float]:
    """Median and 99th percentile in microseconds of what dnsperf says of each answer."""
    parts = quantiles((float(found) * 1e6 for found in _TIME.findall(text)), n=100, method="inclusive")
    return parts[49], parts[98]


def version() -> str:
    done = subprocess.run(["dnsperf", "-h"], capture_output=True, text=True, check=False)
    return "".join(re.findall(r"Version ([\d.]+)", done.stdout + done.stderr)[:1])


def write(path: Path, names: Iterable[str]) -> Path:
    """A file of queries for the addresses of ``names``."""
    with path.open("w", encoding="ascii") as file:
        file.writelines(f"{name} A\n" for name in names)
    return path


def _run(port: int, queries: Path, seconds: float, *options: str) -> str:
    command: Sequence[str] = ("dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", str(queries), "-l", str(seconds))
    with tempfile.TemporaryFile("w+") as file:  # a pipe would have its reader compete with dnsperf
        subprocess.run([*command, *options], stdout=file, stderr=file, check=False, timeout=seconds + SLACK)
        file.seek(0)
        return file.read()


def _said(what: str, pattern: str, text: str) -> str:
    match = re.search(rf"\b{what}: +({pattern})", text)
    if not match:
        raise ValueError(f"dnsperf did not say {what!r}:\n{text[-2000:]}")
    return match[1]

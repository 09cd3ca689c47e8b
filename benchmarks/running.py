"""What both benchmarks need around a server: a configuration, one query by hand, and how much memory a process has."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sinkhole.names import to_wire

CONFIG = """\
state-dir: {directory}/state
workers: 1
listen: {{dns: ["127.0.0.1:{port}"], web: [{web}]}}
upstream: {{servers: ["127.0.0.1:{upstream}"]}}
local: {{forward: [test]}}
lists:
  bench: {{sources: [{sources}]}}
policy:
  - {{groups: [all], directives: [kr-mofa-2025-02-05], lists: [deepseek, bench]}}
exports: {{dir: {directory}/exports, lists: [bench], formats: all}}
"""
_SHARE = re.compile(r"^(Rss|Pss): +(\d+) kB", re.M)
_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ .*?(/.*)?$")


def configure(directory: Path, sources: list[Path], port: int = 5353, upstream: int = 53, web: int = 0) -> Path:
    """A configuration that blocks ``sources`` for everyone, beside what the catalogue blocks by default; with a port
    for the web, also over HTTP."""
    path = directory / "sinkhole.yaml"
    quoted = ", ".join(f'"{source}"' for source in sources)
    at = f'"127.0.0.1:{web}"' if web else ""
    path.write_text(CONFIG.format(directory=directory, port=port, upstream=upstream, sources=quoted, web=at))
    return path


def free_port() -> int:
    """A UDP port that nobody has on 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def query(name: str) -> bytes:
    """A query for the address of ``name``, as a stub sends it."""
    return b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + to_wire(name) + b"\x00\x01\x00\x01"


@contextmanager
def client(port: int, timeout: float) -> Iterator[socket.socket]:
    """A socket that talks to one server on 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        sock.settimeout(timeout)
        yield sock


def wait_blocked(port: int, name: str, seconds: float) -> None:
    """Ask for ``name`` until the answer holds the address 0.0.0.0; TimeoutError after ``seconds``."""
    end = time.monotonic() + seconds
    with client(port, 0.2) as sock:
        while time.monotonic() < end:
            try:
                sock.send(query(name))
                if b"\0\4\0\0\0\0" in sock.recv(4096):
                    return
            except OSError:  # nobody listens yet, or nothing came
                pass
            time.sleep(0.02)
    raise TimeoutError(f"{name} not blocked on port {port} within {seconds:.0f} s")


def family(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [pid, *(each for child in children for each in family(int(child)))]


def resident(pid: int) -> int:
    """The octets of a process and all below it, pages that several share counted in parts (PSS)."""
    rollups = (Path(f"/proc/{each}/smaps_rollup").read_text() for each in family(pid))
    return 1024 * sum(int(size) for text in rollups for kind, size in _SHARE.findall(text) if kind == "Pss")


def processor(pid: int) -> float:
    """Seconds of processor time that a process and all below it have used, in the kernel too (proc(5))."""
    stats = (Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split() for each in family(pid))
    return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")


def memory(pid: int, mapped: Path) -> tuple[int, int]:
    """Octets of one process in memory (RSS): (all but the files below ``mapped``, those files)."""
    inside, sizes = False, [0, 0]
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if match := _MAPPING.match(line):
            inside = bool(match[1]) and match[1].startswith(f"{mapped}{os.sep}")
        elif share := _SHARE.match(line):
            sizes[inside] += 1024 * int(share[2]) * (share[1] == "Rss")
    return sizes[0], sizes[1]

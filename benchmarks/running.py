"""What both benchmarks need around a server: a configuration, one query by hand, and how much memory a process has."""

from __future__ import annotations

import os
import platform
import re
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

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
#: Seconds between two looks at the memory of a program.
LOOK = 0.02
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


def wait_blocked(port: int, seconds: float, *names: str, going: Callable[[], bool] = lambda: True) -> float:
    """Ask for ``names`` until all are answered with NXDOMAIN or 0.0.0.0 in one pass; TimeoutError after ``seconds``, or
    when the server is not ``going`` any more.

    The seconds until then, of which the rest of the last pass is no part.
    """
    began = time.monotonic()
    found = 0.0
    with client(port, 0.2) as sock:
        while going() and time.monotonic() < began + seconds:
            for name in names:
                if not _blocks(sock, name):
                    break
                if name is names[0]:
                    found = time.monotonic()
            else:
                return found - began
            time.sleep(0.005)
    raise TimeoutError(f"{', '.join(names[:2])}… not blocked on port {port} after {time.monotonic() - began:.0f} s")


def wait_answered(port: int, seconds: float, going: Callable[[], bool] = lambda: True) -> None:
    """Ask until there is any answer; TimeoutError after ``seconds``, or when the server is not ``going`` any more."""
    end = time.monotonic() + seconds
    with client(port, 0.2) as sock:
        while going() and time.monotonic() < end:
            try:
                sock.send(query("example"))
                sock.recv(4096)
                return
            except OSError:
                time.sleep(0.005)
    raise TimeoutError(f"no answer on port {port}")


def _blocks(sock: socket.socket, name: str) -> bool:
    asked = query(name)
    try:
        sock.send(asked)
        while (answer := sock.recv(4096))[12 : len(asked)] != asked[12:]:
            pass  # late, for another name
    except OSError:  # nobody listens yet, or nothing came
        return False
    return b"\0\4\0\0\0\0" in answer or answer[3] & 15 == 3


@contextmanager
def upstream() -> Iterator[int]:
    """The port of a thread that answers every query for an address with 192.0.2.1."""
    record = b"\xc0\x0c" + struct.pack("!HHIH4B", 1, 1, 86_400, 4, 192, 0, 2, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def answer() -> None:
            while True:
                packet, peer = sock.recvfrom(4096)
                if len(packet) < 12:
                    return
                end = packet.index(0, 12) + 5
                found = packet[end - 4 : end] == b"\0\1\0\1"
                counts = struct.pack("!HHHHH", 0x8180, 1, found, 0, 0)
                sock.sendto(packet[:2] + counts + packet[12:end] + record * found, peer)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            sock.sendto(b"", sock.getsockname())
            thread.join()


def family(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):  # ended just now
        return []
    return [pid, *(each for child in children for each in family(int(child)))]


def resident(pid: int) -> int:
    """The octets of a process and all below it, pages that several share counted in parts (PSS)."""
    size = 0
    for each in family(pid):
        with suppress(FileNotFoundError, ProcessLookupError):  # ended just now
            text = Path(f"/proc/{each}/smaps_rollup").read_text()
            size += 1024 * sum(int(part) for kind, part in _SHARE.findall(text) if kind == "Pss")
    return size


def watch(process: subprocess.Popen[Any]) -> int:
    """Wait for a process; the most octets that it and all below it had at one moment (PSS)."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(LOOK)
    return peak


def processor(pid: int) -> float:
    """Seconds of processor time that a process and all below it have used, those that ended too (proc(5))."""
    ticks = 0
    for each in family(pid):
        with suppress(FileNotFoundError):  # ended just now; its parent has them soon
            ticks += sum(map(int, Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def machine() -> dict[str, Any]:
    """Where the figures are made, for who reads them elsewhere."""
    models = [
        line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "processor": (models or [platform.machine()])[0],
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def memory(pid: int, mapped: Path) -> tuple[int, int]:
    """Octets of one process in memory (RSS): (all but the files below ``mapped``, those files)."""
    inside, sizes = False, [0, 0]
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if match := _MAPPING.match(line):
            inside = bool(match[1]) and match[1].startswith(f"{mapped}{os.sep}")
        elif share := _SHARE.match(line):
            sizes[inside] += 1024 * int(share[2]) * (share[1] == "Rss")
    return sizes[0], sizes[1]

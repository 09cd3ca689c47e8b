"""What honest clients feel while others misbehave: ``python -m benchmarks.abuse``.

A server with one worker is asked for blocked and for remembered names, at a steady rate and every answer checked, while
one thing after the other goes wrong. It is asked over HTTP too, at the next port. The server has one core; clients,
attackers and the upstream share another one.
As root, ``--realtime`` puts server and honest clients before everything else that runs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import corpus, load
from benchmarks.running import client, configure, query, resident, wait_blocked
from sinkhole.exports.verify.running import free_port
from sinkhole.service import control

NAMES, RATE, SECONDS = 100_000, 2_000.0, 10.0
#: Connections that say nothing, and those that say an octet a second; clients that they come from.
IDLE, SLOW, ADDRESSES = 5_000, 500, 60

_RECORD = b"\xc0\x0c" + struct.pack("!HHIH4B", 1, 1, 86_400, 4, 192, 0, 2, 1)

#: How the upstream behaves now: it answers, is silent, or sends all wrong ids before the right one.
ANSWERS, SILENT, SPOOFED = range(3)


def _upstream(sock: socket.socket, how: Any) -> None:
    while True:
        packet, peer = sock.recvfrom(4096)
        if len(packet) < 12 or how.value == SILENT:
            continue
        end = packet.index(0, 12) + 5
        body = struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0) + packet[12:end]
        if how.value == SPOOFED:
            forged = body + _RECORD[:-4] + bytes((198, 51, 100, 66))
            for ident in range(65_536):
                if ident != int.from_bytes(packet[:2]):
                    sock.sendto(ident.to_bytes(2) + forged, peer)
                if not ident % 256:
                    time.sleep(0.001)  # what overflows a socket's buffer reaches nobody
            time.sleep(0.01)
        sock.sendto(packet[:2] + body + _RECORD, peer)


def _names_at(port: int, rate: float) -> None:
    """Names that nobody asked for before, as fast as ``rate``."""
    draw = random.Random(os.getpid())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        start, sent = time.monotonic(), 0
        while True:
            while sent < (time.monotonic() - start) * rate:
                with suppress(OSError):
                    sock.send(query(f"{draw.getrandbits(60):x}.victim.example"))
                sent += 1
            time.sleep(0.005)


def _packets(port: int, rate: float) -> None:
    """Packets that are no queries, or nearly some."""
    draw = random.Random(1)
    good = query("chat.deepseek.com")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        start, sent = time.monotonic(), 0
        while True:
            while sent < (time.monotonic() - start) * rate:
                packet = bytearray(good + draw.randbytes(draw.randrange(60)))
                for _ in range(3):
                    packet[draw.randrange(len(packet))] = draw.randrange(256)
                with suppress(OSError):
                    sock.send(packet)
                sent += 1
            time.sleep(0.005)


def _connections(port: int, count: int, octets: bool, again: bool) -> None:
    """Connections from many addresses; with ``octets`` one each a second; ``again``: opened again when closed."""
    open_: list[socket.socket] = []
    for turn in itertools.count():
        for number in range(len(open_), count if again or not turn else 0):
            sock = socket.socket()
            sock.setblocking(False)
            sock.bind((f"127.0.1.{number % ADDRESSES + 1}", 0))
            with suppress(OSError):
                sock.connect(("127.0.0.1", port))
            open_.append(sock)
            if number % 50 == 49:
                time.sleep(0.01)
        time.sleep(1)
        open_ = [sock for sock in open_ if _lives(sock, octets)]


def _lives(sock: socket.socket, octets: bool) -> bool:
    """Whether a connection is still open; with ``octets`` one is sent first."""
    try:
        if octets:
            sock.send(b"\0")
        if sock.recv(1):
            return True
    except BlockingIOError:
        return True
    except OSError:
        pass
    sock.close()
    return False


def _requests(port: int, count: int) -> None:
    """Connections over HTTP that ask as fast as they are answered, ten at a time each."""
    asked = urlsafe_b64encode(query("chat.deepseek.com")).rstrip(b"=")
    ten = b"GET /dns-query?dns=" + asked + b" HTTP/1.1\r\nHost: bench.test\r\n\r\n"
    open_ = [socket.create_connection(("127.0.0.1", port + 1)) for _ in range(count)]
    for sock in itertools.cycle(open_):
        sock.sendall(10 * ten)
        sock.recv(65_536)


def _bodies(port: int, count: int) -> None:
    """Connections over HTTP that send bodies of a gigabyte."""
    head = b"POST /dns-query HTTP/1.1\r\nHost: bench.test\r\nContent-Length: 1000000000\r\n\r\n"
    open_: list[socket.socket] = []
    while True:
        while len(open_) < count:
            sock = socket.create_connection(("127.0.0.1", port + 1))
            sock.setblocking(False)
            sock.send(head)
            open_.append(sock)
        for sock in open_[:]:
            try:
                sock.send(bytes(65_536))
            except BlockingIOError:
                continue
            except OSError:
                open_.remove(sock)
                sock.close()
        time.sleep(0.001)  # honest clients share this core


class Trouble(NamedTuple):
    """Something that goes wrong: how the upstream behaves, what runs against the server's port, and for how many times
    as long as the others."""

    what: str
    upstream: int = ANSWERS
    attack: Callable[..., None] | None = None
    arguments: tuple[Any, ...] = ()
    times: int = 1


TROUBLES = (
    Trouble("nothing"),
    Trouble("upstream silent, 500 other names/s", SILENT, _names_at, (500.0,), 6),
    Trouble("5,000 random names/s, upstream silent", SILENT, _names_at, (5_000.0,)),
    Trouble("5,000 random names/s, upstream answers", ANSWERS, _names_at, (5_000.0,)),
    Trouble("10,000 malformed packets/s", ANSWERS, _packets, (10_000.0,)),
    Trouble(f"{IDLE:,} idle connections", ANSWERS, _connections, (IDLE, False, False)),
    Trouble(f"{IDLE:,} idle connections, opened again", ANSWERS, _connections, (IDLE, False, True)),
    Trouble(f"{SLOW} slow connections, opened again", ANSWERS, _connections, (SLOW, True, True)),
    Trouble("HTTP: 50 connections ask all they can", ANSWERS, _requests, (50,)),
    Trouble("HTTP: 50 bodies of 1 GB, again and again", ANSWERS, _bodies, (50,)),
    Trouble("nothing again"),
)


def _spawn(target: Callable[..., None], *arguments: Any) -> Any:
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


@contextmanager
def _running(realtime: bool, attack: Callable[..., None] | None, *arguments: Any) -> Iterator[None]:
    process = attack and _spawn(attack, *arguments)
    if process and realtime:  # or what it sends comes in heaps
        os.sched_setscheduler(process.pid, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        if process:
            process.kill()
            process.join()


def measure(seconds: float, rate: float, realtime: bool) -> dict[str, Any]:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("two cores are needed: one for the server, one for the rest")
    os.sched_setaffinity(0, {cores[1]})
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sinkhole-bench-")))
        answering = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        answering.bind(("127.0.0.1", 0))
        how = multiprocessing.get_context("fork").Value("i", ANSWERS)
        upstream = _spawn(_upstream, answering, how)
        stack.callback(upstream.kill)
        names = list(corpus.names(NAMES))
        corpus.write(directory / "list.txt", names, "adblock")
        port = free_port()
        config = configure(directory, [directory / "list.txt"], port, answering.getsockname()[1], port + 1)
        log = stack.enter_context((directory / "log").open("wb"))
        first = ["chrt", "--rr", "1"] if realtime else []
        command = [*first, "taskset", "-c", str(cores[0]), sys.executable, "-m", "sinkhole", "serve", "-c", str(config)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        stack.callback(process.wait, 20)
        stack.callback(process.terminate)
        if realtime:
            os.sched_setscheduler(upstream.pid, os.SCHED_RR, os.sched_param(1))
        try:
            wait_blocked(port, 60, names[-1])
        except TimeoutError as error:
            sys.exit(f"{error}\n{(directory / 'log').read_text()[-2000:]}")
        draw = random.Random(1)
        asked = [
            load.Asked(query(name)[2:], frozenset({ending}))
            for _ in range(2_000)
            for name, ending in (
                (draw.choice(names), load.BLOCKED),
                (f"known{draw.randrange(500)}.example", load.FORWARDED),
            )
        ]
        load.run(port, asked, rate, lambda now: now < 3)  # the remembered ones are, from here on

        results = []
        for trouble in TROUBLES:
            how.value = trouble.upstream
            with _running(realtime, trouble.attack, port, *trouble.arguments):
                time.sleep(2 if trouble.attack else 0)
                if realtime:
                    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
                heard = load.run(port, asked, rate, (seconds * trouble.times).__gt__)
                if realtime:
                    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
                counters = control.ask(directory / "state", "status", 90)["counters"]
            memory = resident(process.pid)
            results.append({"what": trouble.what, **heard.data(), "waiting": counters["waiting"], "memory": memory})
            time.sleep(8)  # what still waits for an upstream ends

        how.value = SPOOFED
        started = time.monotonic()
        with client(port, 8) as sock:
            sock.send(query("spoofed.example"))
            answer = sock.recv(4096)
        spoofed = {
            "right": answer.endswith(load.FORWARDED),
            "seconds": round(time.monotonic() - started, 2),
            "answer": answer.hex(),
        }
        return {"rate": rate, "seconds": seconds, "realtime": realtime, "troubles": results, "spoofed": spoofed}


def show(report: dict[str, Any]) -> None:
    print(
        f"{report['rate']:,.0f} queries/s, half blocked and half remembered, for {report['seconds']:.0f} s each "
        "(upstream silent, 500 other names/s: six times that)\n"
    )
    print("| meanwhile | lost | wrong | p50 ms | p99 ms | p99.9 ms | worst ms | waiting | memory |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for found in report["troubles"]:
        figures = (found[f"{name}-ms"] for name in ("p50", "p99", "p99.9", "worst"))
        print(
            f"| {found['what']} | {found['lost']} | {found['wrong']} | " + " | ".join(map(str, figures)) + " | "
            f"{found['waiting']} | {found['memory'] / 1e6:.0f} MB |"
        )
    spoofed = report["spoofed"]
    how = "the right one is returned" if spoofed["right"] else "THE RIGHT ONE IS NOT RETURNED"
    print(f"\n65,535 wrong ids before the right answer: {how}, after {spoofed['seconds']} s")


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask a server while others misbehave.")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of each trouble (default: {SECONDS:.0f})")
    parser.add_argument("--rate", type=float, default=RATE, help=f"honest queries a second (default: {RATE:.0f})")
    parser.add_argument("--realtime", action="store_true", help="before all else that runs here; needs root")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here too")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    report = measure(arguments.seconds, arguments.rate, arguments.realtime)
    show(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    if not report["spoofed"]["right"] or any(found["wrong"] for found in report["troubles"]):
        sys.exit("answers were wrong")


if __name__ == "__main__":
    main()

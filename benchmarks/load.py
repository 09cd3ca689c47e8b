"""Clients over UDP at a steady rate that check every answer, and say when it came to the microsecond.

Queries leave when they are due, however slow the answers are. The time of an answer is from the call that sent the
query to its arrival in the kernel (``SO_TIMESTAMPNS``), so a busy client does not make the server look slow.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from statistics import quantiles
from typing import Any, NamedTuple

#: Ends of answers to a query for an address without EDNS.
BLOCKED, FORWARDED = b"\0\4\0\0\0\0", b"\0\4\xc0\0\2\1"
#: Client ports; each has 65,536 ids.
PORTS = 16
#: Seconds after which an answer counts as lost; queries sent before answers are looked for.
PATIENCE, BATCH = 3.0, 16

_TIMESTAMP = 35  # socket(7) SO_TIMESTAMPNS, in asm-generic/socket.h
_TIME = struct.Struct("=qq")


class Asked(NamedTuple):
    """A query but for its id, and what its answer may end in."""

    packet: bytes
    allowed: frozenset[bytes]


class Heard(NamedTuple):
    """``delays`` in seconds, in order of arrival; ``lost`` had no answer, ``wrong`` are samples of (query, answer)."""

    sent: int
    delays: array[float]
    lost: int
    wrong: list[tuple[bytes, bytes]]

    def data(self) -> dict[str, Any]:
        """The figures as JSON has them: times in milliseconds."""
        parts = quantiles(self.delays, n=1000, method="inclusive") if len(self.delays) > 1 else [0.0] * 999
        times = {"p50": parts[499], "p99": parts[989], "p99.9": parts[998], "worst": max(self.delays, default=0.0)}
        return {
            "queries": self.sent,
            "lost": self.lost,
            "wrong": len(self.wrong),
            **{f"{name}-ms": round(1000 * delay, 3) for name, delay in times.items()},
        }


def run(port: int, asked: Sequence[Asked], rate: float, going: Callable[[float], bool]) -> Heard:
    """Ask ``rate`` queries a second in turn, while ``going(seconds since the start)``, and wait for the answers."""
    with ExitStack() as stack:
        socks = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(PORTS)]
        poll = select.poll()
        for sock in socks:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            sock.setsockopt(socket.SOL_SOCKET, _TIMESTAMP, 1)
            sock.connect(("127.0.0.1", port))
            sock.setblocking(False)
            poll.register(sock, select.POLLIN)
        numbers = {sock.fileno(): at for at, sock in enumerate(socks)}
        waiting: list[dict[bytes, tuple[int, Asked]]] = [{} for _ in socks]
        delays, wrong, sent, unsent = array("d"), list[tuple[bytes, bytes]](), 0, 0
        space = socket.CMSG_SPACE(_TIME.size)

        def hear(timeout: float) -> None:
            for number, _ in poll.poll(timeout):
                at = numbers[number]
                receive, mine = socks[at].recvmsg, waiting[at]
                while True:
                    try:
                        answer, stamps, _, _ = receive(2048, space)
                    except OSError:
                        break
                    if found := mine.pop(answer[:2], None):
                        left, query = found
                        seconds, nanoseconds = _TIME.unpack(stamps[0][2])
                        delays.append((seconds * 1_000_000_000 + nanoseconds - left) / 1e9)
                        if answer[-6:] not in query.allowed or answer[12 : 2 + len(query.packet)] != query.packet[10:]:
                            wrong.append((query.packet, answer))

        start = time.monotonic()
        count = len(asked)
        while going(now := time.monotonic() - start):
            due = int(now * rate)
            if sent >= due:
                hear(max(1000 * ((sent + 1) / rate - now), 0.2))
                continue
            for _ in range(min(BATCH, due - sent)):
                at, ident = sent % PORTS, (sent // PORTS & 0xFFFF).to_bytes(2)
                query = asked[sent % count]
                unsent += ident in waiting[at]  # 65,536 queries later it is lost
                waiting[at][ident] = time.time_ns(), query
                try:
                    socks[at].send(ident + query.packet)
                except OSError:
                    unsent += 1
                    del waiting[at][ident]
                sent += 1
            hear(0)
        end = time.monotonic() + PATIENCE
        while any(waiting) and time.monotonic() < end:
            hear(10)
        return Heard(sent, delays, unsent + sum(map(len, waiting)), wrong)

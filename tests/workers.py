"""A worker process for tests, with the supervisor's end of its control channel."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import dns.message
import dns.query

from sinkhole.config import Endpoint
from sinkhole.service.settings import Settings
from sinkhole.service.sockets import listen
from sinkhole.service.worker import STATUS

#: An upstream that answers nothing, at once: what is not blocked is SERVFAIL.
NOBODY = (("udp", "127.0.0.1", 9),)


def settings(path: Path, mode: str = "null-ip", servers: Sequence[tuple[str, str, int]] = NOBODY) -> Settings:
    return Settings(str(path), tuple(servers), 0.2, mode, 60)


class Child:
    """A worker process with one UDP and one TCP socket."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket, endpoint: Endpoint) -> None:
        self.process = process
        self.control = control
        self.endpoint = endpoint
        self._said = control.makefile("rb")

    def tell(self, settings: Settings) -> str:
        self.control.sendall(settings.line())
        return self._said.readline().decode()

    def status(self) -> Any:
        self.control.sendall(STATUS)
        word, _, rest = self._said.readline().decode().partition(" ")
        assert word == "status"
        return json.loads(rest)

    def ask(self, name: str, rtype: str = "A", *, tcp: bool = False) -> dns.message.Message:
        query = dns.message.make_query(name, rtype)
        ask = dns.query.tcp if tcp else dns.query.udp
        return ask(query, self.endpoint.host, port=self.endpoint.port, timeout=5)

    def resident(self) -> int:
        """Octets of its memory."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * 4096

    def hang_up(self) -> None:
        self._said.close()
        self.control.close()


@contextmanager
def running(log: IO[bytes] | None = None) -> Iterator[Child]:
    """Without settings yet; what it says on standard error goes to ``log``."""
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    (listening,) = listen([Endpoint("127.0.0.1", 0)], 1)
    (endpoint,) = listening.endpoints
    numbers = [sock.fileno() for sock in (theirs, listening.udp[0], listening.tcp[0])]
    process = subprocess.Popen(
        [sys.executable, "-m", "sinkhole.service.worker", *map(str, numbers), ""],
        pass_fds=numbers,
        stdin=subprocess.DEVNULL,
        stderr=log,
    )
    for sock in (theirs, listening.udp[0], listening.tcp[0]):
        sock.close()
    child = Child(process, ours, endpoint)
    try:
        yield child
    finally:
        child.hang_up()
        process.kill()
        process.wait()

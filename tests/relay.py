"""A TCP relay on a loopback port that a test can freeze: connections that are open then carry nothing any more.

So it looks to a client when a router on the way forgets its connections: nothing comes, and nobody says so.
"""

from __future__ import annotations

import select
import socket
import threading
from types import TracebackType
from typing import Self


class Relay:
    """A context manager: relays to ``port`` from entry to exit. ``accepted`` counts connections."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.accepted = 0
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def freeze(self) -> None:
        self._pairs = {}  # what is open stays open, and unread

    def _run(self) -> None:
        kept = []
        while not self._stop.is_set():
            pairs = self._pairs
            for sock in select.select([self._listening, *pairs], [], [], 0.02)[0]:
                if sock is self._listening:
                    ours, _ = sock.accept()
                    theirs = socket.create_connection(("127.0.0.1", self._to))
                    kept += [ours, theirs]
                    pairs |= {ours: theirs, theirs: ours}
                    self.accepted += 1
                elif pairs is self._pairs:
                    self._pass_on(sock, pairs[sock])
        for sock in (*kept, self._listening):
            sock.close()

    def _pass_on(self, sock: socket.socket, to: socket.socket) -> None:
        try:
            data = sock.recv(65_536)
            to.sendall(data)
            if not data:
                to.shutdown(socket.SHUT_WR)
        except OSError:
            data = b""
        if not data:
            self._pairs.pop(sock, None)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(5)

"""The process of a worker, as the one that started it sees it. It imports little: a start waits for it."""

from __future__ import annotations

import os
import signal
import socket
import sys
from itertools import chain

from sinkhole.service.sockets import Listening

#: Octets of recorded queries that wait for the query log; what the system allows may be less (net.core.wmem_max).
_LOG_BUFFER = 4 << 20
#: Not ``-m``, which would import what finds modules first.
_PROGRAM = "from sinkhole.service.worker import main; main()"


class Process:
    """``control`` is our end of the channel to it; from ``records`` comes what it writes down of queries."""

    def __init__(self, pid: int, control: socket.socket, records: socket.socket) -> None:
        self.pid = pid
        self.handle = os.pidfd_open(pid)  # readable when it has ended
        self.code: int | None = None
        self.control = control
        self.records = records

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self.code is None:
            signal.pidfd_send_signal(self.handle, number)

    def wait(self) -> int:
        """Its exit code, or minus the number of the signal that ended it; it takes as long as the process does."""
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self.handle)
        return self.code


def start(listening: Listening) -> Process:
    """A worker on some sockets, which waits to be told its settings."""
    control, theirs = socket.socketpair()
    records, record = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    record.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LOG_BUFFER)
    numbers = [[theirs.fileno(), record.fileno()], *([sock.fileno() for sock in socks] for socks in listening)]
    passed = [(os.POSIX_SPAWN_DUP2, number, number) for number in chain(*numbers)]  # which makes it inheritable there
    words = [sys.executable, "-c", _PROGRAM, *(",".join(map(str, kind)) for kind in numbers)]
    nothing = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    with theirs, record:
        pid = os.posix_spawn(sys.executable, words, os.environ, file_actions=[nothing, *passed])
    return Process(pid, control, records)

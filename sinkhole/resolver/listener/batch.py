"""Many datagrams by one call to the kernel: recvmmsg(2) and sendmmsg(2), which Python's socket module does not have.

One block of memory holds all that the kernel is shown. The slot of a datagram has the address that it came from, what
says which address it was sent to, and its octets; its reply goes out from the same slot, to the same address.
"""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Callable, Sequence, Set
from errno import EAGAIN, EINTR
from mmap import mmap
from sys import byteorder
from typing import Any

#: Datagrams that are received at once, before other sockets get their turn; octets of one, and of a reply.
BATCH, MAX_RECEIVED, MAX_SENT = 64, 4096, 2048
#: Octets of a slot for a socket address and for a control message; octets of an address by family (ip(7), ipv6(7)).
ADDRESS, _CONTROL = 32, socket.CMSG_SPACE(20)
_SLOT = ADDRESS + _CONTROL + MAX_RECEIVED + MAX_SENT
_SIZES = {socket.AF_INET: 16, socket.AF_INET6: 28}
_SIZE: Any = "N"  # size_t to memoryview.cast
_NOW = getattr(socket, "MSG_DONTWAIT", 0)

#: Takes a datagram, the octets of the address it is from, the peer, and what sends to that later; gives the reply, if
#: there is one now.
Take = Callable[[bytes, bytes, bytes, Callable[[bytes, bytes], None]], bytes | None]


class _Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr of recvmsg(2)."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint),
        ("vector", ctypes.c_void_p),
        ("vectors", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr of recvmmsg(2)."""

    _fields_ = (("header", _Header), ("size", ctypes.c_uint))


def _calls() -> tuple[Any, Any] | None:
    """recvmmsg and sendmmsg, where there are such. Told not to wait, they are no time for other threads to run in."""
    try:
        library = ctypes.PyDLL(None, use_errno=True)
        return library.recvmmsg, library.sendmmsg
    except (OSError, AttributeError, TypeError):
        return None


CALLS = _calls()


class Batches:
    """What comes to ``sock``, where there are :data:`CALLS`. A *peer* is the octets of a socket address; with
    ``arrival`` it is filled up to :data:`ADDRESS` octets, and behind them the control message tells which address was
    asked (the socket was told to add it), by which the reply leaves from there. ``odd`` are source ports; ``soon``
    calls a function when all that happens now is done."""

    def __init__(
        self, sock: socket.socket, arrival: bool, odd: Set[bytes], soon: Callable[[Callable[[], None]], object]
    ) -> None:
        assert CALLS
        self._receive, self._send = CALLS
        self._sock = sock
        self._odd = odd
        self._address = (8, 28) if sock.family == socket.AF_INET6 else (4, 8)  # with the scope, as clients differ by it
        self._soon = soon
        count = 2 * BATCH  # the other half of the slots is for what is sent later
        self._memory = mmap(-1, count * _SLOT)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        vectors = (_Vector * (2 * count))()
        incoming, outgoing = (_Message * count)(), (_Message * count)()
        size, control = _SIZES[sock.family], _CONTROL if arrival else 0
        peer = ADDRESS + _CONTROL if arrival else size
        #: Number of a slot, and where its peer starts and ends, its datagram starts, and its reply starts.
        slots = [
            (number, at, at + peer, at + ADDRESS + _CONTROL, at + ADDRESS + _CONTROL + MAX_RECEIVED)
            for number, at in enumerate(range(0, count * _SLOT, _SLOT))
        ]
        self._slots, self._later, self._waiting = slots[:BATCH], slots[BATCH:], 0
        for number, at, _, received, sent in slots:
            told = base + at + ADDRESS if arrival else None
            for messages, octets, room in ((incoming, received, MAX_RECEIVED), (outgoing, sent, 0)):
                vector = vectors[2 * number + (messages is outgoing)]
                vector.base, vector.size = base + octets, room
                where = ctypes.addressof(vector)
                messages[number].header = _Header(base + at, size, where, 1, told, control, 0)
        self._outgoing = outgoing  # only the kernel knows of it
        self._first = ctypes.c_void_p(ctypes.addressof(incoming))
        self._replies = [ctypes.c_void_p(ctypes.addressof(message)) for message in outgoing]
        self._received = _column(incoming, "I", _Message.size.offset)
        self._sent = _column(vectors, _SIZE, _Vector.size.offset)[1::2]
        self._asked = self._told = None
        if arrival:  # how much of a control message there is: the kernel writes it, and has to be told the room anew
            self._asked = _column(incoming, _SIZE, _Header.control_size.offset)
            self._told = _column(outgoing, _SIZE, _Header.control_size.offset)
        self._room = memoryview(bytes(self._asked or b"")).cast(_SIZE)

    def drain(self, take: Take, take_odd: Take) -> int:
        """Let ``take`` have what has come, and ``take_odd`` what has come from odd ports, and send their replies.

        How many there were, :data:`BATCH` at most.
        """
        if self._asked:
            self._asked[:] = self._room
        count = self._receive(self._sock.fileno(), self._first, BATCH, _NOW, None)
        if count <= 0:
            return 0
        if self._asked and self._told:
            self._told[:count] = self._asked[:count]
        memory, sent, odd, send, (first, last) = self._memory, self._sent, self._odd, self.send, self._address
        begin, former, address, answer = 0, b"", b"", take
        for (number, start, end, at, reply_at), size in zip(self._slots, self._received[:count].tolist(), strict=False):
            peer = memory[start:end]
            if peer != former:  # who asks much asks again
                former, address, answer = peer, peer[first:last], take_odd if peer[2:4] in odd else take
            if reply := answer(memory[at : at + size], address, peer, send):
                size = len(reply)
                memory[reply_at : reply_at + size] = reply
                sent[number] = size
            else:
                if begin < number:
                    self._flush(begin, number)
                begin = number + 1
        self._flush(begin, count)
        return int(count)

    def send(self, reply: bytes, peer: bytes) -> None:
        """Send what was not ready at once, together with all else that is ready now."""
        if self._waiting == BATCH:
            self.flush()
        elif not self._waiting:
            self._soon(self.flush)
        number, at, _, _, reply_at = self._later[self._waiting]
        self._waiting += 1
        self._memory[at : at + len(peer)] = peer
        self._memory[reply_at : reply_at + len(reply)] = reply
        self._sent[number] = len(reply)
        if self._told:  # what came before the socket was told to add it has none
            self._told[number] = int.from_bytes(peer[ADDRESS : ADDRESS + ctypes.sizeof(ctypes.c_size_t)], byteorder)

    def flush(self) -> None:
        """Send what waits."""
        waiting, self._waiting = self._waiting, 0
        self._flush(BATCH, BATCH + waiting)

    def _flush(self, begin: int, end: int) -> None:
        """Send the replies of some slots. One that cannot be sent is lost, as UDP may lose: a full buffer, no way."""
        while begin < end:
            sent = self._send(self._sock.fileno(), self._replies[begin], end - begin, _NOW)
            begin += sent if sent > 0 else 1


def _column(table: Any, form: Any, offset: int) -> memoryview[int]:
    """One field of each element of an array."""
    cells: memoryview[int] = memoryview(table).cast("B").cast(form)
    step = ctypes.sizeof(table) // len(table) // cells.itemsize
    return cells[offset // cells.itemsize :: step]


class Volley:
    """Up to ``count`` datagrams of connected sockets by one call, sent or received, where there are :data:`CALLS`."""

    def __init__(self, count: int) -> None:
        assert CALLS
        self._receive, self._send = CALLS
        self._count = count
        self._memory = mmap(-1, count * MAX_RECEIVED)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        vectors = (_Vector * (2 * count))()
        incoming, outgoing = self._messages = (_Message * count)(), (_Message * count)()
        for number, vector in enumerate(vectors):
            vector.base, vector.size = base + number % count * MAX_RECEIVED, MAX_RECEIVED
            message = (incoming, outgoing)[number // count][number % count]
            message.header = _Header(None, 0, ctypes.addressof(vector), 1, None, 0, 0)
        self._first = ctypes.c_void_p(ctypes.addressof(incoming))
        self._packets = [ctypes.c_void_p(ctypes.addressof(message)) for message in outgoing]
        self._received = _column(incoming, "I", _Message.size.offset)
        self._sizes = _column(vectors, _SIZE, _Vector.size.offset)[count:]

    def send(self, sock: socket.socket, packets: Sequence[bytes]) -> None:
        """Raises OSError when one of them cannot be sent."""
        memory, sizes = self._memory, self._sizes
        for number, packet in enumerate(packets):
            at = number * MAX_RECEIVED
            memory[at : at + len(packet)] = packet
            sizes[number] = len(packet)
        begin = 0
        while begin < len(packets):
            sent = self._send(sock.fileno(), self._packets[begin], len(packets) - begin, _NOW)
            if sent <= 0:
                raise OSError(ctypes.get_errno(), "cannot be sent")
            begin += sent

    def receive(self, sock: socket.socket) -> Sequence[bytes]:
        """What has come. Raises OSError, as recv(2) does, when that says that nobody is there."""
        count = self._receive(sock.fileno(), self._first, self._count, _NOW, None)
        if count < 0:
            if (number := ctypes.get_errno()) in (EAGAIN, EINTR):
                return ()
            raise OSError(number, "cannot be received")
        memory, starts = self._memory, range(0, count * MAX_RECEIVED, MAX_RECEIVED)
        return [memory[at : at + size] for at, size in zip(starts, self._received, strict=False)]


class Singly:
    """What :class:`Volley` does, by one call for each datagram."""

    def __init__(self, count: int) -> None:
        self._count = count

    def send(self, sock: socket.socket, packets: Sequence[bytes]) -> None:
        for packet in packets:
            sock.send(packet)

    def receive(self, sock: socket.socket) -> Sequence[bytes]:
        found: list[bytes] = []
        try:
            while len(found) < self._count:
                found.append(sock.recv(MAX_RECEIVED))
        except BlockingIOError:
            pass
        except OSError:
            if not found:
                raise
        return found

"""How commands talk to the running instance: a Unix socket in the state directory, one line of JSON each way.

A request is ``{"do": "status"}`` or ``{"do": "reload"}``; the answer is an object of what was asked for, or
``{"error": why}``. Only the owner may connect: by the mode of the socket, and by what the kernel says of who did.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sinkhole.errors import SinkholeError

NAME = "control.sock"

#: Octets of a request and of an answer; seconds for a request to come, connections at a time.
MAX_REQUEST, MAX_ANSWER, PATIENCE, MAX_CLIENTS = 1024, 1 << 22, 2.0, 16

Do = Callable[[], Awaitable[Mapping[str, Any]]]


@contextmanager
def _address(directory: Path) -> Iterator[str]:
    """The socket's address, however long the path is: a Unix socket's may have 107 octets (unix(7))."""
    handle = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}/{NAME}"
    finally:
        os.close(handle)


def listen(directory: Path) -> socket.socket:
    """The socket, bound. Who calls this holds the lock of the directory, so one that is there is a dead one's."""
    path = directory / NAME
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        os.fchmod(sock.fileno(), 0o600)  # before it has a name, so there is no instant at which others may connect
        with _address(directory) as address:
            sock.bind(address)
    except OSError as error:
        sock.close()
        raise SinkholeError(f"cannot listen on {path}: {error.strerror}") from error
    return sock


async def serve(sock: socket.socket, actions: Mapping[str, Do]) -> asyncio.Server:
    """Answer requests by ``actions``."""
    clients = 0

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal clients
        clients += 1
        try:
            if clients <= MAX_CLIENTS and _owner(writer.get_extra_info("socket")):
                with suppress(ConnectionError):
                    writer.write(json.dumps(await _answer(reader, actions)).encode() + b"\n")
                    await writer.drain()
        finally:
            clients -= 1
            writer.close()

    return await asyncio.start_unix_server(one, sock=sock, limit=MAX_REQUEST)


def _owner(sock: socket.socket) -> bool:
    """Whether who connected is the user of this process, or root."""
    _, user, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return user in (0, os.geteuid())


async def _answer(reader: asyncio.StreamReader, actions: Mapping[str, Do]) -> Mapping[str, Any]:
    try:
        line = await asyncio.wait_for(reader.readline(), PATIENCE)
        action = actions[json.loads(line)["do"]]
    except (TimeoutError, ValueError, LookupError, TypeError, RecursionError):
        return {"error": f"expected one line of JSON: an object whose `do` is {' or '.join(sorted(actions))}"}
    return await action()


def ask(directory: Path, what: str, patience: float) -> dict[str, Any]:
    """What the instance of a state directory answers. Raises SinkholeError: none runs, or it does not answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(patience)
        try:
            with _address(directory) as address:
                sock.connect(address)
            sock.sendall(json.dumps({"do": what}).encode() + b"\n")
            with sock.makefile("rb") as stream:
                line = stream.readline(MAX_ANSWER)
            answer: dict[str, Any] = json.loads(line)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            raise SinkholeError(
                f"no sinkhole runs with the state directory {directory}; "
                "if one does with another, name its configuration with -c"
            ) from None
        except PermissionError:
            raise SinkholeError(f"the sinkhole of {directory} belongs to another user") from None
        except TimeoutError:
            raise SinkholeError(f"the sinkhole of {directory} did not answer within {patience:.0f} seconds") from None
        except (OSError, ValueError) as error:
            raise SinkholeError(f"the sinkhole of {directory} ended before it answered") from error
    if "error" in answer:
        raise SinkholeError(str(answer["error"]))
    return answer

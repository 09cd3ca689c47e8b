"""Runs ``sinkhole`` commands fast: each in a process of its own, forked from one that has imported everything.

A command costs a tenth of what a new interpreter would. What is tested is the same: standard streams are files, the
directory and the environment are its own, and it ends by the exit code of ``python -m sinkhole``.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


class Commands:
    """The process that has imported everything, started by the first command. Not for use from several threads."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None

    def run(
        self, arguments: Sequence[str], cwd: Path, environ: Mapping[str, str], stdin: bytes
    ) -> tuple[int, str, str]:
        """Run a command; returns its exit code and what it wrote to standard output and standard error."""
        if not self._channel:
            self._channel, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen([sys.executable, __file__], stdin=theirs.fileno())
        with TemporaryDirectory() as directory:
            streams = [Path(directory) / name for name in ("in", "out", "err")]
            streams[0].write_bytes(stdin)
            order = {
                "arguments": arguments,
                "cwd": str(cwd),
                "environ": dict(environ),
                "streams": list(map(str, streams)),
            }
            self._channel.sendall(json.dumps(order).encode() + b"\n")
            self._channel.settimeout(60)
            code = self._channel.recv(1)[0]
            return code, streams[1].read_text(), streams[2].read_text()

    def close(self) -> None:
        if self._channel and self._process:
            self._channel.close()
            self._process.wait()


def _serve(channel: socket.socket) -> None:
    with channel.makefile("rb") as orders:
        for order in orders:
            if not (child := os.fork()):
                _become(**json.loads(order))
            _, status = os.waitpid(child, 0)
            channel.sendall(bytes([os.waitstatus_to_exitcode(status) & 255]))


def _become(arguments: list[str], cwd: str, environ: dict[str, str], streams: list[str]) -> None:
    """Be the command; never returns."""
    code: Any = 0
    for number, path in enumerate(streams):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["sinkhole", *arguments]
    try:
        sinkhole.cli.main()
    except SystemExit as stop:
        code = stop.code
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(code or 0))


if __name__ == "__main__":
    import sinkhole.cli
    from sinkhole.compiler.tool import tool

    sinkhole.cli.application()
    tool()  # of the code that was loaded, whatever becomes of the files
    _serve(socket.socket(fileno=os.dup(0)))

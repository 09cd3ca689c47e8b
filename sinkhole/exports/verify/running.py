"""A foreign program for as long as it is needed: without privileges, bounded in time and memory, and gone at the end,
whatever happens."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from sinkhole.errors import SinkholeError

_PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
#: Octets of memory and of one file, and seconds of processor time, that a program may use.
_LIMITS = (f"--as={8 << 30}", f"--fsize={2 << 30}", "--cpu=900", "--core=0")
#: How much of what a program says is read, in octets.
_TOLD = 65536
_NOBODY = 65534


class EngineError(SinkholeError):
    """A program that does not run, or that does not take what it was given."""


class Ran(NamedTuple):
    """A program that runs, and where what it says goes."""

    process: subprocess.Popen[bytes]
    log: Path

    def told(self) -> str:
        """What it said last."""
        text = self.log.read_bytes()
        return text[-_TOLD:].decode("utf-8", "replace")


def find(program: str) -> str | None:
    """The path of a program, if it is installed."""
    return shutil.which(program, path=_PATH)


@contextmanager
def running(command: Sequence[str], directory: Path) -> Iterator[Ran]:
    """Run a program in ``directory``, which it may write to."""
    log = directory / "log"
    with log.open("wb") as told:
        process = subprocess.Popen(
            [*unprivileged(), *command],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=subprocess.STDOUT,
            env=environment(directory),
            start_new_session=True,
        )
    try:
        yield Ran(process, log)
    finally:
        for sign, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 30)):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience)
                break
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it left behind


def environment(directory: Path) -> Mapping[str, str]:
    """The environment of a program: nothing of ours."""
    return {"PATH": _PATH, "HOME": str(directory), "TMPDIR": str(directory), "LC_ALL": "C"}


def unprivileged() -> list[str]:
    """What stands before a command: it is bounded, and as root becomes nobody."""
    nobody = [f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
    return [*bounded(), *nobody]


def bounded() -> list[str]:
    """What stands before a command that keeps our rights: it has limits, ends with us, and gains no more rights."""
    prlimit, setpriv = (find(program) for program in ("prlimit", "setpriv"))
    if not prlimit or not setpriv:
        raise EngineError("neither bounded nor unprivileged without prlimit and setpriv (util-linux)")
    return [prlimit, *_LIMITS, setpriv, "--no-new-privs", "--pdeathsig=KILL"]


def give(directory: Path) -> None:
    """Let programs have a directory and what is in it."""
    if os.geteuid() == 0:
        for path in (directory, *directory.rglob("*")):
            os.chown(path, _NOBODY, _NOBODY)


def free_port() -> int:
    """A port that nobody has on 127.0.0.1, over UDP or TCP, and that the system gives nobody by chance meanwhile."""
    while True:
        port = random.randrange(10_000, 32_768)  # ip_local_port_range in ip(7) begins there
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp, suppress(OSError):
            udp.bind(("127.0.0.1", port))
            tcp.bind(("127.0.0.1", port))
            return port

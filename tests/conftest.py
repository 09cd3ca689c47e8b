"""What tests of the whole program share: the command in a directory of its own, a running resolver, and real peers."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import dns.message
import dns.query
import dns.rdatatype
import pytest
from hypothesis import settings

from tests.command import Commands
from tests.dnsserver import Asked, DnsServer, Script, reply

CHECKOUT = Path(__file__).parent.parent

#: Seconds that a command or a change may take on a busy machine.
PATIENCE = 20.0

COMMANDS = Commands()

# The same examples in every run, and no clock: what is slow on a busy machine is not wrong.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


def pytest_unconfigure() -> None:
    COMMANDS.close()


class Ran(NamedTuple):
    """What a command left: its exit code and its two outputs."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Standard output read as one JSON value."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Standard output read as one JSON value a line."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Site:
    """A directory for the command: it runs in it and keeps its state in ``state`` below it."""

    directory: Path

    @property
    def state(self) -> Path:
        return self.directory / "state" / "sinkhole"

    def environ(self) -> dict[str, str]:
        return {**os.environ, "XDG_STATE_HOME": str(self.directory / "state")}

    def run(
        self, *arguments: str | Path, code: int = 0, stdin: bytes = b"", environ: Mapping[str, str] | None = None
    ) -> Ran:
        """The command; the exit code has to be ``code``, and no fault may be shown as a traceback.

        With ``environ``, more variables, which may matter to the interpreter, it is a new ``python -m sinkhole``.
        """
        texts = list(map(str, arguments))
        if environ is None:
            ran = Ran(*COMMANDS.run(texts, self.directory, self.environ(), stdin))
        else:
            command = [sys.executable, "-m", "sinkhole", *texts]
            changed = {**self.environ(), **environ}
            done = subprocess.run(
                command,
                cwd=self.directory,
                env=changed,
                input=stdin,
                capture_output=True,
                timeout=PATIENCE,
                check=False,
            )
            ran = Ran(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert "Traceback" not in ran.err, ran.err
        assert ran.code == code, ran
        return ran

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.directory / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def configure(self, settings: Mapping[str, Any], name: str = "sinkhole.yaml") -> Path:
        """A configuration file of ``settings``: YAML holds all of JSON."""
        return self.write(name, json.dumps(settings, indent=1))

    @contextmanager
    def running(
        self, settings: Mapping[str, Any] | None, script: Script | None = None, program: str = ""
    ) -> Iterator[Running]:
        """``sinkhole serve`` on free ports, with an upstream that follows ``script``; it has to end well on SIGTERM.

        Without ``settings`` it runs without any configuration. ``program`` is Python to run in place of the command.
        """
        with DnsServer(script or forwarded) as upstream, (self.directory / "serve.log").open("w") as log:
            fixed = {"listen": {"dns": LISTEN}, "upstream": {"servers": [f"127.0.0.1:{upstream.port}"]}}
            given = [] if settings is None else ["-c", self.configure({**fixed, **settings}).name]
            process = subprocess.Popen(
                [sys.executable, *(("-c", program) if program else ("-m", "sinkhole")), "serve", *given],
                cwd=self.directory,
                env=self.environ(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
            running = Running(self, process, upstream, fixed, Path(log.name))
            try:
                running.wait_until_ready()
                yield running
            finally:
                if process.poll() is None:
                    process.terminate()
                try:
                    process.communicate(timeout=PATIENCE)
                finally:
                    process.kill()
                    process.wait()
            assert process.returncode in (0, -signal.SIGKILL), running.log  # only a test kills it
            assert not re.search("Traceback|internal fault|never retrieved|exception in", running.log), running.log


class Running:
    """A resolver that answers on ``endpoints``."""

    def __init__(
        self, site: Site, process: subprocess.Popen[str], upstream: DnsServer, fixed: Mapping[str, Any], log: Path
    ) -> None:
        self.site = site
        self.process = process
        self.upstream = upstream
        self.endpoints: list[tuple[str, int]] = []
        self.greeting = ""
        self._fixed = fixed
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def port(self) -> int:
        return self.endpoints[0][1]

    def workers(self) -> set[int]:
        """The ids of its processes that answer DNS."""
        return {pid for pid in children(self.process.pid) if _dns(_command(pid))}

    def web(self) -> int | None:
        """The id of its process for the web, if there is one."""
        found = (pid for pid in children(self.process.pid) if b"sinkhole.service.worker" in _command(pid))
        return next((pid for pid in found if not _dns(_command(pid))), None)

    def wait_until_ready(self) -> None:
        assert self.process.stdout
        assert select.select([self.process.stdout], [], [], PATIENCE)[0], self.log
        self.greeting = self.process.stdout.readline()
        found = re.findall(r"(\d+\.\d+\.\d+\.\d+|\[[0-9a-f:]+\]):(\d+)[,;]", self.greeting)
        assert found, self.log
        self.endpoints = [(host.strip("[]"), int(port)) for host, port in found]

    def ask(
        self, name: str, rtype: str = "A", *, tcp: bool = False, source: str | None = None, at: int = 0, wait: float = 5
    ) -> dns.message.Message:
        """The answer to one query with EDNS, asked at endpoint ``at`` once, from the address ``source``."""
        query = dns.message.make_query(name, rtype, use_edns=0)
        host, port = self.endpoints[at]
        ask = dns.query.tcp if tcp else dns.query.udp
        return ask(query, host, port=port, source=source, timeout=wait)

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Rewrite the configuration file, all but its addresses, and have it read again."""
        self.site.configure({**self._fixed, **settings})
        self.process.send_signal(signal.SIGHUP)

    def eventually(self, told: Callable[[], object], within: float = PATIENCE) -> None:
        """Wait until ``told()`` is true."""
        end = time.monotonic() + within
        while not told():
            assert time.monotonic() < end, self.log
            time.sleep(0.02)


def children(pid: int) -> set[int]:
    try:
        return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except FileNotFoundError:
        return set()


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def _dns(command: bytes) -> bool:
    """Whether a command is that of a process that answers DNS: it has no sockets for the web."""
    return b"sinkhole.service.worker" in command and command.endswith(b"\0\0")


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


IPV6 = _has_ipv6()
LISTEN = ["127.0.0.1:0", "[::1]:0"] if IPV6 else ["127.0.0.1:0"]

#: What the upstream of :meth:`Site.running` answers, whatever the name.
FORWARDED = ["192.0.2.99"]


def forwarded(asked: Asked) -> Iterator[bytes]:
    wants_address = dns.message.from_wire(asked.packet).question[0].rdtype == dns.rdatatype.A
    yield reply(asked.packet, A=FORWARDED[0]) if wants_address else reply(asked.packet)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A fresh :class:`Site`."""
    return Site(tmp_path)


@pytest.fixture(scope="session")
def peer() -> Callable[[str], str]:
    """``peer("dig")`` is the path of a program from Debian; without it the test is skipped, and fails under CI."""

    def find(name: str) -> str:
        path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        return path or missing(f"{name} is not installed")

    return find


def missing(what: str) -> NoReturn:
    """Something that the tests need is not here: a failure in CI, elsewhere a skip."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)

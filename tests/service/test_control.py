from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import pytest

from sinkhole.errors import SinkholeError
from sinkhole.service import control


@contextmanager
def serving(directory: Path) -> Iterator[Path]:
    """An instance that answers ``status`` with a fact, and ``reload`` never."""
    ready, stop = threading.Event(), threading.Event()
    sock = control.listen(directory)

    async def status() -> Mapping[str, Any]:
        return {"fact": "x" * 100_000}

    async def never() -> Mapping[str, Any]:
        await asyncio.sleep(3600)
        return {}

    async def main() -> None:
        server = await control.serve(sock, {"status": status, "reload": never})
        ready.set()
        await asyncio.to_thread(stop.wait)
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    try:
        assert ready.wait(5)
        yield directory / control.NAME
    finally:
        stop.set()
        thread.join(5)


def raw(path: Path, request: bytes, *, finish: bool = True) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(5)
        sock.connect(str(path))
        try:
            sock.sendall(request)
            if finish:
                sock.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: sock.recv(65536), b""))
        except ConnectionError:
            return b""


def test_a_request_and_its_answer(tmp_path: Path) -> None:
    with serving(tmp_path) as path:
        assert control.ask(tmp_path, "status", 5) == {"fact": "x" * 100_000}
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(SinkholeError, match="did not answer within 0 seconds"):
            control.ask(tmp_path, "reload", 0.1)


@pytest.mark.parametrize(
    "request_", [b"", b"\n", b"{}\n", b"[]\n", b"1\n", b'{"do": 1}\n', b'{"do": []}\n', b'{"do": "stop"}\n',
                 b"\xff\xfe\n", b"[" * 1000 + b"\n", b"x" * 100_000, b'{"do": "status"' ],
)  # fmt: skip
def test_what_is_no_request_is_told_so_or_cut_off_and_the_next_one_is_answered(tmp_path: Path, request_: bytes) -> None:
    with serving(tmp_path) as path:
        answer = raw(path, request_)
        assert not answer or json.loads(answer) == {
            "error": "expected one line of JSON: an object whose `do` is reload or status"
        }
        assert len(raw(path, b'{"do": "status"}\n')) > 100_000


def test_clients_that_say_nothing_are_let_go_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "PATIENCE", 0.3)
    monkeypatch.setattr(control, "MAX_CLIENTS", 2)
    with serving(tmp_path) as path:
        idle = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(2)]
        for sock in idle:
            sock.connect(str(path))
        assert raw(path, b'{"do": "status"}\n') == b""  # one too many
        for sock in idle:
            sock.settimeout(5)
            assert b"expected one line" in sock.recv(1000)
            sock.close()
        assert raw(path, b'{"do": "status"}\n')


def test_a_path_longer_than_a_socket_address(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with serving(deep):
        assert control.ask(deep, "status", 5)["fact"]


def test_a_dead_instance_leaves_no_obstacle(tmp_path: Path) -> None:
    control.listen(tmp_path).close()
    with pytest.raises(SinkholeError, match="no sinkhole runs with the state directory"):
        control.ask(tmp_path, "status", 5)
    with serving(tmp_path):
        assert control.ask(tmp_path, "status", 5)


@pytest.mark.parametrize("answer", [b"", b"no json\n", b'{"fact"'])
def test_an_instance_that_ends_in_between(tmp_path: Path, answer: bytes) -> None:
    with control.listen(tmp_path) as sock:
        sock.listen()

        def one() -> None:
            client, _ = sock.accept()
            client.recv(1000)
            client.sendall(answer)
            client.close()

        thread = threading.Thread(target=one)
        thread.start()
        with pytest.raises(SinkholeError, match="ended before it answered"):
            control.ask(tmp_path, "status", 5)
        thread.join()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_somebody_else_gets_nothing(tmp_path: Path) -> None:
    """Neither by the mode of the socket, nor when that were open to all."""
    for directory in takewhile(lambda each: each != Path(gettempdir()), (tmp_path, *tmp_path.parents)):
        directory.chmod(0o755)
    with serving(tmp_path) as path:
        for mode in (0o600, 0o666):
            path.chmod(mode)
            if not (child := os.fork()):
                os.setuid(65534)
                try:
                    os._exit(1 if raw(path, b'{"do": "status"}\n') else 0)
                except PermissionError:
                    os._exit(2)
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == (2 if mode == 0o600 else 0)

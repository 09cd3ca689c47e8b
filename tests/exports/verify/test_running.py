"""Foreign programs: bounded, without privileges, and gone at the end."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sinkhole.exports.verify import running
from sinkhole.exports.verify.asking import DATA, Question, Upstream, ask, probe, query, reply, word
from sinkhole.exports.verify.engines import ENGINES, Setting
from sinkhole.exports.verify.running import EngineError

SHELL = ["sh", "-c", "echo $$; id -u; ulimit -v; sleep 600 & echo $!; wait"]


def wait_for(told: Path, lines: int) -> list[str]:
    end = time.monotonic() + 10
    while len(found := told.read_text().split()) < lines:
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]


def eventually_gone(*pids: int) -> bool:
    end = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.01)
    return not any(map(alive, pids))


def test_a_program_is_nobody_has_bounds_and_ends_with_its_children(tmp_path: Path) -> None:
    with running.running(SHELL, tmp_path) as ran:
        pid, uid, memory, child = map(int, wait_for(ran.log, 4))
        assert alive(child)
    assert uid != 0
    assert memory == 8 << 20  # in units of 1024 octets
    assert eventually_gone(pid, child)


def test_it_ends_when_an_error_goes_through(tmp_path: Path) -> None:
    with suppress(ZeroDivisionError), running.running(SHELL, tmp_path) as ran:
        found = [int(text) for text in wait_for(ran.log, 4)]
        raise ZeroDivisionError
    assert eventually_gone(found[0], found[3])


def test_it_ends_when_we_are_killed(tmp_path: Path) -> None:
    """SIGKILL leaves nobody to clean up: the kernel ends the program."""
    script = (
        "import sys, time; from pathlib import Path; from sinkhole.exports.verify.running import running\n"
        "with running(['sleep', '600'], Path(sys.argv[1])) as ran: print(ran.process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        pid = int(process.stdout.readline())
        end = time.monotonic() + 10
        while b"sleep" not in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]:  # not yet: the wrappers
            assert time.monotonic() < end
            time.sleep(0.01)
        process.kill()
    assert eventually_gone(pid)


def test_it_gets_nothing_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "planted")
    with running.running(["sh", "-c", "env; echo end"], tmp_path) as ran:
        ran.process.wait(10)
    assert "planted" not in ran.told()
    assert "end" in ran.told()


def test_what_it_does_not_take_is_told_in_its_own_words(peer: Callable[[str], str]) -> None:
    peer("unbound")
    with TemporaryDirectory() as name:  # which nobody can reach, as tmp_path cannot be
        file = Path(name) / "list"
        file.write_text('server:\nlocal-zone: "a.example." always_nxdomian\n')
        judge = ENGINES["unbound"].judges["unbound"]
        with pytest.raises(EngineError, match=r"list:2: error: local-zone type"):
            judge(Setting(Path(name), file, "unbound", running.free_port()), [Question("a.example")])


def test_what_is_not_installed_has_no_version() -> None:
    assert ENGINES["named"]._replace(program="no-such-program").installed() is None


def test_the_upstream_has_an_address_for_every_name() -> None:
    questions = [Question("a.example"), Question("B.example", 28), Question("c.example", 65), probe("203.0.113.9")]
    with Upstream() as upstream:
        assert ask(upstream.port, questions) == ["pass"] * 4
        assert ask(upstream.port, [Question("ip-00000000.sinkhole-address-probe.example")]) == ["pass"]


def test_silence_is_a_drop() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        began = time.monotonic()
        assert ask(nobody.getsockname()[1], [Question("a.example")] * 300, [0.05, 0.05]) == ["drop"] * 300
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("flags", "answer", "told"),
    [
        (0x8180, b"", "nodata"),
        (0x8183, b"", "nxdomain"),
        (0x8185, b"", "refused"),
        (0x8182, b"", "servfail"),
        (0x8180 | 0x200, b"", "tcp-only"),
        (0x8180, b"\0\x01\0\x01\0\0\0\x3c\0\x04\0\0\0\0", "null"),
        (0x8180, b"\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\2\x09", "A 192.0.2.9"),
        (0x8180, b"\0\x05\0\x01\0\0\0\x3c\0\x02\xc0\x0c", "alias"),
        (0x8180, b"\0\x01\0\x01\0\0\0\x3c\0\x04" + DATA[1], "pass"),
    ],
)
def test_words(flags: int, answer: bytes, told: str) -> None:
    asked = Question("a.example")
    packet = query(7, asked)
    header = packet[:2] + flags.to_bytes(2) + b"\0\1" + bytes([0, bool(answer)]) + b"\0\0\0\0"
    assert word(header + packet[12:] + (b"\xc0\x0c" + answer if answer else b""), asked) == told


def test_what_is_no_query_gets_no_answer() -> None:
    asked = query(7, Question("a.example"))
    assert reply(asked[:2] + b"\x81\x80" + asked[4:]) == b""
    assert reply(b"\0" * 5) == b""

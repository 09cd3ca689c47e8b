from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sinkhole.errors import SinkholeError
from sinkhole.files import TEMPORARY, Lock, swap_link, sweep, write_atomic


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_write_makes_directories_and_sets_the_mode_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "list.txt"
    before = os.umask(0o077)
    try:
        assert write_atomic(path, b"one\n")
        assert write_atomic(tmp_path / "key", b"secret", 0o600)
    finally:
        os.umask(before)
    assert path.read_bytes() == b"one\n"
    assert path.stat().st_mode & 0o7777 == 0o644
    assert (tmp_path / "key").stat().st_mode & 0o7777 == 0o600
    assert names(path.parent) == ["list.txt"]


def test_a_write_of_the_same_content_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    assert write_atomic(path, iter([b"one\n", b"two\n"]))
    before = path.stat()
    assert not write_atomic(path, b"one\ntwo\n")
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )
    assert write_atomic(path, b"one\ntwO\n")  # of the same size
    assert path.read_bytes() == b"one\ntwO\n"
    assert path.stat().st_ino != before.st_ino
    assert names(tmp_path) == ["list.txt"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    write_atomic(path, b"old")

    def pieces() -> Iterator[bytes]:
        yield b"new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, pieces())
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["list.txt"]


def test_a_write_that_cannot_be_names_the_path(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_bytes(b"")
    for path, why in (
        (tmp_path / "directory", "Is a directory"),
        (tmp_path / "file" / "below", "File exists"),
        (tmp_path / ("x" * 256), "File name too long"),
    ):
        with pytest.raises(SinkholeError, match=f"^cannot write {path}: {why}$"):
            write_atomic(path, b"x")
    assert names(tmp_path) == ["directory", "file"]


def test_a_full_disk_leaves_the_old_file() -> None:
    """The limit on a file's size stands for the disk: the kernel refuses the same way in the middle of a write."""
    script = """
import resource, signal, sys, tempfile
from pathlib import Path
from sinkhole.errors import SinkholeError
from sinkhole.files import write_atomic
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with tempfile.TemporaryDirectory() as directory:
    path = Path(directory, "list.txt")
    write_atomic(path, b"old")
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        write_atomic(path, (bytes(60_000) for _ in range(9)))
    except SinkholeError as error:
        print(str(error) == f"cannot write {path}: File too large")
    print(path.read_bytes(), len(list(Path(directory).iterdir())))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert run.stdout.split("\n") == ["True", "b'old' 1", ""]


@pytest.mark.parametrize("event", ["open", "os.rename"])
def test_a_kill_at_any_step_leaves_the_old_file(tmp_path: Path, event: str) -> None:
    path = tmp_path / "list.txt"
    write_atomic(path, b"old")
    script = """
import os, signal, sys
from pathlib import Path
from sinkhole.files import TEMPORARY, write_atomic
def hook(event, args):
    if event == sys.argv[2] and TEMPORARY in str(args[0]):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
write_atomic(Path(sys.argv[1]), b"new")
"""
    run = subprocess.run([sys.executable, "-c", script, str(path), event], timeout=30, check=False)
    assert run.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert all(name.startswith(TEMPORARY) for name in names(tmp_path) if name != "list.txt")
    assert write_atomic(path, b"new")


def test_a_link_is_swapped_and_left_alone_when_right(tmp_path: Path) -> None:
    link = tmp_path / "current"
    assert swap_link(link, "one")
    assert swap_link(link, Path("two"))
    before = link.lstat()
    assert not swap_link(link, "two")
    assert link.lstat() == before
    assert os.readlink(link) == "two"
    assert names(tmp_path) == ["current"]
    (tmp_path / "taken").mkdir()
    with pytest.raises(SinkholeError, match=f"^cannot write {tmp_path / 'taken'}: Is a directory$"):
        swap_link(tmp_path / "taken", "two")
    assert names(tmp_path) == ["current", "taken"]


def test_a_second_instance_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    path = tmp_path / "state" / "lock"
    with Lock(path):
        with pytest.raises(SinkholeError) as caught, Lock(path):
            pass
        assert str(caught.value) == (
            f"{path} is locked: another sinkhole (process {os.getpid()}) uses {tmp_path / 'state'}"
        )
    with Lock(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_second_instance_may_wait_for_the_first(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = Lock(path)
    first.__enter__()
    release = threading.Timer(0.3, first.__exit__, (None, None, None))
    release.start()
    started = time.monotonic()
    with Lock(path, wait=10):
        assert 0.2 < time.monotonic() - started < 5
        with pytest.raises(SinkholeError, match="is locked"), Lock(path, wait=0.2):
            pass
    release.join()


def test_a_killed_instance_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    script = "import sys, time; from pathlib import Path; from sinkhole.files import Lock\n"
    script += "with Lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(SinkholeError, match=f"process {other.pid}"), Lock(path):
            pass
        other.kill()
    with Lock(path):
        pass


def test_a_lock_that_cannot_be_made_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(SinkholeError, match=f"^cannot lock {tmp_path}: Is a directory$"), Lock(tmp_path):
        pass


def test_sweep_removes_what_crashes_left_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".tmp-0123456789abcdef").write_bytes(b"")
    kept = {"list.txt", ".tmp-mine", ".tmp-0123456789abcdef0", "below"}
    for name in kept - {"below"}:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "below").mkdir()
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept
    sweep(tmp_path / "missing")

"""Files that are old or new and never in between: atomic writes, a swapped symlink, and the lock of one instance.

A write goes to a temporary file in the same directory, is flushed to the disk, takes the final name by ``rename`` and
the directory is flushed too, so a crash at any instant leaves the old content or the new one. What a crash can leave
beside them is a file whose name starts with :data:`TEMPORARY`. An ``OSError`` becomes ``SinkholeError`` with the path.
"""

from __future__ import annotations

import fcntl
import filecmp
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from sinkhole.errors import SinkholeError

#: How the name of every temporary file begins; no finished file is called so.
TEMPORARY = ".tmp-"


def write_atomic(path: Path, data: bytes | Iterable[bytes], mode: int = 0o644, *, flush: bool = True) -> bool:
    """Make ``path`` hold ``data`` with exactly the permissions ``mode``; missing directories are made.

    Returns whether the content changed: a file that already holds these bytes is left alone, its mode and time too.
    Without ``flush`` a power cut may leave a damaged file, which is for content that is checked and can be made again.
    """
    with _replacing(path) as temporary:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.writelines((data,) if isinstance(data, bytes) else data)
            file.flush()
            if path.is_file() and filecmp.cmp(temporary, path, shallow=False):
                return False
            os.fchmod(fd, mode)
            if flush:
                os.fsync(fd)
        _rename(temporary, path, flush)
        return True


def swap_link(link: Path, target: str | Path) -> bool:
    """Make ``link`` a symlink to ``target`` in one step, as ``ln -sfn`` cannot; returns whether that changed it."""
    with _replacing(link) as temporary:
        if link.is_symlink() and os.readlink(link) == str(target):
            return False
        temporary.symlink_to(target)
        _rename(temporary, link)
        return True


def sweep(directory: Path) -> None:
    """Remove what crashes left in a directory in which nobody else writes now."""
    for path in directory.glob(f"{TEMPORARY}{'[0-9a-f]' * 16}"):
        path.unlink(missing_ok=True)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A free temporary name beside ``path``, gone at the end whatever happens."""
    temporary = path.with_name(TEMPORARY + os.urandom(8).hex())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise SinkholeError(f"cannot write {path}: {error.strerror or error}") from error


def _rename(temporary: Path, path: Path, flush: bool = True) -> None:
    os.replace(temporary, path)
    if not flush:
        return
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Lock:
    """``with Lock(state_dir / "lock"):`` holds the directory for one instance; a second one gets a ``SinkholeError``,
    after ``wait`` seconds in which the first may end.

    The kernel drops the lock with the last process that inherited it, so a killed instance leaves nothing to clean up.
    The file stays: removing it would let two instances lock two files of one name.
    """

    def __init__(self, path: Path, wait: float = 0) -> None:
        self.path = path
        self.wait = wait
        self._fd = -1

    def __enter__(self) -> Lock:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise SinkholeError(f"cannot lock {self.path}: {error.strerror}") from error
        end = time.monotonic() + self.wait
        try:
            while not self._taken(fd, last=time.monotonic() >= end):
                time.sleep(0.05)
        except OSError as error:
            holder = os.read(fd, 32).decode("ascii", "replace").strip()
            os.close(fd)
            raise SinkholeError(
                f"{self.path} is locked: another sinkhole (process {holder or 'unknown'}) uses {self.path.parent}"
            ) from error
        os.truncate(fd, 0)
        os.write(fd, b"%d\n" % os.getpid())
        self._fd = fd
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._fd)

    @staticmethod
    def _taken(fd: int, *, last: bool) -> bool:
        """Whether the lock is ours; on the last attempt somebody else's is an OSError."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if last:
                raise
            return False
        return True

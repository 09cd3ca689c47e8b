"""Hashes of large files, remembered for as long as a file is the same one: by its inode, size and times.

A damaged or missing record costs time and nothing else: what is not in it is hashed.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path

from sinkhole.errors import SinkholeError
from sinkhole.files import write_atomic

#: For so many nanoseconds after a change another one may leave the same time: two ticks of the kernel's clock, or of
#: that of a file system which counts in seconds.
_TICK, _COARSE = 20_000_000, 4_000_000_000


def seal(path: str | os.PathLike[str] | int) -> str:
    """What is another text after every change of a file; empty for one that changed just now. Raises OSError."""
    status = os.stat(path)
    changed = status.st_ctime_ns
    settled = 0 <= changed < time.time_ns() - (_TICK if changed % 1_000_000 else _COARSE)
    return _seal(status) if settled else ""


def _seal(status: os.stat_result) -> str:
    return f"{status.st_dev}.{status.st_ino}.{status.st_size}.{status.st_mtime_ns}.{status.st_ctime_ns}"


class Seals:
    """The hashes kept in the file ``path``; without one, for the life of this object."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._known: dict[str, tuple[str, str]] = {}
        self._used: dict[str, tuple[str, str]] = {}
        if path:
            with suppress(OSError, ValueError, TypeError, AttributeError):
                kept = json.loads(path.read_bytes())
                self._known = {str(name): (str(sealed), str(sha256)) for name, (sealed, sha256) in kept.items()}

    def sha256(self, path: Path) -> str:
        """The hash of the file at ``path``. Raises OSError."""
        sealed, name = seal(path), str(path)
        if sealed and (known := self._known.get(name)) and known[0] == sealed:
            self._used[name] = known
            return known[1]
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if sealed:
            self._known[name] = self._used[name] = sealed, found
        return found

    def put(self, path: Path, sha256: str) -> None:
        """Remember the hash of a file that this process wrote and nobody changes."""
        with suppress(OSError):
            self._known[str(path)] = self._used[str(path)] = _seal(os.stat(path)), sha256

    def save(self) -> None:
        """Keep what was asked for since the file was read, and nothing else."""
        if self.path:
            with suppress(SinkholeError):  # a full disk costs time here, and whatever else is written says so
                write_atomic(self.path, json.dumps(self._used, indent=0, sort_keys=True).encode(), flush=False)

"""An append-only record of decisions, each line chained to the one before, so that a later edit shows.

A file of JSON lines. ``hash`` is the sha256 of the line's other members, and ``previous`` the hash of the line before;
so whoever knows the last hash knows the whole file. What the chain alone cannot show is that lines were cut off the
end: :func:`read` tells the head, to be compared with one that was kept elsewhere.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from sinkhole.errors import JournalError, SinkholeError
from sinkhole.files import Lock

#: What the first line has as ``previous``.
START = "0" * 64
#: Octets of a journal that is still read, and of one line: a hundred thousand decisions.
MAX_SIZE, MAX_LINE = 64 << 20, 32 << 10


class Record(NamedTuple):
    """One decision: ``number`` from 1, ``at`` an ISO 8601 instant, ``who`` decided ``what``, on which ``entry``, and
    the entry before and after (None: there was, or is, none)."""

    number: int
    at: str
    who: str
    what: str
    entry: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    previous: str

    @property
    def hash(self) -> str:
        return hashlib.sha256(_json(self._asdict())).hexdigest()

    def line(self) -> bytes:
        return _json({**self._asdict(), "hash": self.hash}) + b"\n"


def read(path: Path) -> tuple[Record, ...]:
    """Every record of a journal, verified; none when there is no file.

    A last line without its end was never acknowledged (a power cut met its writing) and does not count. Raises
    :class:`~sinkhole.errors.JournalError` with the line that is not what was written.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_SIZE + 1)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise SinkholeError(f"cannot read {path}: {error.strerror}") from error
    if len(text) > MAX_SIZE:
        raise JournalError(f"{path}: larger than {MAX_SIZE >> 20} MiB")
    return tuple(_records(path, text))


def head(records: tuple[Record, ...]) -> str:
    """The hash that stands for all of ``records``."""
    return records[-1].hash if records else START


def _records(path: Path, text: bytes) -> Iterator[Record]:
    previous = START
    for number, line in enumerate(text.split(b"\n")[:-1], 1):
        try:
            data = json.loads(line)
            said = data.pop("hash")
            record = Record(**data)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            raise JournalError(f"{path}:{number}: not a record of this journal") from None
        if record.line() != line + b"\n" or record.hash != said:
            raise JournalError(f"{path}:{number}: this line was changed after it was written")
        if record.number != number or record.previous != previous:
            raise JournalError(f"{path}:{number}: a line before this one was changed, removed or added")
        previous = said
        yield record


class Open:
    """A journal that this process alone may add to: ``records`` are those so far."""

    def __init__(self, path: Path, records: tuple[Record, ...]) -> None:
        self.path = path
        self.records = records
        self._size = sum(len(record.line()) for record in records)

    def add(
        self, at: datetime, who: str, what: str, entry: str, before: dict[str, Any] | None, after: dict[str, Any]
    ) -> Record:
        """Write one record to the disk. Raises SinkholeError; then the journal is as it was."""
        number = len(self.records) + 1
        record = Record(number, at.isoformat(), who, what, entry, before, after, head(self.records))
        line = record.line()
        if len(line) > MAX_LINE:
            raise SinkholeError(f"a record of {len(line)} octets; {MAX_LINE} are allowed")
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.ftruncate(fd, self._size)  # drops the part of a line that a power cut left
                if os.pwrite(fd, line, self._size) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise SinkholeError(f"cannot write {self.path}: {error.strerror}") from error
        self.records = (*self.records, record)
        self._size += len(line)
        return record


@contextmanager
def open_for_writing(path: Path) -> Iterator[Open]:
    """The journal at ``path``, verified and locked. Raises :class:`~sinkhole.errors.JournalError` and SinkholeError."""
    with Lock(path.with_suffix(".lock")):
        yield Open(path, read(path))


def _json(data: dict[str, Any]) -> bytes:
    return json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()

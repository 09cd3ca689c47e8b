"""Publish lists as files: ``<dir>/<format>/<list>.<suffix>``, ``<dir>/index.json``, and a page for people.

The same lists give the same bytes: no clock is read, a header says when the list's own content changed. Every file is
replaced in one step, an unchanged one is left alone, and one whose list is gone is removed, with what stands beside it:
a compressed twin, a signature.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from sinkhole.compiler.compile import Compiled
from sinkhole.errors import FormatError, SinkholeError
from sinkhole.exports import INDEX, README, readme
from sinkhole.exports.allowing import exceptions
from sinkhole.exports.fit import Fitted, fit_ready
from sinkhole.exports.loss import Loss
from sinkhole.exports.readme import Section
from sinkhole.exports.render import render
from sinkhole.exports.signing import SUFFIX, Key
from sinkhole.exports.subject import Subject, of_list
from sinkhole.files import write_atomic
from sinkhole.formats import FORMATS, rpz
from sinkhole.formats.format import Format

GZIP = ".gz"
_SERIAL = re.compile(rb"^@ SOA \S+ \S+ (\d+) ", re.M)
#: How much of a file holds its header, in octets; how much is read at a time.
_HEAD, _STEP = 65536, 1 << 20
#: How a file of ours may be called.
_PATH = re.compile(r"[a-z0-9-]+/[\w.-]+")
_HEAD_OF_GROUPS = """
`group_…` files are what the policy keeps from one group of clients; they say until when they hold.
"""
_HEAD_OF_KEY = """
Every file has a signature beside it. Check one with `minisign -Vm FILE -P {}`.
"""


class Style(NamedTuple):
    """How files are written: with a compressed twin (``gzip``), and signed by ``key``."""

    gzip: bool = False
    key: Key | None = None


PLAIN = Style()


class Published(NamedTuple):
    """One file as ``index.json`` lists it: ``about`` is its list, or its group and instant; ``beside`` are the paths
    and hashes of what belongs to it. ``changed``: it is not what it was before."""

    about: Mapping[str, Any]
    format: str
    path: str
    bytes: int
    rules: int
    sha256: str
    version: str
    loss: Loss
    beside: Mapping[str, str]
    changed: bool = False

    @property
    def whose(self) -> tuple[str, bool]:
        """The id of its list or group, and whether it is a group."""
        return (self.about["group"], True) if "group" in self.about else (self.about["list"], False)

    def data(self) -> dict[str, Any]:
        found = {**self.about, **self._asdict(), "loss": self.loss.data()}
        left_out = ("about", "changed", *(() if self.beside else ("beside",)))
        return {name: value for name, value in found.items() if name not in left_out}


def published(data: Mapping[str, Any]) -> Published:
    """The inverse of :meth:`Published.data`."""
    own = {name: data[name] for name in Published._fields if name in data}
    about = {name: value for name, value in data.items() if name not in own}
    return Published(**{"beside": {}, **own, "about": about, "loss": Loss(**data["loss"])})


#: The files of one list or group, with what the page says of it.
Shelf = tuple[Section, list[Published]]


def publish(
    directory: Path,
    lists: Iterable[Compiled | Subject],
    formats: Iterable[Format],
    *,
    style: Style = PLAIN,
    standing: Iterable[Shelf] = (),
    keep: bool = True,
) -> list[Published]:
    """Write every list in every format that has a word for any of its rules; returns what is there now, by path.

    ``standing`` files are there already and stay. Not ``keep``: change nothing, and return what would be there.
    """
    formats = tuple(formats)
    shelves = list(standing)
    for each in lists:
        subject = _subject(each)  # one list at a time: names take some megabytes
        files = [_publish(directory, subject, format, style, keep) for format in formats if is_stated(subject, format)]
        shelves.append((subject.section, files))
    files = sorted(chain.from_iterable(files for _, files in shelves), key=lambda file: file.path)
    if keep:
        former = _read_index(directory)
        _write_index(directory, files, style)
        _remove_old(directory, former, files, style)
        _write_page(directory, shelves, style)
    return files


def is_stated(subject: Subject, format: Format) -> bool:
    """Whether a format has a word for any rule of a list."""
    if subject.allows and not exceptions(format):
        return False
    return bool(format.lines) or any(map(format.special, subject.special))


def _write_index(directory: Path, files: Iterable[Published], style: Style) -> None:
    index: dict[str, Any] = {"exports": [file.data() for file in files]}
    if style.key:
        index["public-key"] = style.key.name
    text = (json.dumps(index, ensure_ascii=False, indent=1) + "\n").encode()
    write_atomic(directory / INDEX, text)
    if style.key:
        write_atomic(directory / (INDEX + SUFFIX), style.key.sign([text], f"file:{INDEX}"))


def _write_page(directory: Path, shelves: Iterable[Shelf], style: Style) -> None:
    """Write the page for people, unless there is one that somebody else wrote."""
    ordered = [(section, sorted(files, key=lambda file: file.path)) for section, files in shelves if files]
    ordered.sort(key=lambda shelf: shelf[1][0].whose[::-1])
    sections = [
        (section, [readme.File(FORMATS[file.format], file.path, file.rules, file.loss) for file in files])
        for section, files in ordered
    ]
    head = _HEAD_OF_GROUPS if any(files[0].whose[1] for _, files in ordered) else ""
    head += _HEAD_OF_KEY.format(style.key.name) if style.key else ""
    path = directory / README
    if not path.exists() or _read_head(path).startswith(readme.MARK):
        write_atomic(path, readme.page(sections, head))


def _publish(directory: Path, subject: Subject, format: Format, style: Style, keep: bool) -> Published:
    path = f"{format.name}/{subject.name}.{format.suffix}"
    fitted, pieces = export(subject, format, directory / path)
    digest, size = hashlib.sha256(), 0

    def measured() -> Iterator[bytes]:
        nonlocal size
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            yield piece

    changed, beside = False, {}
    if keep:
        for place in (directory, directory / format.name):
            _open(place)
        changed = write_atomic(directory / path, measured())
        beside = dict(_write_beside(directory, path, subject.header.version, style))
    else:
        deque(measured(), maxlen=0)
    return Published(
        subject.about, format.name, path, size, fitted.rules, digest.hexdigest(),
        subject.header.version, fitted.loss, beside, changed,
    )  # fmt: skip


def _open(directory: Path) -> None:
    """Make a directory that others may read, as they may the files in it, whatever the umask of a service is."""
    if not directory.is_dir():
        directory.mkdir(parents=True)
        directory.chmod(0o755)


def _write_beside(directory: Path, path: str, version: str, style: Style) -> Iterator[tuple[str, str]]:
    """Write the twin and the signature of a file; (path, sha256) of each."""
    made = []
    if style.gzip:
        made.append((path + GZIP, b"".join(_gzipped(_read(directory / path)))))
    if style.key:
        made.append((path + SUFFIX, style.key.sign(_read(directory / path), f"file:{path}\tversion:{version}")))
    for name, content in made:
        write_atomic(directory / name, content)
        yield name, hashlib.sha256(content).hexdigest()


def _gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same as gzip -n makes it: without a name and a time (RFC 1952 2.3.1)."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    yield from map(packer.compress, pieces)
    yield packer.flush()


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_STEP):
            yield piece


def export(
    what: Compiled | Subject, format: Format, previous: Path | None = None, per_line: int = 1
) -> tuple[Fitted, Iterable[bytes]]:
    """One list in one format, with ``per_line`` names in a line: what it states, and the pieces of the file.

    The serial of a zone follows from the list's date, and passes that of ``previous`` when the content differs from it.
    """
    subject = _subject(what)
    if subject.allows:
        if not (stated := exceptions(format)):
            raise FormatError(f"{subject.name} is a list of type allow, which no file of the format {format.name} is")
        format = stated
    fitted = fit_ready(subject.ready_for(format), subject.hosts, format, subject.special)
    fitted.loss.special += subject.left_out
    fitted.loss.unfit += subject.spared_for(format)
    header = subject.header
    head = _read_head(previous) if previous else b""
    if found := _SERIAL.search(head):
        same = f"Version: {header.version}\n".encode() in head
        header = header._replace(serial=rpz.serial_after(int(found[1]), header.serial, same=same))
    return fitted, render(fitted, format, header, per_line)


def _subject(what: Compiled | Subject) -> Subject:
    return of_list(what) if isinstance(what, Compiled) else what


def _read_head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise SinkholeError(f"cannot read {path}: {error.strerror}") from error


def _read_index(directory: Path) -> dict[str, Any]:
    try:
        index: dict[str, Any] = json.loads((directory / INDEX).read_bytes())
        return index if isinstance(index, dict) else {}
    except (OSError, ValueError):
        return {}


def _remove_old(directory: Path, former: Mapping[str, Any], files: Iterable[Published], style: Style) -> None:
    """Remove what the last index lists and this one does not; nothing else in the directory is ours to touch."""
    paths = {path for file in files for path in (file.path, *file.beside)}
    entries = former.get("exports")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            beside = entry.get("beside")
            for path in (entry.get("path"), *(beside if isinstance(beside, dict) else ())):
                if isinstance(path, str) and path not in paths and _PATH.fullmatch(path):
                    (directory / path).unlink(missing_ok=True)
    if "public-key" in former and not style.key:
        (directory / (INDEX + SUFFIX)).unlink(missing_ok=True)

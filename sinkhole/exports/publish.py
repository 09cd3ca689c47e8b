"""Publish lists as files: ``<dir>/<format>/<list>.<suffix>``, ``<dir>/index.json``, and a page for people.

The same lists give the same bytes: no clock is read, a header says when the list's own content changed. Every file is
replaced in one step, an unchanged one is left alone, and one whose list is gone is removed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sinkhole.compiler.compile import Compiled
from sinkhole.compiler.planned import ListPlan
from sinkhole.errors import FormatError, SinkholeError
from sinkhole.exports import INDEX, README, readme
from sinkhole.exports.allowing import exceptions
from sinkhole.exports.fit import Fitted, fit_ready
from sinkhole.exports.loss import Loss
from sinkhole.exports.render import render
from sinkhole.exports.sparing import DENYING, spared
from sinkhole.exports.special import Ready
from sinkhole.files import write_atomic
from sinkhole.formats import FORMATS, rpz
from sinkhole.formats.format import Format, Header
from sinkhole.names import key

_EXPIRES = "1 day"
_SERIAL = re.compile(rb"^@ SOA \S+ \S+ (\d+) ", re.M)
#: How much of a file holds its header, in octets.
_HEAD = 65536


class Published(NamedTuple):
    """One file as ``index.json`` lists it."""

    list: str
    format: str
    path: str
    bytes: int
    rules: int
    sha256: str
    version: str
    loss: Loss

    def data(self) -> dict[str, Any]:
        return {**self._asdict(), "loss": self.loss.data()}


def publish(
    directory: Path, lists: Iterable[Compiled], formats: Iterable[Format], *, keep: bool = True
) -> list[Published]:
    """Write every list in every format that has a word for any of its rules; returns what is there now, by path.

    Not ``keep``: change nothing, and return what would be there.
    """
    published = []
    plans = []
    formats = tuple(formats)
    for compiled in lists:
        plans.append(compiled.plan)
        ready = _ready(compiled)  # one list at a time: names take some megabytes
        usable = formats if not compiled.plan.allows else [each for each in formats if exceptions(each)]
        published += [
            _publish(directory, compiled, format, ready, keep)
            for format in usable
            if format.lines or any(map(format.special, compiled.special))
        ]
    published.sort(key=lambda file: file.path)
    if keep:
        _remove_old(directory, {file.path for file in published})
        text = json.dumps({"exports": [file.data() for file in published]}, ensure_ascii=False, indent=1) + "\n"
        write_atomic(directory / INDEX, text.encode())
        _write_page(directory, plans, published)
    return published


def _write_page(directory: Path, plans: Iterable[ListPlan], published: Iterable[Published]) -> None:
    """Write the page for people, unless there is one that somebody else wrote."""
    files: dict[str, list[tuple[Format, str, int, Loss]]] = {}
    for file in published:
        files.setdefault(file.list, []).append((FORMATS[file.format], file.path, file.rules, file.loss))
    path = directory / README
    if not path.exists() or _read_head(path).startswith(readme.MARK):
        write_atomic(path, readme.page(plans, files))


def _publish(directory: Path, compiled: Compiled, format: Format, ready: Ready, keep: bool) -> Published:
    path = f"{format.name}/{compiled.plan.id}.{format.suffix}"
    fitted, pieces = export(compiled, format, directory / path, ready=ready)
    digest, size = hashlib.sha256(), 0

    def measured() -> Iterator[bytes]:
        nonlocal size
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            yield piece

    if keep:
        write_atomic(directory / path, measured())
    else:
        deque(measured(), maxlen=0)
    rules = fitted.rules
    hexadecimal = digest.hexdigest()
    return Published(compiled.plan.id, format.name, path, size, rules, hexadecimal, compiled.version, fitted.loss)


def export(
    compiled: Compiled, format: Format, previous: Path | None = None, per_line: int = 1, ready: Ready | None = None
) -> tuple[Fitted, Iterable[bytes]]:
    """One list in one format, with ``per_line`` names in a line: what it states, and the pieces of the file.

    The serial of a zone follows from the list's date, and passes that of ``previous`` when the content differs from it.
    """
    if compiled.plan.allows:
        if not (stated := exceptions(format)):
            raise FormatError(
                f"{compiled.plan.id} is a list of type allow, which no file of the format {format.name} is"
            )
        format = stated
    ready = ready or _ready(compiled)
    lost = Loss()
    if format.name not in DENYING and not compiled.plan.allows:
        ready = spared(ready, [key(name.encode()) for name in compiled.plan.protected], lost)
    fitted = fit_ready(ready, compiled.hosts, format, compiled.special)
    fitted.loss.add(lost)
    header = _header(compiled)
    head = _read_head(previous) if previous else b""
    if found := _SERIAL.search(head):
        same = f"Version: {header.version}\n".encode() in head
        header = header._replace(serial=rpz.serial_after(int(found[1]), header.serial, same=same))
    return fitted, render(fitted, format, header, per_line)


def _ready(compiled: Compiled) -> Ready:
    return Ready(compiled.resolved, compiled.masks())


def _read_head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise SinkholeError(f"cannot read {path}: {error.strerror}") from error


def _header(compiled: Compiled) -> Header:
    plan = compiled.plan
    sources = [report.source for report in compiled.reports]
    licenses = dict.fromkeys([plan.license, *(source.license for source in sources)])
    return Header(
        title=plan.title or plan.id,
        description=plan.description,
        homepage=plan.homepage,
        license=", ".join(filter(None, licenses)),
        expires=_EXPIRES,
        modified=plan.updated,
        version=compiled.version,
        serial=int(plan.updated.replace("-", "") + "00") if plan.updated else 1,
        notes=[f"{source.title or source.id}: {source.homepage}" for source in sources if source.homepage],
    )


def _remove_old(directory: Path, paths: set[str]) -> None:
    """Remove what the last index lists and this one does not; nothing else in the directory is ours to touch."""
    try:
        listed = [entry["path"] for entry in json.loads((directory / INDEX).read_bytes())["exports"]]
    except (OSError, ValueError, KeyError, TypeError):
        return
    for path in listed:
        if isinstance(path, str) and path not in paths and re.fullmatch(r"[a-z0-9-]+/[\w.-]+", path):
            (directory / path).unlink(missing_ok=True)

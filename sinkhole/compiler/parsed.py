"""What texts came to, kept so that a text that did not change is not read again.

::

    <directory>/<digest>    one text as one list means it: the sha256 of the rest in hex, a line of JSON, and all keys
    <directory>/list-<id>   what one list came to (sinkhole.compiler.merged)

The digest is of everything that the result follows from: the text, how it is read, the fence around feeds and the
program itself. So an entry is never out of date, only of no more use. One that is missing or damaged is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, BinaryIO

from sinkhole.compiler.guard import Fence, Quarantined
from sinkhole.compiler.merged import Merged, dumped, loaded
from sinkhole.compiler.parallel import Helper
from sinkhole.compiler.planned import SourcePlan
from sinkhole.compiler.ranges import Ranges
from sinkhole.compiler.source import SourceReport, SourceRules, Text, read_source
from sinkhole.compiler.tool import tool
from sinkhole.errors import FormatError, SinkholeError
from sinkhole.files import TEMPORARY, write_atomic
from sinkhole.rules import Kind, On, Rank, Rule, Scope, Skipped, Special

#: What :meth:`Cache.read` is asked for.
Wanted = tuple[SourcePlan, Text, bool, Fence]

#: Texts of fewer octets than this together are read before a helper has begun.
_WORTH_HELP = 4 << 20


class Cache:
    """The entries below ``directory``; without one, nothing is kept, and with ``keep`` false nothing new."""

    def __init__(self, directory: Path | None = None, *, keep: bool = True) -> None:
        self.directory = directory
        self.keep = keep
        self._used: set[str] = set()
        self._coming: dict[str, Helper] = {}

    def ahead(self, wanted: Iterable[Wanted], helpers: int) -> None:
        """Begin to read what is wanted next, in processes of their own: all but the first part, which is the caller's.
        Each takes a part of those that have no entry yet."""
        if self.directory is None or not self.keep or helpers < 1:
            return
        missing = {name: asked for asked in wanted if not self._path(name := _name(*asked)).exists()}
        sizes = {name: asked[1].path.stat().st_size for name, asked in missing.items()}
        if (total := sum(sizes.values())) < _WORTH_HELP:
            return
        parts: dict[int, list[str]] = {}
        for name, before in zip(sizes, accumulate(sizes.values(), initial=0), strict=False):
            parts.setdefault((helpers + 1) * before // total, []).append(name)
        for number, names in parts.items():
            if number:
                helper = Helper(partial(self._read_all, {name: missing[name] for name in names}))
                self._coming |= dict.fromkeys(names, helper)

    def _read_all(self, wanted: Mapping[str, Wanted], said: BinaryIO) -> None:
        """What a helper does: make entries, and say the name of each."""
        for name, asked in wanted.items():
            with suppress(FormatError):
                self._make(name, *asked)
            said.write(name.encode() + b"\n")
            said.flush()

    def close(self) -> None:
        """End what is still being read ahead."""
        for helper in set(self._coming.values()):
            helper.close()
        self._coming.clear()

    def read(self, source: SourcePlan, text: Text, allows: bool, fence: Fence) -> SourceRules:
        """:func:`~sinkhole.compiler.source.read_source`, or what it gave before."""
        if self.directory is None:
            return read_source(source, text, allows, fence)
        name = _name(source, text, allows, fence)
        self._used.add(name)
        if helper := self._coming.pop(name, None):
            for line in helper.said:
                if line == name.encode() + b"\n":
                    break
            if helper not in self._coming.values():
                helper.close()
        with suppress(OSError, ValueError, TypeError, LookupError):
            return _loaded(self._path(name).read_bytes(), source, text)._replace(name=name)
        return self._make(name, source, text, allows, fence)._replace(name=name)

    def keys(self, name: str) -> Mapping[Kind, Ranges] | None:
        """The keys of an entry, if there is one."""
        with suppress(OSError, ValueError, TypeError, LookupError):
            return _keys(*_checked(self._path(name).read_bytes()))
        return None

    def merged(self, list_id: str) -> Merged | None:
        """What a list came to in the last build that kept it."""
        if self.directory:
            self._used.add(name := _list_name(list_id))
            with suppress(OSError, ValueError, TypeError, LookupError):
                return loaded(self._path(name).read_bytes())
        return None

    def keep_merged(self, list_id: str, merged: Merged) -> None:
        """Keep what a list came to."""
        if self.directory and self.keep:
            with suppress(SinkholeError):
                write_atomic(self._path(_list_name(list_id)), dumped(merged), flush=False)

    def _make(self, name: str, source: SourcePlan, text: Text, allows: bool, fence: Fence) -> SourceRules:
        rules = read_source(source, text, allows, fence)
        if self.keep:
            with suppress(SinkholeError):  # a full disk costs time here, and the bundle says so if it matters
                write_atomic(self._path(name), _dumped(rules), flush=False)
        return rules

    def _path(self, name: str) -> Path:
        assert self.directory
        return self.directory / name

    def prune(self) -> None:
        """Remove what this instance did not use, and what a crash left."""
        if self.directory and self.directory.is_dir():
            for entry in os.scandir(self.directory):
                if entry.name not in self._used or entry.name.startswith(TEMPORARY):
                    Path(entry.path).unlink(missing_ok=True)


def _name(source: SourcePlan, text: Text, allows: bool, fence: Fence) -> str:
    """The name of an entry: a hash of all that it follows from."""
    asked = (tool(), text.sha256, source.format, source.subdomains, allows, fence.portable)
    return hashlib.sha256(repr(asked).encode()).hexdigest()


def _dumped(rules: SourceRules) -> list[bytes]:
    facts = rules.report._asdict()
    del facts["source"], facts["sha256"]
    head = {
        **facts,
        "kinds": [(kind, list(map(len, ranges))) for kind, ranges in rules.keys.items()],
        "special": rules.special,
        "disabled": rules.disabled,
    }
    rest = [b"\n", json.dumps(head).encode(), b"\n", *(text for ranges in rules.keys.values() for text in ranges)]
    digest = hashlib.sha256()
    for piece in rest:
        digest.update(piece)
    return [digest.hexdigest().encode(), *rest]


def _list_name(list_id: str) -> str:
    return f"list-{hashlib.sha256(list_id.encode()).hexdigest()[:16]}"


def _checked(data: bytes) -> tuple[bytes, int, dict[str, Any]]:
    """An entry, the place of its keys, and all else in it; raises ValueError when it is none."""
    digest = hashlib.sha256(memoryview(data)[64:]).hexdigest()
    if data[:64] != digest.encode():
        raise ValueError("damaged")
    end = data.find(b"\n", 65)
    facts: dict[str, Any] = json.loads(data[65:end])
    return data, end + 1, facts


def _keys(data: bytes, start: int, facts: Mapping[str, Any]) -> dict[Kind, Ranges]:
    keys: dict[Kind, Ranges] = {}
    for kind, lengths in facts["kinds"]:
        places = list(accumulate(lengths, initial=start))
        keys[_kind(kind)] = [data[at:to] for at, to in pairwise(places)]
        start = places[-1]
    return keys


def _loaded(data: bytes, source: SourcePlan, text: Text) -> SourceRules:
    """The rules in an entry; raises ValueError, TypeError or LookupError when it is none."""
    data, start, facts = _checked(data)
    keys = _keys(data, start, facts)
    del facts["kinds"]
    special, disabled = (facts.pop(name) for name in ("special", "disabled"))
    report = SourceReport(
        **{
            **facts,
            "source": source,
            "sha256": text.sha256,
            "samples": tuple(Skipped(*sample) for sample in facts["samples"]),
            "quarantined": tuple(Quarantined(_rule(rule), why) for rule, why in facts["quarantined"]),
        }
    )
    return SourceRules(keys, tuple(map(_special, special)), tuple(map(_rule, disabled)), report)


def _kind(fields: list[int]) -> Kind:
    scope, allow, rank = fields
    return Kind(Scope(scope), bool(allow), Rank(rank))


def _rule(fields: list[Any]) -> Any:
    """A rule or a special rule, whichever the fields are of."""
    return Rule(fields[0], _kind(fields[1])) if len(fields) == len(Rule._fields) else _special(fields)


def _special(fields: list[Any]) -> Special:
    line, on, what, kind, *conditions, answer = fields
    types, clients, tags, except_names = map(tuple, conditions)
    return Special(line, On(on), what, _kind(kind), types, clients, tags, except_names, answer)

"""What texts came to, kept so that a text that did not change is not read again.

::

    <directory>/<digest>    one text as one list means it
    <directory>/list-<id>   what one list came to

The digest is of everything that the result follows from: the text, how it is read, the fence around feeds and the
program itself. So an entry is never out of date, only of no more use. One that is missing or damaged is made again.
The files are those of :mod:`sinkhole.compiler.merged`: their keys are read when somebody needs them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property, partial
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

from sinkhole.compiler.guard import Fence, Quarantined
from sinkhole.compiler.merged import Kept, Merged, Plain, dumped, kept
from sinkhole.compiler.parallel import Helper
from sinkhole.compiler.planned import SourcePlan
from sinkhole.compiler.ranges import COUNT, Ranges
from sinkhole.compiler.source import SourceReport, SourceRules, Text, read_source
from sinkhole.compiler.tally import Difference, difference
from sinkhole.compiler.tool import tool
from sinkhole.errors import FormatError, SinkholeError
from sinkhole.files import TEMPORARY, write_atomic
from sinkhole.rules import Kind, On, Rank, Rule, Scope, Skipped, Special

#: What :meth:`Cache.read` is asked for.
Wanted = tuple[SourcePlan, Text, bool, Fence]

#: What shows that an entry is missing or damaged.
_UNUSABLE = (OSError, ValueError, TypeError, LookupError)

#: Texts of fewer octets than this together are read before a helper has begun.
_WORTH_HELP = 4 << 20


class Cache:
    """The entries below ``directory``; without one, nothing is kept, and with ``keep`` false nothing new."""

    def __init__(self, directory: Path | None = None, *, keep: bool = True) -> None:
        self.directory = directory
        self.keep = keep
        self._used: set[str] = set()
        self._coming: dict[str, Helper] = {}
        self._differences: dict[tuple[str | None, str | None], list[list[Difference]]] = {}

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
        make = partial(self._make, name, source, text, allows, fence)
        with suppress(*_UNUSABLE):
            return _loaded(kept(self._path(name)), source, text, lambda: make().keys)._replace(name=name)
        return make()._replace(name=name)

    def difference(self, one: str | None, other: str | None) -> list[list[Difference]] | None:
        """What the second of two entries has and the first has not, and the other way round, by range; of None, which
        has nothing, too. None when the keys of one are not there."""
        if self.directory is None:
            return None
        if (one, other) not in self._differences:
            try:
                before, now = (_keys(kept(self._path(name))) if name else {} for name in (one, other))
            except _UNUSABLE:
                return None
            self._differences[one, other] = difference(before, now)
        return self._differences[one, other]

    def merged(self, list_id: str) -> Merged | None:
        """What a list came to in the last build that kept it."""
        if self.directory:
            self._used.add(name := _list_name(list_id))
            with suppress(*_UNUSABLE):
                facts = kept(self._path(name)).facts
                sources, kinds = tuple(facts["sources"]), tuple(map(_kind, facts["kinds"]))
                return Merged(**{name: facts[name] for name in Merged._fields} | {"sources": sources, "kinds": kinds})
        return None

    def parts(self, list_id: str) -> list[Plain] | None:
        """The ranges of that, unless they are damaged."""
        with suppress(*_UNUSABLE):
            texts, tallies, codes = kept(self._path(_list_name(list_id))).columns()
            if len(texts) == COUNT:
                return list(zip(texts, tallies, codes, strict=True))
        return None

    def keep_merged(self, list_id: str, merged: Merged, parts: Iterable[Plain]) -> None:
        """Keep what a list came to."""
        if self.directory and self.keep:
            data = dumped(merged._asdict(), zip(*parts, strict=True))
            with suppress(SinkholeError):
                write_atomic(self._path(_list_name(list_id)), data, flush=False)

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
    kinds = list(rules.keys)
    return dumped(
        {**facts, "kinds": kinds, "special": rules.special, "disabled": rules.disabled},
        map(rules.keys.__getitem__, kinds),
    )


def _list_name(list_id: str) -> str:
    return f"list-{hashlib.sha256(list_id.encode()).hexdigest()[:16]}"


def _keys(found: Kept) -> dict[Kind, Ranges]:
    return dict(zip(map(_kind, found.facts["kinds"]), found.columns(), strict=True))


class _Later(Mapping[Kind, Ranges]):
    """The keys of an entry, read when somebody asks for them; ``make`` makes those of a damaged one."""

    def __init__(self, found: Kept, make: Callable[[], Mapping[Kind, Ranges]]) -> None:
        self._found, self._make = found, make

    @cached_property
    def _keys(self) -> Mapping[Kind, Ranges]:
        with suppress(*_UNUSABLE):
            return _keys(self._found)
        return self._make()

    def __getitem__(self, kind: Kind) -> Ranges:
        return self._keys[kind]

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def _loaded(found: Kept, source: SourcePlan, text: Text, make: Callable[[], Mapping[Kind, Ranges]]) -> SourceRules:
    """The rules in an entry; raises ValueError, TypeError or LookupError when it is none."""
    facts = {name: value for name, value in found.facts.items() if name not in ("kinds", "sizes", "check")}
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
    return SourceRules(_Later(found, make), tuple(map(_special, special)), tuple(map(_rule, disabled)), report)


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

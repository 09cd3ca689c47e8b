"""What texts came to, kept so that a text that did not change is not read again.

::

    <directory>/<digest>   one text as one list means it: the sha256 of the rest in hex, a line of JSON, and all keys

The digest is of everything that the result follows from: the text, how it is read, the fence around feeds and the
program itself. So an entry is never out of date, only of no more use. One that is missing or damaged is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from sinkhole.compiler.guard import Fence, Quarantined
from sinkhole.compiler.plan import SourcePlan
from sinkhole.compiler.ranges import Ranges
from sinkhole.compiler.source import SourceReport, SourceRules, Text, read_source
from sinkhole.compiler.tool import tool
from sinkhole.errors import SinkholeError
from sinkhole.files import TEMPORARY, write_atomic
from sinkhole.rules import Kind, On, Rank, Rule, Scope, Skipped, Special


class Cache:
    """The entries below ``directory``; without one, nothing is kept, and with ``keep`` false nothing new."""

    def __init__(self, directory: Path | None = None, *, keep: bool = True) -> None:
        self.directory = directory
        self.keep = keep
        self._used: set[str] = set()

    def read(self, source: SourcePlan, text: Text, allows: bool, fence: Fence) -> SourceRules:
        """:func:`~sinkhole.compiler.source.read_source`, or what it gave before."""
        if self.directory is None:
            return read_source(source, text, allows, fence)
        asked = (tool(), text.sha256, source.format, source.subdomains, allows, fence.portable)
        name = hashlib.sha256(repr(asked).encode()).hexdigest()
        path = self.directory / name
        self._used.add(name)
        with suppress(OSError, ValueError, TypeError, LookupError):
            return _loaded(path.read_bytes(), source, text)
        rules = read_source(source, text, allows, fence)
        if self.keep:
            with suppress(SinkholeError):  # a full disk costs time here, and the bundle says so if it matters
                write_atomic(path, _dumped(rules), flush=False)
        return rules

    def prune(self) -> None:
        """Remove what this instance did not use, and what a crash left."""
        if self.directory and self.directory.is_dir():
            for entry in os.scandir(self.directory):
                if entry.name not in self._used or entry.name.startswith(TEMPORARY):
                    Path(entry.path).unlink(missing_ok=True)


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


def _loaded(data: bytes, source: SourcePlan, text: Text) -> SourceRules:
    """The rules in an entry; raises ValueError, TypeError or LookupError when it is none."""
    digest = hashlib.sha256(memoryview(data)[64:]).hexdigest()
    if data[:64] != digest.encode():
        raise ValueError("damaged")
    end = data.find(b"\n", 65)
    facts: dict[str, Any] = json.loads(data[65:end])
    keys: dict[Kind, Ranges] = {}
    for kind, lengths in facts.pop("kinds"):
        places = list(accumulate(lengths, initial=end + 1))
        keys[_kind(kind)] = [data[at:to] for at, to in pairwise(places)]
        end = places[-1] - 1
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

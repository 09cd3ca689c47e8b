"""One source: its text read, given the meaning that it has in its list, and guarded."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sinkhole.compiler.blocklist import keys_of
from sinkhole.compiler.guard import Fence, Quarantined, guard, guard_special
from sinkhole.compiler.planned import SourcePlan
from sinkhole.compiler.ranges import Ranges, count, cut
from sinkhole.feeds.body import shown
from sinkhole.rules import Kind, Rule, Scope, Skipped, Special


class Text(NamedTuple):
    """A source's text: the file that holds it, as :mod:`sinkhole.feeds.store` or a bundle keeps it, and its sha256."""

    path: Path
    sha256: str


class SourceReport(NamedTuple):
    """What became of one source: a function of its text alone, so that the same text gives the same report.

    ``rules`` counts what was read, ``distinct`` what is left of that without what was refused.
    """

    source: SourcePlan
    sha256: str
    format: str
    bytes: int
    lines: int
    rules: int
    distinct: int
    skipped: Mapping[str, int]
    samples: tuple[Skipped, ...]
    quarantined: tuple[Quarantined, ...]

    def data(self) -> dict[str, Any]:
        """The report as the manifest keeps it."""
        return {
            "id": self.source.id,
            "location": shown(self.source.location) if "://" in self.source.location else self.source.id,
            "title": self.source.title,
            "license": self.source.license,
            "homepage": self.source.homepage,
            "subdomains": self.source.subdomains,
            "sha256": self.sha256,
            "format": self.format,
            "mixed": self.source.format == "auto",
            "bytes": self.bytes,
            "lines": self.lines,
            "rules": self.rules,
            "skipped": dict(sorted(self.skipped.items())),
            "samples": [sample._asdict() for sample in self.samples],
            "quarantined": [{"rule": str(found.rule), "why": found.why} for found in self.quarantined],
        }


class SourceRules(NamedTuple):
    """The rules of one source: sorted keys by kind, in ranges; special rules; and the rules that it takes back.
    ``name`` is what the cache calls them, where there is one."""

    keys: Mapping[Kind, Ranges]
    special: tuple[Special, ...]
    disabled: tuple[Rule | Special, ...]
    report: SourceReport
    name: str = ""


def read_source(source: SourcePlan, text: Text, allows: bool, fence: Fence) -> SourceRules:
    """Read ``text`` as ``source`` says. ``allows``: the list is of type allow, so every name is simply listed.

    Raises :class:`~sinkhole.errors.FormatError` for a text of no known format.
    """
    from sinkhole.formats import detect, format_named, read_mixed  # a tenth of the start of a build of nothing new

    data = text.path.read_bytes()
    format = detect(data) if source.format == "auto" else format_named(source.format)
    parsed = read_mixed(data, format) if source.format == "auto" else format.read(data)
    size, rules = len(data), len(parsed)
    del data  # names take several times the room for a while
    keys = keys_of(parsed, partial(_meant, subdomains=source.subdomains, allows=allows))
    parsed.bulk.clear()
    special = (_listed(rule) if allows else rule for rule in parsed.special)
    kept, refused = guard_special(special, fence)
    quarantined = [*guard(keys, fence), *refused]
    ranges = {kind: cut(found) for kind, found in keys.items()}
    report = SourceReport(
        source,
        text.sha256,
        format.name,
        size,
        parsed.lines,
        rules,
        sum(map(count, ranges.values())) + len({rule._replace(line=0) for rule in kept}),
        parsed.skipped,
        tuple(parsed.samples),
        tuple(quarantined),
    )
    return SourceRules(ranges, tuple(kept), tuple(parsed.disabled), report)


def _listed(rule: Special) -> Special:
    """A rule of a list of type allow: every name that it states is listed."""
    return rule._replace(kind=rule.kind._replace(allow=False))


def _meant(kind: Kind, subdomains: bool, allows: bool) -> Kind:
    """The kind that rules have in this list: exact names widened where the source says so, and in a list of type allow
    every name, however stated, simply listed."""
    scope = Scope.TREE if subdomains and kind.scope == Scope.EXACT else kind.scope
    return Kind(scope, kind.allow and not allows, kind.rank)

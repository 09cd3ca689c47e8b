"""One list: its texts read, guarded, merged with its own rules, and resolved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from sinkhole.compiler.blocklist import Blocklist, Resolved, keys_of, resolve, resolve_nearest
from sinkhole.compiler.guard import Fence, Quarantined, guard
from sinkhole.compiler.plan import ListPlan, SourcePlan
from sinkhole.feeds.fetch import shown
from sinkhole.formats import detect, format_named
from sinkhole.rules import Kind, Parsed, Scope, Skipped


class Text(NamedTuple):
    """A source's last good text, as :mod:`sinkhole.feeds.store` keeps it."""

    data: bytes
    sha256: str


class SourceReport(NamedTuple):
    """What became of one source: a function of its text alone, so that the same text gives the same report."""

    source: SourcePlan
    sha256: str
    format: str
    lines: int
    rules: int
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
            "lines": self.lines,
            "rules": self.rules,
            "skipped": dict(sorted(self.skipped.items())),
            "samples": [sample._asdict() for sample in self.samples],
            "quarantined": [{"rule": str(found.rule), "why": found.why} for found in self.quarantined],
        }


class Compiled(NamedTuple):
    """A list ready to be written: what it comes to, the host names known to be on it, and its sources' reports."""

    plan: ListPlan
    resolved: Resolved
    hosts: frozenset[bytes]
    reports: tuple[SourceReport, ...]


def compile_list(plan: ListPlan, text: Callable[[SourcePlan], Text | None], fence: Fence) -> Compiled:
    """Compile one list; a source without any text yet is left out of ``reports``."""
    blocklist = Blocklist()
    reports = [
        _merge(blocklist, source, found, plan.allows, fence) for source in plan.sources if (found := text(source))
    ]
    if plan.nearest:
        return Compiled(plan, resolve_nearest(own.rule for own in plan.own), frozenset(), ())
    own: dict[Kind, list[bytes]] = {}
    for entry in plan.own:
        own.setdefault(entry.rule.kind, []).append(entry.rule.name.encode())
    blocklist.merge(keys_of(own))
    blocklist.know(plan.hosts)
    return Compiled(plan, resolve(blocklist.masks), frozenset(blocklist.hosts), tuple(reports))


def _merge(blocklist: Blocklist, source: SourcePlan, text: Text, allows: bool, fence: Fence) -> SourceReport:
    format = detect(text.data) if source.format == "auto" else format_named(source.format)
    parsed = format.read(text.data)
    rules = len(parsed)
    names = _as_meant(parsed, source.subdomains, allows)
    keys = keys_of(names)
    quarantined = guard(names, keys, fence)
    blocklist.merge(keys)
    return SourceReport(
        source,
        text.sha256,
        format.name,
        parsed.lines,
        rules,
        parsed.skipped,
        tuple(parsed.samples),
        tuple(quarantined),
    )


def _as_meant(parsed: Parsed, subdomains: bool, allows: bool) -> dict[Kind, list[bytes]]:
    """Rules by the kind they have in this list: exact names widened where the source says so, and in a list of type
    allow every name, however stated, simply listed."""
    names: dict[Kind, list[bytes]] = {}
    for kind, found in parsed.names.items():
        scope = Scope.TREE if subdomains and kind.scope == Scope.EXACT else kind.scope
        names.setdefault(Kind(scope, kind.allow and not allows, kind.rank), []).extend(found)
    return names


def own_rules(plans: Iterable[ListPlan]) -> list[dict[str, Any]]:
    """The rules of catalogue and configuration with their places, as the bundle keeps them."""
    return [
        {
            "list": plan.id,
            "name": own.rule.name,
            "scope": own.rule.kind.scope.label,
            "allow": own.rule.kind.allow,
            "source": own.source,
            "file": own.file,
            "line": own.line,
            "text": own.text,
        }
        for plan in plans
        for own in plan.own
    ]

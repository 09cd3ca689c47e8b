"""What is exported: a list, or what a group may not reach, each ready for all formats."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sinkhole.bundle import Bundle
from sinkhole.compiler.compile import Compiled
from sinkhole.compiler.planned import ListPlan
from sinkhole.exports.group import Group, version
from sinkhole.exports.readme import Section
from sinkhole.exports.sparing import DENYING, spared
from sinkhole.exports.special import Ready
from sinkhole.formats.format import Format, Header
from sinkhole.names import key
from sinkhole.policy.verdict import PROTECTED
from sinkhole.rules import Special

#: How often a file should be fetched again, in the words of list headers.
EXPIRES = "1 day"


class Subject(NamedTuple):
    """``name`` is that of its files, and ``about`` how ``index.json`` tells it from others.

    ``protected`` has the protected names too, for formats that answer those rightly; ``hosts`` are keys of known host
    names; ``left_out`` counts the special rules that no format states, and ``spared`` the protected names that the
    other formats let through, though the list has something for them. ``allows``: it is a list of type allow.
    """

    name: str
    about: Mapping[str, Any]
    header: Header
    section: Section
    ready: Ready
    protected: Ready | None = None
    hosts: Collection[bytes] = ()
    special: Sequence[Special] = ()
    left_out: int = 0
    spared: int = 0
    allows: bool = False

    def ready_for(self, format: Format) -> Ready:
        return self.protected if self.protected and format.name in DENYING else self.ready

    def spared_for(self, format: Format) -> int:
        return 0 if format.name in DENYING else self.spared


def of_list(compiled: Compiled) -> Subject:
    """A compiled list."""
    plan = compiled.plan
    sources = [report.source for report in compiled.reports]
    header = Header(
        title=plan.title or plan.id,
        description=plan.description,
        homepage=plan.homepage,
        license=_joined([plan.license, *(source.license for source in sources)]),
        expires=EXPIRES,
        modified=plan.updated,
        version=compiled.version,
        serial=_serial(plan.updated),
        notes=[f"{source.title or source.id}: {source.homepage}" for source in sources if source.homepage],
    )
    whole = Ready(compiled.resolved, compiled.masks())
    names = () if plan.allows else _keys(plan.protected)
    ready, count = spared(whole, names)
    return Subject(
        plan.id, {"list": plan.id}, header, section(plan), ready, whole,
        hosts=compiled.hosts, special=compiled.special, spared=count, allows=plan.allows,
    )  # fmt: skip


def section(plan: ListPlan) -> Section:
    """What the page says of a list."""
    facts = (plan.description, plan.license and f"Licence: {plan.license}.", plan.updated and f"As of {plan.updated}.")
    return Section(plan.title or plan.id, tuple(filter(None, facts)))


def of_group(found: Group, bundle: Bundle, lists: Sequence[ListPlan]) -> Subject:
    """What a group may not reach, by a bundle; the known host names of its lists are in those of a plan.

    Its files are called ``group_ID``, as no list can be: ids have no underscores.
    """
    used = {name for id in found.directives for name in bundle.policy["directives"][id]["lists"]}.union(found.lists)
    told = [entry for entry in bundle.manifest["lists"] if entry["id"] in used]
    licenses = [text for entry in told for text in (entry["license"], *(of["license"] for of in entry["sources"]))]
    since, until = map(_utc, found.span)
    hosts = sorted({host for entry in lists if entry.id in used for host in entry.hosts})
    about = {
        "group": found.id,
        "at": since or None,
        "changes-at": until or None,
        "directives": list(found.directives),
        "lists": list(found.lists),
        "exceptions": list(found.exceptions),
    }
    told_of = group_section(about)
    protected = _keys(own.rule.name for entry in lists if entry.id in PROTECTED for own in entry.own)
    ready, count = spared(Ready(found.resolved), protected)
    header = Header(
        title=told_of.title,
        description=told_of.facts[0],
        license=_joined(licenses),
        expires=EXPIRES,
        modified=since[:10],
        version=version((found.resolved, found.protected), hosts),
        serial=_serial(since[:10]),
        facts=[("Group", found.id), *_facts(about)],
    )
    return Subject(
        f"group_{found.id}",
        about,
        header,
        told_of,
        ready,
        Ready(found.protected),
        frozenset(_keys(hosts)),
        left_out=found.special,
        spared=count,
    )


def group_section(about: Mapping[str, Any]) -> Section:
    """What the page says of a group, from what ``index.json`` says."""
    whom = "everybody" if about["group"] == "all" else f"clients of the group {about['group']}"
    what = f"What {whom} may not reach: directives in force, lists, and the operator's own names."
    return Section(f"Policy for {about['group']}", (what, *(f"{name}: {text}." for name, text in _facts(about))))


def _facts(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    words = {"at": "In force from", "changes-at": "Changes at"} | {
        name: name.capitalize() for name in ("directives", "lists", "exceptions")
    }
    for field, word in words.items():
        if value := about[field]:
            yield word, value if isinstance(value, str) else ", ".join(value)


def _keys(names: Iterable[str]) -> list[bytes]:
    return [key(name.encode()) for name in names]


def _joined(texts: Iterable[str]) -> str:
    return ", ".join(filter(None, dict.fromkeys(texts)))


def _serial(day: str) -> int:
    return int(day.replace("-", "") + "00") if day else 1


def _utc(at: datetime | None) -> str:
    return at.astimezone(UTC).isoformat() if at else ""

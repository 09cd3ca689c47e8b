"""Reads the catalogue, the directory ``feeds/``, into one :class:`Catalogue`, or reports every problem of every file.

Every file is read before any is validated, so that a reference is checked against all ids there are, whichever file has
faults; what no model can see by itself (one id twice, a name in two tiers) is checked last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from sinkhole import names
from sinkhole.catalogue.model import (
    BLOCKING,
    Bypass,
    Default,
    Directive,
    Known,
    ListSpec,
    Never,
    NeverSet,
    PolicyEntry,
    Protected,
    PublishedLists,
    Report,
    Reports,
    Resolver,
    Service,
    Source,
    Sources,
    Target,
)
from sinkhole.document import Document, read_file, validate
from sinkhole.errors import ConfigError, Problem
from sinkhole.formats import FORMATS
from sinkhole.places import catalogue_directory
from sinkhole.rules import Scope

#: What is in which files: (pattern, type of the file, key by kind of entry: where entries of that kind stand).
#: The key is "" where the file is a mapping of ids to entries, and None where it is one entry, called after its id.
LAYOUT: tuple[tuple[str, Any, Mapping[str, str | None]], ...] = (
    ("reports/*.yaml", Reports, {"report": ""}),
    ("sources/*.yaml", Sources, {"source": ""}),
    ("services/*.yaml", Service, {"service": None}),
    ("directives/*.yaml", Directive, {"directive": None}),
    ("lists.yaml", PublishedLists, {"list": ""}),
    ("never.yaml", NeverSet, {"never": "never"}),
    ("bypass.yaml", Bypass, {"protected": "protected", "resolver": "resolvers"}),
    ("default.yaml", Default, {"policy": "policy", "export": "exports"}),
)


class Place(NamedTuple):
    """Where an entry is written."""

    document: Document
    path: tuple[str | int, ...]


@dataclass(frozen=True)
class Catalogue:
    """All of ``feeds/`` by id, and where each entry is written: ``places`` by (kind, id)."""

    directory: Path
    reports: dict[str, Report]
    sources: dict[str, Source]
    services: dict[str, Service]
    directives: dict[str, Directive]
    lists: dict[str, ListSpec]
    never: tuple[Never, ...]
    protected: tuple[Protected, ...]
    resolvers: dict[str, Resolver]
    policy: tuple[PolicyEntry, ...]
    exports: tuple[str, ...]
    places: dict[tuple[str, str], Place]

    def where(self, kind: str, id: str, *path: str | int) -> tuple[str, int]:
        """The file, relative to the catalogue, and the line of ``path`` in an entry.

        ``kind`` is ``source``, ``service``, ``directive``, ``list`` or ``resolver``, or with a name as id ``never`` or
        ``protected``.
        """
        place = self.places[kind, id]
        return place.document.file, place.document.where((*place.path, *path))[0]


def load(directory: Path | None = None) -> Catalogue:
    """The catalogue in ``directory``; raises :class:`~sinkhole.errors.ConfigError` with every problem in it."""
    directory = directory or catalogue_directory()
    problems: list[Problem] = []
    documents = {pattern: list(_read(directory, pattern, problems)) for pattern, *_ in LAYOUT}
    found: dict[str, dict[str, Any]] = {kind: {} for *_, keys in LAYOUT for kind in keys}
    places: dict[tuple[str, str], Place] = {}
    known = Known(directory)
    for pattern, type_, keys in LAYOUT:
        for document in documents[pattern]:
            try:
                value = validate(type_, document, known)
            except ConfigError as error:
                problems += error.problems
                continue
            for kind, id, path, entry in _entries(value, keys):
                place = places.setdefault((kind, id), Place(document, path))
                if found[kind].setdefault(id, entry) is not entry:
                    first = f"{place.document.file}:{place.document.where(place.path)[0]}"
                    problems.append(document.problem(path, f"{id} is already in {first}"))
        if type_ is Reports:  # which come first, because evidence takes their place
            known = _known(directory, documents, found["report"])
    catalogue = Catalogue(
        directory,
        found["report"],
        found["source"],
        found["service"],
        found["directive"],
        found["list"],
        tuple(found["never"].values()),
        tuple(found["protected"].values()),
        found["resolver"],
        tuple(found["policy"].values()),
        tuple(found["export"].values()),
        places,
    )
    problems += _faults(catalogue)
    if problems:
        raise ConfigError(problems)
    return catalogue


def _read(directory: Path, pattern: str, problems: list[Problem]) -> Iterator[Document]:
    paths = sorted(directory.glob(pattern))
    if not paths and "*" not in pattern:
        problems.append(Problem(str(directory / pattern), 0, 0, "", "the catalogue has no such file"))
    for path in paths:
        try:
            yield read_file(path, path.relative_to(directory).as_posix())
        except ConfigError as error:
            problems += error.problems


def _known(directory: Path, documents: dict[str, list[Document]], reports: dict[str, Report]) -> Known:
    """Every id in the catalogue, valid or not: a reference to an entry with a fault is not a second fault."""
    faulty = {
        id: Report.model_construct(id=id, publisher="", title="", date=date.min)
        for document in documents["reports/*.yaml"]
        for id in document.data
    }
    services = {Path(document.file).stem: document.data.get("tiers") for document in documents["services/*.yaml"]}
    return Known(
        directory,
        formats=FORMATS,
        sources=[id for document in documents["sources/*.yaml"] for id in document.data],
        services={id: tiers if isinstance(tiers, dict) else BLOCKING for id, tiers in services.items()},
        lists=[id for document in documents["lists.yaml"] for id in document.data],
        directives=[Path(document.file).stem for document in documents["directives/*.yaml"]],
        reports={**faulty, **reports},
    )


def _entries(value: Any, keys: Mapping[str, str | None]) -> Iterator[tuple[str, str, tuple[str | int, ...], Any]]:
    """(kind, id, path in the file, entry) of each entry in the value of a file."""
    for kind, key in keys.items():
        if key is None:
            yield kind, value.id, (), value
        elif not key:
            yield from ((kind, id, (id,), entry) for id, entry in value.items())
        else:
            for index, entry in enumerate(getattr(value, key)):
                yield kind, _id(entry, index), (key, index), entry


def _id(entry: Any, index: int) -> str:
    return str(next((found for key in ("id", "name") if (found := getattr(entry, key, None))), index))


def _faults(catalogue: Catalogue) -> Iterator[Problem]:
    """What is wrong between entries that are each well formed."""
    for (_, id), place in catalogue.places.items():
        if not place.path and id != (stem := Path(place.document.file).stem):
            yield place.document.problem(["id"], f"{id!r} is not the name of the file, {stem!r}")
    blocking: list[tuple[Place, tuple[str | int, ...], Target]] = []
    for service in catalogue.services.values():
        place = catalogue.places["service", service.id]
        first: dict[str, str] = {}
        for tier, entries in service.tiers.items():
            for index, entry in enumerate(entries):
                path: tuple[str | int, ...] = ("tiers", tier, index, "name")
                if first.setdefault(entry.name, tier) != tier or entry.name in (e.name for e in entries[:index]):
                    yield place.document.problem(path, f"{entry.name} is already in the tier {first[entry.name]!r}")
                if tier in BLOCKING:
                    blocking.append((place, path, entry.target))
    for id, spec in catalogue.lists.items():
        place = catalogue.places["list", id]
        if spec.type == "block":
            blocking += ((place, (id, "block", index), target) for index, target in enumerate(spec.block))
    for id, resolver in catalogue.resolvers.items():
        place = catalogue.places["resolver", id]
        blocking += ((place, (*place.path, "names", index), target) for index, target in enumerate(resolver.names))
    near = {above for never in catalogue.never for above in names.lineage(never.name) if "." in above}
    trees = sorted(names.key(target.name.encode()) for _, _, target in blocking if Scope.SUBDOMAINS in target.scope)
    suffixes = names.public_suffixes(trees)
    for place, path, target in blocking:
        if Scope.SUBDOMAINS in target.scope and names.key(target.name.encode()) in suffixes:
            yield place.document.problem(path, f"{target.name} is a public suffix: everyone's names are below it")
        if not near.isdisjoint(names.lineage(target.name)):  # most are nowhere near any
            for never in catalogue.never:
                if target.meets(never.target):
                    yield place.document.problem(path, f"{target.name} covers {never.name}, which is never blocked")

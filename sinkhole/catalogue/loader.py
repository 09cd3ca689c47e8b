"""Reads the catalogue, the directory ``feeds/``, into one :class:`Catalogue`, or reports every problem of every file.

Every file is read before any is validated, so that a reference is checked against all ids there are, whichever file has
faults; what no model can see by itself (one id twice, a name in two tiers) is checked last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
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
    Service,
    Source,
    Sources,
    Target,
)
from sinkhole.document import Document, read_file, validate
from sinkhole.errors import ConfigError, Problem
from sinkhole.formats import FORMATS
from sinkhole.rules import Scope

_PACKAGE = Path(__file__).parent.parent

#: What is in which files: (pattern, kind of entry, type of the file, the key under which a list of entries stands).
#: The key is "" where the file is a mapping of ids to entries, and None where it is one entry, called after its id.
_LAYOUT: tuple[tuple[str, str, Any, str | None], ...] = (
    ("sources/*.yaml", "source", Sources, ""),
    ("services/*.yaml", "service", Service, None),
    ("directives/*.yaml", "directive", Directive, None),
    ("lists.yaml", "list", PublishedLists, ""),
    ("never.yaml", "never", NeverSet, "never"),
    ("bypass.yaml", "protected", Bypass, "protected"),
    ("default.yaml", "policy", Default, "policy"),
)


class Place(NamedTuple):
    """Where an entry is written."""

    document: Document
    path: tuple[str | int, ...]


@dataclass(frozen=True)
class Catalogue:
    """All of ``feeds/`` by id, and where each entry is written: ``places`` by (kind, id)."""

    directory: Path
    sources: dict[str, Source]
    services: dict[str, Service]
    directives: dict[str, Directive]
    lists: dict[str, ListSpec]
    never: tuple[Never, ...]
    protected: tuple[Protected, ...]
    policy: tuple[PolicyEntry, ...]
    places: dict[tuple[str, str], Place]

    def where(self, kind: str, id: str, *path: str | int) -> tuple[str, int]:
        """The file, relative to the catalogue, and the line of ``path`` in an entry.

        ``kind`` is ``source``, ``service``, ``directive`` or ``list``, or with a name as id ``never`` or ``protected``.
        """
        place = self.places[kind, id]
        return place.document.file, place.document.where((*place.path, *path))[0]


def default_directory() -> Path:
    """``feeds/`` of the checkout that this package lies in, or else the copy inside the installed package."""
    checkout = _PACKAGE.parent
    return checkout / "feeds" if (checkout / "pyproject.toml").is_file() else _PACKAGE / "catalogue" / "data"


def load(directory: Path | None = None) -> Catalogue:
    """The catalogue in ``directory``; raises :class:`~sinkhole.errors.ConfigError` with every problem in it."""
    directory = directory or default_directory()
    problems: list[Problem] = []
    documents = {pattern: list(_read(directory, pattern, problems)) for pattern, *_ in _LAYOUT}
    known = _known(directory, documents)
    found: dict[str, dict[str, Any]] = {kind: {} for _, kind, *_ in _LAYOUT}
    places: dict[tuple[str, str], Place] = {}
    for pattern, kind, type_, key in _LAYOUT:
        for document in documents[pattern]:
            try:
                value = validate(type_, document, known)
            except ConfigError as error:
                problems += error.problems
                continue
            for id, path, entry in _entries(value, key):
                place = places.setdefault((kind, id), Place(document, path))
                if found[kind].setdefault(id, entry) is not entry:
                    first = f"{place.document.file}:{place.document.where(place.path)[0]}"
                    problems.append(document.problem(path, f"{id} is already in {first}"))
    catalogue = Catalogue(
        directory,
        found["source"],
        found["service"],
        found["directive"],
        found["list"],
        tuple(found["never"].values()),
        tuple(found["protected"].values()),
        tuple(found["policy"].values()),
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


def _known(directory: Path, documents: dict[str, list[Document]]) -> Known:
    """Every id in the catalogue, valid or not: a reference to an entry with a fault is not a second fault."""
    services = {Path(document.file).stem: document.data.get("tiers") for document in documents["services/*.yaml"]}
    return Known(
        directory,
        formats=FORMATS,
        sources=[id for document in documents["sources/*.yaml"] for id in document.data],
        services={id: tiers if isinstance(tiers, dict) else BLOCKING for id, tiers in services.items()},
        lists=[id for document in documents["lists.yaml"] for id in document.data],
        directives=[Path(document.file).stem for document in documents["directives/*.yaml"]],
    )


def _entries(value: Any, key: str | None) -> Iterator[tuple[str, tuple[str | int, ...], Any]]:
    """(id, path in the file, entry) of each entry in the value of a file."""
    if key is None:
        yield value.id, (), value
    elif not key:
        yield from ((id, (id,), entry) for id, entry in value.items())
    else:
        for index, entry in enumerate(getattr(value, key)):
            yield getattr(entry, "name", str(index)), (key, index), entry


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
    trees = sorted(names.key(target.name.encode()) for _, _, target in blocking if Scope.SUBDOMAINS in target.scope)
    suffixes = names.public_suffixes(trees)
    for place, path, target in blocking:
        if Scope.SUBDOMAINS in target.scope and names.key(target.name.encode()) in suffixes:
            yield place.document.problem(path, f"{target.name} is a public suffix: everyone's names are below it")
        for never in catalogue.never:
            if target.meets(never.target):
                yield place.document.problem(path, f"{target.name} covers {never.name}, which is never blocked")

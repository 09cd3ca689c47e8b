"""The one way in which a file of the catalogue is written, so that a change to it shows as nothing but that change.

Keys stand in the order of their model, entries and lists are sorted, lists of short values stand on one line. Comments
stand at the head of a file: everywhere else there is a key for what they would say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel

from sinkhole.catalogue.loader import LAYOUT
from sinkhole.catalogue.model import TIERS
from sinkhole.document import FLOAT, INTEGER, Document, read
from sinkhole.errors import ConfigError, Problem

#: Lists whose order says something: places to try, and what is decided or printed first.
_KEPT = ("mirrors", "policy")

#: What entries are sorted by, as far as they have it.
_SORTED_BY = ("kind", "date", "id", "name", "publisher", "title")

_WIDTH = 116


def files(directory: Path) -> Iterator[tuple[Path, Any]]:
    """(path, type) of every file of a catalogue."""
    for pattern, type_, _ in LAYOUT:
        yield from ((path, type_) for path in sorted(directory.glob(pattern)))


def written(text: bytes, type_: Any, file: str) -> bytes:
    """``text``, a file of this type, as it should be written.

    Raises :class:`~sinkhole.errors.ConfigError` when it cannot be read, or has a comment that would get lost.
    """
    document = read(text, file)
    if document.problems:
        raise ConfigError(document.problems)
    lines = text.decode("utf-8-sig").splitlines()
    head = next((at for at, line in enumerate(lines) if not line.startswith("#")), len(lines))
    _refuse_comments(document, lines, head)
    return "".join(f"{line.rstrip()}\n" for line in lines[:head]).encode() + dump(_arranged(document.data, type_))


def dump(data: Any) -> bytes:
    """Plain data as the text that :func:`~sinkhole.document.read` makes it of."""
    text = yaml.dump(data, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=_WIDTH)
    return str(text).encode()


def _refuse_comments(document: Document, lines: list[str], head: int) -> None:
    """A ``#`` below the head that is in no key and no value starts a comment."""
    body = lines[head:]
    if sum(line.count("#") for line in body) <= _hashes(document.data):
        return
    whole = [head + at for at, line in enumerate(body, 1) if line.lstrip().startswith("#")]
    inside = [head + at for at, line in enumerate(body, 1) if " #" in line]
    line = (whole or inside)[0]
    why = "a comment would get lost; put it at the head of the file, or into a note or a reason"
    raise ConfigError([Problem(document.file, line, lines[line - 1].index("#") + 1, "", why)])


def _hashes(value: Any) -> int:
    if isinstance(value, dict):
        return sum(key.count("#") + _hashes(entry) for key, entry in value.items())
    if isinstance(value, list):
        return sum(map(_hashes, value))
    return value.count("#") if isinstance(value, str) else 0


def _arranged(value: Any, kind: Any) -> Any:
    """``value`` in order, as the annotation ``kind`` has it; what does not fit stays as it is."""
    kind = _bare(kind)
    if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = {str(info.alias): info.annotation for info in kind.model_fields.values()}
        keys = sorted(value, key=lambda key: list(fields).index(key) if key in fields else len(fields))
        return {key: value[key] if key in _KEPT else _arranged(value[key], fields.get(key)) for key in keys}
    if isinstance(value, dict):
        inner = get_args(kind)[1] if get_origin(kind) is dict else None
        order = TIERS if set(value) <= set(TIERS) else sorted(value)
        return {key: _arranged(value[key], inner) for key in order if key in value}
    if isinstance(value, list):
        inner = get_args(kind)[0] if get_origin(kind) is tuple else None
        return sorted((_arranged(entry, inner) for entry in value), key=_place)
    return value


def _bare(kind: Any) -> Any:
    """``kind`` without ``Annotated`` and ``| None``."""
    while hasattr(kind, "__metadata__"):
        kind = kind.__origin__
    others = [argument for argument in get_args(kind) if argument is not NoneType]
    return _bare(others[0]) if NoneType in get_args(kind) and others else kind


def _place(entry: Any) -> tuple[str, ...]:
    return tuple(str(entry.get(key, "")) for key in _SORTED_BY) if isinstance(entry, dict) else (str(entry),)


class _Dumper(yaml.SafeDumper):
    """Quotes only what :func:`~sinkhole.document.read` would otherwise take for something else."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        return super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _sequence(dumper: yaml.SafeDumper, data: list[Any]) -> yaml.Node:
    flow = all(isinstance(entry, (str, int)) and len(str(entry)) < 60 for entry in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=flow)


_Dumper.add_representer(list, _sequence)
for _tag, _pattern, _first in (
    ("bool", "true|false", "tf"),
    ("null", "null|", ["n", ""]),
    ("int", INTEGER.pattern, "-0123456789"),
    ("float", FLOAT.pattern, "-0123456789"),
):
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first))

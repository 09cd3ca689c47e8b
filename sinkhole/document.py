"""YAML that people write: bytes in, plain data with positions out, every problem with its file, line, column and path.

Two steps. :func:`read` turns bytes into a :class:`Document` in one pass over the parser's events, so nothing is built
that is too large or too deep, and nothing is guessed: keys and quoted scalars are text, and plain scalars are typed
only when they are ``true``, ``false``, ``null``, empty or a decimal number (``no``, ``010``, times, dates stay text).
:func:`validate` turns a document into a typed pydantic value and translates whatever does not fit.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from sinkhole.errors import ConfigError, Problem

MAX_BYTES = 1 << 20
MAX_DEPTH = 50
MAX_VALUES = 100_000
MAX_PROBLEMS = 100

#: libyaml's parser where PyYAML has it, ten times as fast as the one in Python.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CONSTANTS = {"true": True, "false": False, "null": None, "": None}
INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
FLOAT = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,18}")


class Document(NamedTuple):
    """One file: its name for messages, its data, and the problems met while reading, which :func:`validate` raises.

    ``marks`` holds (line, column), both from 1, by the identity of a container and the key or index in it; the position
    of a mapping's entry is that of its key.
    """

    file: str
    data: dict[str, Any]
    marks: Mapping[tuple[int, str | int], tuple[int, int]]
    problems: tuple[Problem, ...] = ()

    def where(self, path: Iterable[str | int]) -> tuple[int, int]:
        """Line and column of ``path``, or of its nearest ancestor that is in the file; (1, 1) for the whole file."""
        place = (1, 1)
        at: Any = self.data
        for part in path:
            found = self.marks.get((id(at), part))
            if found is None:
                break
            place, at = found, at[part]
        return place

    def problem(self, path: Iterable[str | int], message: str) -> Problem:
        """A :class:`~sinkhole.errors.Problem` of this file at ``path``."""
        path = tuple(path)
        return Problem(self.file, *self.where(path), dotted(path), message)


def dotted(path: Iterable[str | int]) -> str:
    """``("policy", 0, "lists", 1)`` -> ``policy[0].lists[1]``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part[:80]}" for part in path).removeprefix(".")


def suggest(word: str, known: Iterable[str]) -> str:
    """What to write instead of the unknown ``word``: the nearest of ``known``, or all of them when none is near."""
    words = sorted(known)
    if near := difflib.get_close_matches(word[:64], words, n=1):
        return f'did you mean "{near[0]}"?'
    return f"allowed: {', '.join(words[:20])}{', …' if len(words) > 20 else ''}" if words else "there is none"


def unknown(what: str, word: str, known: Iterable[str]) -> PydanticCustomError:
    """What a validator raises for a word that is none of ``known``; the suggestion is only made when it is reported."""
    return PydanticCustomError("unknown_word", "unknown {what}", {"what": what, "word": word, "known": known})


def in_words(error: ValueError) -> str:
    """What a parser refused, for people: :func:`unknown` with its suggestion, else the error's own text."""
    said = error.context if isinstance(error, PydanticCustomError) else None
    return (
        f"unknown {said['what']} {_shown(said['word'])}; {suggest(said['word'], said['known'])}" if said else str(error)
    )


def read_file(path: Path, name: str) -> Document:
    """:func:`read` for the file at ``path``, called ``name`` in messages."""
    try:
        with path.open("rb") as file:
            return read(file.read(MAX_BYTES + 1), name)
    except OSError as error:
        raise ConfigError([Problem(name, 0, 0, "", f"cannot be read: {error.strerror}")]) from None


def read(text: bytes, file: str) -> Document:
    """The document in ``text``; an empty file is an empty mapping. ``file`` names it in messages.

    Raises :class:`~sinkhole.errors.ConfigError` for text that cannot be read to its end: not UTF-8, not YAML, not one
    mapping, over 1 MiB, 50 levels or 100,000 values. Duplicate and merge keys, anchors, aliases and tags are read over
    and kept in ``problems``, so that they are reported together with what :func:`validate` finds.
    """
    reader = _Reader(file)
    if len(text) > MAX_BYTES:
        raise ConfigError([Problem(file, 0, 0, "", f"larger than {MAX_BYTES} bytes")])
    try:
        for event in yaml.parse(text.decode("utf-8-sig"), Loader=_LOADER):
            reader.take(event)
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(file, line, 1, "", "not UTF-8 text")]) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
        raise ConfigError([*reader.problems, Problem(file, line, column, "", f"not YAML: {what}")]) from None
    data = reader.frames[0].container
    data = data[0] if data and data[0] is not None else {}
    if not isinstance(data, dict):
        raise ConfigError(
            [*reader.problems, Problem(file, 1, 1, "", f"expected a mapping of keys, got {_shown(data)}")]
        )
    return Document(file, data, reader.marks, tuple(reader.problems[:MAX_PROBLEMS]))


@dataclass(slots=True)
class _Frame:
    """A container that is being filled; ``key`` is the entry last begun, ``open`` when its value is still to come."""

    container: Any
    key: str | int = 0
    open: bool = False


class _Reader:
    """Builds data from events with its own stack, so that depth costs no recursion and is bounded as it grows."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.frames = [_Frame([])]
        self.marks: dict[tuple[int, str | int], tuple[int, int]] = {}
        self.problems: list[Problem] = []
        self.values = 0
        self.dropped: list[Any] = []  # values that lost to a duplicate, kept alive because marks go by identity

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.CollectionEndEvent):
            self.frames.pop()
        elif isinstance(event, yaml.NodeEvent):
            self._node(event)
        elif isinstance(event, yaml.DocumentStartEvent) and self.frames[0].container:
            raise self._stop(event, "a second document; a file holds one")

    def _node(self, event: yaml.NodeEvent) -> None:
        frame = self.frames[-1]
        if isinstance(frame.container, dict) and not frame.open:
            self._key(frame, event)
            return
        value = self._value(event)
        if isinstance(frame.container, list):
            frame.key = len(frame.container)
            self.marks[id(frame.container), frame.key] = _place(event)
            frame.container.append(value)
        else:
            frame.open = False
            if frame.key in frame.container:
                self.dropped.append(frame.container[frame.key])
            frame.container[frame.key] = value
        self._refuse(event)
        self.values += 1
        if self.values > MAX_VALUES:
            raise self._stop(event, f"more than {MAX_VALUES} values; long lists of names belong in a list file")
        if isinstance(value, (dict, list)):
            if len(self.frames) > MAX_DEPTH:
                raise self._stop(event, f"nested deeper than {MAX_DEPTH} levels")
            self.frames.append(_Frame(value))

    def _key(self, frame: _Frame, event: yaml.NodeEvent) -> None:
        if not isinstance(event, yaml.ScalarEvent):
            raise self._stop(event, "a key must be plain text")
        frame.key, frame.open = event.value, True
        first = self.marks.setdefault((id(frame.container), frame.key), _place(event))
        self._refuse(event)
        if event.value == "<<" and event.implicit[0]:
            self._problem(event, "merge keys are not supported; write the keys out")
        elif first != _place(event):
            self._problem(event, f"duplicate key; it is already on line {first[0]}")

    def _value(self, event: yaml.NodeEvent) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event.value) if event.implicit[0] else event.value
        return (
            {}
            if isinstance(event, yaml.MappingStartEvent)
            else []
            if isinstance(event, yaml.SequenceStartEvent)
            else None
        )

    def _refuse(self, event: yaml.NodeEvent) -> None:
        if event.anchor:
            self._problem(event, "anchors and aliases are not supported; write the value out")
        if getattr(event, "tag", None):
            self._problem(event, "tags are not supported; quote the value if it is text")

    def _problem(self, event: yaml.Event, message: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(self.file, *_place(event), self._path(), message))

    def _stop(self, event: yaml.Event, message: str) -> ConfigError:
        return ConfigError([*self.problems, Problem(self.file, *_place(event), self._path(), message)])

    def _path(self) -> str:
        return dotted(frame.key for frame in self.frames[1:] if frame.container or frame.open)


def _place(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _scalar(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if INTEGER.fullmatch(text):
        return int(text)
    return float(text) if FLOAT.fullmatch(text) else text


def validate(kind: Any, document: Document, context: object = None) -> Any:
    """The document as a value of the type ``kind``; ``context`` reaches the validators as ``info.context``.

    Raises :class:`~sinkhole.errors.ConfigError` with every problem of reading and of validation, one a place.
    """
    problems = list(document.problems)
    value = None
    try:
        value = _adapter(kind).validate_python(document.data, context=context, by_alias=True, by_name=False)
    except ValidationError as error:
        problems += _translate(kind, document, error)
    if problems:
        raise ConfigError(problems[:MAX_PROBLEMS])
    return value


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _translate(kind: Any, document: Document, error: ValidationError) -> Iterator[Problem]:
    """Each pydantic error as a problem, unless its place was already refused while reading."""
    seen = {problem.path for problem in document.problems}
    details = error.errors(include_url=False)[:MAX_PROBLEMS]
    faulty = {detail["loc"][:-1] for detail in details}
    for detail in details:
        if detail["type"] == "too_short" and detail["loc"] in faulty:
            continue  # it has entries, only none without a fault of its own
        loc = [part for part in detail["loc"] if part != "[key]"]  # pydantic's mark of an entry whose key is bad
        problem = document.problem(loc, _message(kind, detail))
        if problem.path not in seen:
            yield problem


#: What a pydantic error type says to people; the input follows.
_EXPECTED = {
    "string_type": "expected text",
    "bool_type": "expected true or false",
    "int_type": "expected a whole number",
    "tuple_type": "expected a list",
    "list_type": "expected a list",
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping",
}


def _message(kind: Any, detail: ErrorDetails) -> str:
    name, given, limits = detail["type"], detail["input"], detail.get("ctx", {})
    if name == "missing":
        return "required, and not there"
    if name == "extra_forbidden":
        return f"unknown key; {suggest(str(detail['loc'][-1]), _keys(kind, detail['loc'][:-1]))}"
    if name == "unknown_word":
        return in_words(unknown(limits["what"], limits["word"], limits["known"]))
    if name == "too_short":
        return "expected at least one entry"
    if name == "value_error":
        return str(limits["error"])
    expected = _EXPECTED.get(name, detail["msg"].replace("Input should be", "expected a value"))
    return f"{expected}, got {_shown(given)}"


def _shown(value: Any) -> str:
    """A value as YAML would say it, cut to what fits a message."""
    if isinstance(value, (dict, list, type(None))):
        return "nothing" if value is None else "a mapping" if isinstance(value, dict) else "a list"
    text = str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _keys(kind: Any, loc: Iterable[str | int]) -> list[str]:
    """The keys that the model at ``loc`` inside ``kind`` has, as written in files."""
    for part in loc:
        kind = _model(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = next((info.annotation for info in kind.model_fields.values() if info.alias == part), None)
        elif arguments := get_args(kind):
            kind = arguments[0] if get_origin(kind) is tuple else arguments[-1]
    kind = _model(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [info.alias for info in kind.model_fields.values() if info.alias]
    return []


def _model(kind: Any) -> Any:
    """``kind`` without ``Annotated`` and ``| None``."""
    while hasattr(kind, "__metadata__") or get_origin(kind) in (Union, UnionType):
        kind = next(argument for argument in get_args(kind) if argument is not type(None))
    return kind

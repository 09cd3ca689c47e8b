"""The compiled artefact: an immutable directory named by the hash of its content.

::

    <name>/
      manifest.json     what it was made of, and the sha256 of every other file; <name> is the sha256 of this one, cut
      index.marisa      MARISA trie of keys (sinkhole.names), memory-mapped and shared by all processes
      attributes.bin    for each key id, the number of its attribute record: little-endian uint32
      attributes.json   the attribute records: [[list number, code], ...], code as in sinkhole.compiler.blocklist.Code
      special.json      the rules that a name alone cannot say (sinkhole.policy.special)
      policy.json       groups, directives, entries and protected names (sinkhole.policy)
      own.json          rules that come from the catalogue or the configuration, each with its file and line
      sources/<sha256>  the text of every source, so that a decision can be traced to a line

For each list, the entry of the longest matching key decides: EXACT when the key is the name itself, BELOW when it is an
ancestor. ``current`` in the parent directory is a symlink to the bundle in use.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, NamedTuple

import marisa_trie

from sinkhole.errors import BundleError

VERSION = 1
#: Codes with this bit are masks of a list with special rules, shifted by :data:`MASK_SHIFT`: its rules are weighed
#: against those when a query comes.
MASKED, MASK_SHIFT = 8, 4
CURRENT = "current"
_NAME_LENGTH = 16

#: (list number, code) of every list that has an entry for a key.
Attribute = tuple[tuple[int, int], ...]
NOTHING: Attribute = ()


@dataclass
class Index:
    """The entries of all lists while a bundle is made: key -> number of an interned attribute."""

    numbers: dict[bytes, int] = field(default_factory=dict)
    attributes: list[Attribute] = field(default_factory=list)
    _known: dict[Attribute, int] = field(default_factory=dict)

    def add(self, list_number: int, codes: Mapping[int, list[bytes]]) -> None:
        """Add one list's entries: its keys by code."""
        for code, keys in codes.items():
            entry = (list_number, code)
            both = [key for key in keys if key in self.numbers] if self.numbers else []
            merged = {key: self._number((*self.attributes[self.numbers[key]], entry)) for key in both}
            self.numbers.update(dict.fromkeys(keys, self._number((entry,))))
            self.numbers.update(merged)

    def _number(self, attribute: Attribute) -> int:
        if (number := self._known.get(attribute)) is None:
            number = self._known[attribute] = len(self.attributes)
            self.attributes.append(attribute)
        return number


class Text(NamedTuple):
    """A source's text to keep with the bundle: the file that holds it and its sha256."""

    path: Path
    sha256: str


def write(
    parent: Path,
    index: Index,
    *,
    manifest: Mapping[str, Any],
    policy: Mapping[str, Any],
    own: Iterable[Mapping[str, Any]],
    special: Iterable[Mapping[str, Any]] = (),
    texts: Iterable[Text],
) -> Path:
    """Write a bundle below ``parent`` and return its directory; an equal bundle that is there already is kept.

    All is written beside its final place, synced, and renamed at the end: a crash leaves no bundle or a whole one.
    """
    parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))
    try:
        # One trie instead of nested ones: larger, and quicker to look up.
        trie = marisa_trie.BinaryTrie(index.numbers, num_tries=1)
        trie.save(str(work / "index.marisa"))
        numbers = array("I", bytes(4 * len(index.numbers)))
        for key, number in index.numbers.items():
            numbers[trie[key]] = number
        if sys.byteorder == "big":
            numbers.byteswap()
        (work / "attributes.bin").write_bytes(numbers)
        _write_json(work / "attributes.json", index.attributes)
        _write_json(work / "policy.json", policy)
        _write_json(work / "own.json", list(own))
        _write_json(work / "special.json", list(special))
        (work / "sources").mkdir()
        for text in texts:
            _link(text.path, work / "sources" / text.sha256)
        files = {path.name: _sha256(path) for path in sorted(work.iterdir()) if path.is_file()}
        _write_json(
            work / "manifest.json", {"version": VERSION, **manifest, "keys": len(index.numbers), "files": files}
        )
        for path in (*work.iterdir(), work):
            _sync(path)
        target = parent / _sha256(work / "manifest.json")[:_NAME_LENGTH]
        if target.exists() and not _whole(target):
            target.rename(work.with_suffix(".damaged"))
        try:
            work.rename(target)
        except OSError:
            if not target.exists():
                raise
        _sync(parent)
        return target
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _link(source: Path, target: Path) -> None:
    """A hard link, because texts are never written in place; a copy where links cannot reach."""
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Bundle:
    """A bundle open for reading. ``lists`` are the ids behind the list numbers of its attributes."""

    def __init__(self, path: Path, manifest: Mapping[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        self.lists: list[str] = [entry["id"] for entry in manifest["lists"]]
        self.policy: Mapping[str, Any] = _read_json(path / "policy.json")
        self.special: list[dict[str, Any]] = _read_json(path / "special.json")
        self._attributes: list[Attribute] = [
            tuple((number, code) for number, code in record) for record in _read_json(path / "attributes.json")
        ]
        self._trie = marisa_trie.BinaryTrie()
        self._numbers: memoryview | array[int] = array("I")
        if manifest["keys"]:
            self._trie.mmap(str(path / "index.marisa"))
            self._numbers = _uint32(path / "attributes.bin")

    @property
    def name(self) -> str:
        return self.path.name

    def own(self) -> list[dict[str, Any]]:
        """The rules of the catalogue and the configuration: {list, name, scope, allow, source, file, line, text}."""
        rules: list[dict[str, Any]] = _read_json(self.path / "own.json")
        return rules

    def matches(self, key: bytes) -> list[tuple[bytes, Attribute]]:
        """(matching key, its attribute) of every key that is ``key`` or an ancestor of it, shortest first."""
        trie = self._trie
        return [(found, self._attributes[self._numbers[trie[found]]]) for found in trie.prefixes(key)]

    def records(self, key: bytes) -> tuple[int, ...]:
        """The attribute record of every key that :meth:`matches`, as numbers, after one that tells whether the last is
        ``key`` itself; empty when none does. Equal for names that are listed alike."""
        trie, numbers = self._trie, self._numbers
        found = trie.prefixes(key)
        return (found[-1] == key, *[numbers[trie[match]] for match in found]) if found else ()

    def entry(self, key: bytes) -> Attribute:
        """The attribute of exactly ``key``."""
        number = self._trie.get(key)
        return NOTHING if number is None else self._attributes[self._numbers[number]]

    def items(self) -> Iterator[tuple[bytes, Attribute]]:
        """(key, attribute) of every key."""
        return ((key, self._attributes[self._numbers[number]]) for key, number in self._trie.items())

    def __len__(self) -> int:
        return int(self.manifest["keys"])


def _uint32(path: Path) -> memoryview | array[int]:
    with path.open("rb") as file:
        view = memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))
    if sys.byteorder == "little":
        return view.cast("I")
    numbers = array("I", view)
    numbers.byteswap()
    return numbers


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def load(path: Path) -> Bundle:
    """Open the bundle at ``path`` (or what the symlink points to) after checking it against its own name and hashes."""
    path = path.resolve()
    try:
        manifest_bytes = (path / "manifest.json").read_bytes()
        if hashlib.sha256(manifest_bytes).hexdigest()[:_NAME_LENGTH] != path.name:
            raise BundleError(f"{path}: the manifest does not match the name of the bundle")
        manifest = json.loads(manifest_bytes)
        if manifest["version"] != VERSION:
            raise BundleError(f"{path}: bundle version {manifest['version']}, this program reads version {VERSION}")
        for name, expected in manifest["files"].items():
            if _sha256(path / name) != expected:
                raise BundleError(f"{path / name}: damaged (its sha256 is not the one in the manifest)")
        return Bundle(path, manifest)
    except OSError as error:
        raise BundleError(f"{error.filename or path}: {error.strerror}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise BundleError(f"{path}: damaged ({error})") from error


def _whole(path: Path) -> bool:
    try:
        load(path)
    except (BundleError, ValueError, LookupError):
        return False
    return True


def current(parent: Path) -> Path | None:
    """The bundle that ``current`` points to, or None before the first build."""
    link = parent / CURRENT
    return link.resolve() if link.exists() else None


def prune(parent: Path, keep: int) -> None:
    """Remove all but the ``keep`` newest bundles and the one in use, and what an interrupted build left behind."""
    used = current(parent)
    bundles = [path for path in parent.iterdir() if path.is_dir() and not path.is_symlink()]
    whole = sorted(
        (path for path in bundles if not path.name.startswith(".")),
        key=lambda path: (path.stat().st_mtime_ns, path.name),
    )
    for path in [*whole[:-keep], *(path for path in bundles if path.name.startswith(".new-"))]:
        if path != used:
            shutil.rmtree(path, ignore_errors=True)

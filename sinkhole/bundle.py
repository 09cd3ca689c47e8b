"""The compiled artefact: an immutable directory named by the hash of its content.

::

    <name>/
      manifest.json     what it was made of, and the sha256 of every other file; <name> is the sha256 of this one, cut
      index.keys        all keys (sinkhole.names), sorted, a line feed before and after each: memory-mapped and shared
      index.first       the first key of each block of BLOCK keys, a line each
      index.blocks      where each block begins in index.keys, and where the last one ends: little-endian uint32
      attributes.bin    for each key, the number of its attribute record: little-endian uint32, mapped too
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
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from mmap import ACCESS_READ, mmap
from operator import add
from pathlib import Path
from typing import Any, NamedTuple

from sinkhole.errors import BundleError

VERSION = 2
#: How many keys a block has: one is looked up in the first keys of all blocks, and then within a block.
BLOCK = 16
#: Of how many ancestors of names in other blocks a process remembers what it found.
_REMEMBERED = 16384
#: Codes with this bit are masks of a list with special rules, shifted by :data:`MASK_SHIFT`: its rules are weighed
#: against those when a query comes.
MASKED, MASK_SHIFT = 8, 4
CURRENT = "current"
#: A list that has so many times fewer entries in a range than those before it is added to them key by key.
_FEW = 16
#: Octets that are hashed at a time: a quarter of a millisecond.
_STEP = 1 << 17
_LINE_FEED, _DOT = b"\n."
_NAME_LENGTH = 16

#: (list number, code) of every list that has an entry for a key.
Attribute = tuple[tuple[int, int], ...]
NOTHING: Attribute = ()


@dataclass(frozen=True)
class Entries:
    """Sorted keys, a line feed behind each, and a code for each."""

    text: bytes
    codes: Sequence[int]

    @property
    def keys(self) -> list[bytes]:
        return self.text.split(b"\n")[:-1]

    def __iter__(self) -> Iterator[tuple[bytes, int]]:
        return zip(self.keys, self.codes, strict=True)


class Index:
    """The entries of all lists while a bundle is made: each key with the number of an interned attribute."""

    def __init__(self) -> None:
        self.attributes: list[Attribute] = []
        self._known: dict[Attribute, int] = {}
        self._used: set[int] = set()

    def merge(self, lists: Iterable[Entries]) -> tuple[list[bytes], list[int]]:
        """The sorted keys that the lists have in one range, and the attribute number of each, in the order of lists."""
        keys: list[bytes] = []
        numbers: list[int] = []
        used: set[int] = set()
        for number, entries in enumerate(lists):
            if entries.codes:
                known = {code: self._number(((number, code),)) for code in _codes(entries)}
                own = list(map(known.__getitem__, entries.codes))
                if not keys:
                    keys, numbers, used = entries.keys, own, set(known.values())
                    continue
                used = set()
                if len(own) * _FEW < len(keys):
                    self._insert(keys, numbers, entries.keys, own)
                else:
                    keys, numbers = self._united(keys, numbers, entries.keys, own)
        self._used |= used or set(numbers)
        return keys, numbers

    def _insert(self, keys: list[bytes], numbers: list[int], more: Iterable[bytes], own: Iterable[int]) -> None:
        """Add a few keys with their numbers to many."""
        for key, number in zip(more, own, strict=True):
            at = bisect_left(keys, key)
            if keys[at : at + 1] == [key]:
                numbers[at] = self._both(numbers[at], number)
            else:
                keys.insert(at, key)
                numbers.insert(at, number)

    def _united(
        self, keys: Iterable[bytes], numbers: Iterable[int], more: Iterable[bytes], own: Iterable[int]
    ) -> tuple[list[bytes], list[int]]:
        """Two lists of keys with their numbers as one."""
        found = dict(zip(keys, numbers, strict=True))
        new = dict(zip(more, own, strict=True))
        new.update({key: self._both(found[key], new[key]) for key in sorted(found.keys() & new.keys())})
        found.update(new)
        order = sorted(found)
        return order, list(map(found.__getitem__, order))

    def _both(self, one: int, other: int) -> int:
        return self._number((*self.attributes[one], *self.attributes[other]))

    def _number(self, attribute: Attribute) -> int:
        if (number := self._known.get(attribute)) is None:
            number = self._known[attribute] = len(self.attributes)
            self.attributes.append(attribute)
        return number

    def write(self, directory: Path, lists: Iterable[Sequence[Entries]]) -> int:
        """Write what :class:`Bundle` looks names up in, and return how many keys there are. Each list has its entries
        in the same ranges."""
        for number, ranges in enumerate(lists := list(lists)):
            for code in sorted({code for entries in ranges for code in _codes(entries)}):
                self._number(((number, code),))
        numbers, blocks = array("I"), array("I")
        size = 0
        with (directory / "index.keys").open("wb") as keys, (directory / "index.first").open("wb") as firsts:
            keys.write(b"\n")
            for found, own in map(self.merge, zip(*lists, strict=True)):
                if found:
                    first = -len(numbers) % BLOCK
                    places = list(accumulate(map(len, found), initial=size))  # without a line feed for each
                    blocks.extend(map(add, places[first:-1:BLOCK], range(first, len(found), BLOCK)))
                    size = places[-1] + len(found)
                    numbers.extend(own)
                    keys.writelines((b"\n".join(found), b"\n"))
                    firsts.writelines(key + b"\n" for key in found[first::BLOCK])
        blocks.append(size)
        numbers = self._in_order(numbers)
        _write_uint32(directory / "index.blocks", blocks)
        _write_uint32(directory / "attributes.bin", numbers)
        _write_json(directory / "attributes.json", self.attributes)
        return len(numbers)

    def _in_order(self, numbers: array[int]) -> array[int]:
        """The same numbers when attributes are in an order that does not depend on which of them was found first."""
        order = sorted(self._used, key=lambda number: (len(self.attributes[number]), self.attributes[number]))
        if order != list(range(len(self.attributes))):
            new = {number: at for at, number in enumerate(order)}
            numbers = array("I", map(new.__getitem__, numbers))
            self.attributes = [self.attributes[number] for number in order]
        return numbers


#: For each key that changed, the code that a list has for it now, by the number of the list; None: no entry.
Edits = Mapping[bytes, Mapping[int, int | None]]


def _codes(entries: Entries) -> Iterable[int]:
    """The codes that occur."""
    if isinstance(entries.codes, bytes):  # many, but of few kinds
        return [code for code in range(MASKED) if code in entries.codes]
    return set(entries.codes)


class Text(NamedTuple):
    """A source's text to keep with the bundle: the file that holds it and its sha256."""

    path: Path
    sha256: str


def write(
    parent: Path,
    lists: Iterable[Sequence[Entries]],
    *,
    manifest: Mapping[str, Any],
    policy: Mapping[str, Any],
    own: Iterable[Mapping[str, Any]],
    special: Iterable[Mapping[str, Any]] = (),
    texts: Iterable[Text],
    before: Path | None = None,
    edits: Edits | None = None,
) -> Path:
    """Write a bundle below ``parent`` and return its directory; an equal bundle that is there already is kept.

    ``lists`` are the entries of each list, all in the same ranges. Where ``edits`` are known, the index is made of that
    of the bundle ``before``, if that can be.
    All is written beside its final place, synced, and renamed at the end: a crash leaves no bundle or a whole one.
    """
    from concurrent.futures import ThreadPoolExecutor  # which a worker is without

    parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))
    try:
        keys = _write_patched(work, before, edits) if before and edits is not None else None
        if keys is None:
            keys = Index().write(work, lists)
        _write_json(work / "policy.json", policy)
        _write_json(work / "own.json", list(own))
        _write_json(work / "special.json", list(special))
        (work / "sources").mkdir()
        for text in texts:
            _link(text.path, work / "sources" / text.sha256)
        with ThreadPoolExecutor(4) as pool:  # the disk has its time while hashes are worked out
            synced = pool.map(_sync, work.iterdir())
            files = {path.name: _sha256(path) for path in sorted(work.iterdir()) if path.is_file()}
            list(synced)
        _write_json(work / "manifest.json", {"version": VERSION, **manifest, "keys": keys, "files": files})
        for path in (work / "manifest.json", work):
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


def _write_patched(directory: Path, before: Path, edits: Edits) -> int | None:
    from sinkhole.reindex import patched  # which a build from nothing is without

    if (made := patched(before, edits)) is None:
        return None
    (directory / "index.keys").write_bytes(made.keys)
    (directory / "index.first").write_bytes(made.firsts)
    _write_uint32(directory / "index.blocks", made.blocks)
    _write_uint32(directory / "attributes.bin", made.numbers)
    shutil.copyfile(before / "attributes.json", directory / "attributes.json")
    return len(made.numbers)


def _write_uint32(path: Path, numbers: array[int]) -> None:
    if sys.byteorder == "big":
        numbers = array("I", numbers)
        numbers.byteswap()
    path.write_bytes(numbers)


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
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_STEP):
            digest.update(chunk)
            os.sched_yield()  # to the thread of a worker that answers queries meanwhile, perhaps on this core
    return digest.hexdigest()


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
        self._keys = _mapped(path / "index.keys")
        self._blocks = _uint32(path / "index.blocks")
        self._numbers = _uint32(path / "attributes.bin") if manifest["keys"] else array("I")
        self._firsts = (path / "index.first").read_bytes().split(b"\n")[:-1]
        self._earlier: dict[bytes, int] = {}

    @property
    def name(self) -> str:
        return self.path.name

    def own(self) -> list[dict[str, Any]]:
        """The rules of the catalogue and the configuration: {list, name, scope, allow, source, file, line, text}."""
        rules: list[dict[str, Any]] = _read_json(self.path / "own.json")
        return rules

    def matches(self, key: bytes) -> list[tuple[bytes, Attribute]]:
        """(matching key, its attribute) of every key that is ``key`` or an ancestor of it, shortest first."""
        ends = [end + 1 for end, octet in enumerate(key) if octet == _DOT]
        places = [(end, self._place(key[:end])) for end in ends]
        return [(key[:end], self._attributes[self._numbers[place]]) for end, place in places if place >= 0]

    def records(self, key: bytes) -> tuple[int, ...]:
        """The attribute record of every key that :meth:`matches`, as numbers, after one that tells whether the last is
        ``key`` itself; empty when none does. Equal for names that are listed alike.

        Whatever stands between an ancestor and the key in order begins with that ancestor. So below the top label all
        of them are in the key's own block, but for those that the first line of the block begins with.
        """
        block = bisect_right(self._firsts, key) - 1
        if block < 0:
            return ()
        starts, numbers = self._blocks, self._numbers
        text = self._keys[starts[block] : starts[block + 1] + 1]
        found: tuple[int, ...] = ()
        last = end = key.find(b".") + 1
        if (place := self._above(key[:end])) >= 0:
            found = (numbers[place],)
        at = 0
        while end := key.find(b".", end) + 1:  # the first line that begins with an ancestor is that itself, or none is
            at = text.find(b"\n" + key[:end], at)
            if at < 0:
                break
            if at and text.startswith(key + b"\n", at + 1):  # nothing is between them
                last = len(key)
                found += (numbers[block * BLOCK + text.count(b"\n", 0, at)],)
                break
            if text[at + end + 1] == _LINE_FEED:
                last = end
                found += (numbers[block * BLOCK + text.count(b"\n", 0, at)],)
            elif not at and (place := self._above(key[:end])) >= 0:
                last = end
                found += (numbers[place],)
        return (last == len(key), *found) if found else ()

    def entry(self, key: bytes) -> Attribute:
        """The attribute of exactly ``key``."""
        place = self._place(key)
        return NOTHING if place < 0 else self._attributes[self._numbers[place]]

    def items(self) -> Iterator[tuple[bytes, Attribute]]:
        """(key, attribute) of every key, in order."""
        texts = (self._keys[at + 1 : end] for at, end in pairwise(self._blocks))
        keys = chain.from_iterable(text.split(b"\n") for text in texts)
        return zip(keys, map(self._attributes.__getitem__, self._numbers), strict=True)

    def between(self, start: bytes, end: bytes) -> tuple[list[bytes], Sequence[Attribute]]:
        """The keys from ``start`` to before ``end``, and their attributes."""
        first = max(bisect_right(self._firsts, start) - 1, 0)
        last = bisect_left(self._firsts, end)
        keys = self._keys[self._blocks[first] + 1 : self._blocks[last]].split(b"\n") if first < last else []
        at, to = bisect_left(keys, start), bisect_left(keys, end)
        numbers = self._numbers[first * BLOCK + at : first * BLOCK + to]
        return keys[at:to], list(map(self._attributes.__getitem__, numbers))

    def _above(self, part: bytes) -> int:
        """As :meth:`_place`, remembered: for what many keys have in common."""
        place = self._earlier.get(part)
        if place is None:
            if len(self._earlier) >= _REMEMBERED:
                self._earlier.clear()
            place = self._earlier[part] = self._place(part)
        return place

    def _place(self, key: bytes) -> int:
        """Which key of all ``key`` is; -1 when it is none."""
        block = bisect_right(self._firsts, key) - 1
        if block < 0:
            return -1
        text = self._keys[self._blocks[block] : self._blocks[block + 1] + 1]
        at = text.find(b"\n" + key + b"\n")
        return -1 if at < 0 else block * BLOCK + text.count(b"\n", 0, at)

    def __len__(self) -> int:
        return int(self.manifest["keys"])


def _mapped(path: Path) -> mmap:
    with path.open("rb") as file:
        return mmap(file.fileno(), 0, access=ACCESS_READ)


def _uint32(path: Path) -> memoryview | array[int]:
    view = memoryview(_mapped(path))
    if sys.byteorder == "little":
        return view.cast("I")
    numbers = array("I", view)
    numbers.byteswap()
    return numbers


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def load(path: Path, sha256: Callable[[Path], str] = _sha256) -> Bundle:
    """Open the bundle at ``path`` (or what the symlink points to) after checking it against its own name and hashes,
    which ``sha256`` gives."""
    path = path.resolve()
    try:
        manifest_bytes = (path / "manifest.json").read_bytes()
        if hashlib.sha256(manifest_bytes).hexdigest()[:_NAME_LENGTH] != path.name:
            raise BundleError(f"{path}: the manifest does not match the name of the bundle")
        manifest = json.loads(manifest_bytes)
        if manifest["version"] != VERSION:
            raise BundleError(
                f"{path}: bundle version {manifest['version']}, this program reads version {VERSION}: "
                "`sinkhole build` makes one"
            )
        for name, expected in manifest["files"].items():
            if sha256(path / name) != expected:
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

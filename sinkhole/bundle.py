"""The compiled artefact: an immutable directory named by the hash of its content.

::

    <name>/
      manifest.json     what it was made of, and the sha256 of every other file; <name> is the sha256 of this one, cut
      index.keys        all keys (sinkhole.names), sorted, each with the number of its record, in pages of PAGE octets:
                        memory-mapped and shared
      index.first       the first key of each page, a line each
      attributes.json   the records: [[list number, code], ...], code as in sinkhole.compiler.blocklist.Code
      special.json      the rules that a name alone cannot say (sinkhole.policy.special)
      policy.json       groups, directives, entries and protected names (sinkhole.policy)
      own.json          rules that come from the catalogue or the configuration, each with its file and line
      sources/<sha256>  the text of every source, so that a decision can be traced to a line

For each list, the entry of the longest matching key decides: EXACT when the key is the name itself, BELOW when it is an
ancestor. Keys have the same record when they are listed alike, and so are all their ancestors. A page is a line feed,
lines of a key and the tag of its record (:func:`_tag`), and zeros. ``current`` in the parent directory is a symlink to
the bundle in use.
"""

from __future__ import annotations

import hashlib
import json
import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, compress, count, islice, pairwise
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from sinkhole.errors import BundleError

VERSION = 3
#: Octets of a page: a key is looked up in the first keys of all pages, and then within a page, which is few lines of
#: the processor's cache, one after the other. The longest line has 259.
PAGE = 512
#: Of how many ancestors of names in other pages a process remembers what it found.
_REMEMBERED = 16384
#: The least octet of a tag, which no key has, and the number of the first record; and the octet that begins a long tag.
TAG, _LONG = 0x80, 0xFF
#: How many records have tags of one octet.
SHORT = _LONG - TAG
#: What is to be left out for the keys of some pages alone, and for the tags alone.
TAGS, _KEYS = bytes((0, *range(TAG, 0x100))), bytes({*range(TAG)} - {ord("\n")})
#: Pages that are taken apart at once.
_SOME = 256
#: Codes with this bit are masks of a list with special rules, shifted by :data:`MASK_SHIFT`: its rules are weighed
#: against those when a query comes.
MASKED, MASK_SHIFT = 8, 4
CURRENT = "current"
#: A list that has so many times fewer entries in a range than those before it is added to them key by key.
_FEW = 16
#: Octets that are hashed at a time: a quarter of a millisecond.
_STEP = 1 << 17
_DOT = ord(".")
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
    """The entries of all lists while a bundle is made: each key with the number of an interned attribute, and then with
    that of a record, which is an attribute and the record of the nearest ancestor that has one."""

    def __init__(self) -> None:
        self.attributes: list[Attribute] = []
        self._known: dict[Attribute, int] = {}
        self._records: dict[tuple[int, int], int] = {}
        self._order: dict[int, int] = {}
        self._above: list[tuple[bytes, int]] = []

    def merge(self, lists: Iterable[Entries]) -> tuple[list[bytes], list[int]]:
        """The sorted keys that the lists have in one range, and the attribute number of each, in the order of lists."""
        keys: list[bytes] = []
        numbers: list[int] = []
        for number, entries in enumerate(lists):
            if entries.codes:
                known = {code: self._number(((number, code),)) for code in _codes(entries)}
                own = list(map(known.__getitem__, entries.codes))
                if not keys:
                    keys, numbers = entries.keys, own
                elif len(own) * _FEW < len(keys):
                    self._insert(keys, numbers, entries.keys, own)
                else:
                    keys, numbers = self._united(keys, numbers, entries.keys, own)
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
        size = 0
        with (directory / "index.keys").open("wb") as pages, (directory / "index.first").open("wb") as firsts:
            writer = _Pages(pages, firsts)
            for keys, numbers in map(self.merge, zip(*lists, strict=True)):
                if keys:
                    records = self.nest(keys, numbers)
                    tags = {record: self._tag(record) for record in dict.fromkeys(records)}
                    lines = [b""] * (2 * len(keys))
                    lines[::2], lines[1::2] = keys, map(tags.__getitem__, records)
                    writer.add(b"".join(lines))
                    size += len(keys)
            writer.finish()
        told = {record: self.attributes[number] for (_, number), record in self._records.items()}
        _write_json(directory / "attributes.json", [told[record] for record in self._order])
        return size

    def _tag(self, record: int) -> bytes:
        """Its tag: records are told in the order in which the first key of each comes."""
        return _tag(self._order.setdefault(record, TAG + len(self._order)))

    def nest(self, keys: Sequence[bytes], numbers: Sequence[int]) -> list[int]:
        """The record of each of the sorted ``keys`` of one range. Ranges come in their order."""
        alone = {number: self._record(0, number) for number in sorted(set(numbers))}
        records = list(map(alone.__getitem__, numbers))
        above, at = self._above, 0  # the last key that was looked at, behind its ancestors
        parents = compress(count(), map(bytes.startswith, islice(keys, 1, None), keys))  # what is below them follows
        for first in chain((0,), parents):
            at = max(at, first)
            while at < len(keys):
                while above and not keys[at].startswith(above[-1][0]):
                    above.pop()
                if above:
                    records[at] = self._record(above[-1][1], numbers[at])
                elif at > first:
                    break
                above.append((keys[at], records[at]))
                at += 1
        if at < len(keys):
            above[:] = [(keys[-1], records[-1])]
        return records

    def _record(self, above: int, number: int) -> int:
        return self._records.setdefault((above, number), TAG + len(self._records))


class _Pages:
    """Fills pages with lines, and tells the first key of each."""

    def __init__(self, pages: BinaryIO, firsts: BinaryIO) -> None:
        self._pages, self._firsts = pages, firsts
        self._rest = b""

    def add(self, lines: bytes) -> None:
        text = self._rest + lines if self._rest else lines
        ends, at, last, rfind = [0], 0, len(text) - PAGE, text.rfind
        while at <= last:
            at = rfind(b"\n", at, at + PAGE - 1) + 1
            ends.append(at)
        self._rest = text[at:]
        self._write([text[start:end] for start, end in pairwise(ends)])

    def finish(self) -> None:
        """Write what is left. There is a page at least, because nothing cannot be mapped."""
        self._write([self._rest])

    def _write(self, pages: Sequence[bytes]) -> None:
        self._pages.write(b"".join([b"\n" + page.ljust(PAGE - 1, b"\0") for page in pages]))
        self._firsts.write(b"".join([page[: page.find(b"\n") + 1] for page in pages]).translate(None, TAGS))


def _tag(record: int) -> bytes:
    """What stands behind a key: the number of a record, one octet for small ones, five for others; and a line feed."""
    if record < _LONG:
        return bytes((record, ord("\n")))
    return bytes((_LONG, *(TAG | record >> shift & TAG - 1 for shift in (21, 14, 7, 0)), ord("\n")))


def _untag(tag: bytes) -> int:
    """The record that a tag begins with."""
    number = tag[0]
    if number == _LONG:
        number = 0
        for octet in tag[1:5]:
            number = number << 7 | octet - TAG
    return number


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
    import shutil  # what only reads a bundle starts sooner
    import tempfile
    from concurrent.futures import ThreadPoolExecutor

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
    """Write an index that is made of the one in ``before``, and return how many keys there are, if that can be."""
    from sinkhole.reindex import patched

    if (made := patched(before, edits)) is None:
        return None
    text, more = made
    with (directory / "index.keys").open("wb") as pages, (directory / "index.first").open("wb") as firsts:
        writer = _Pages(pages, firsts)
        for at in range(0, len(text), _STEP):  # memory that was used just now is used again
            writer.add(text[at : at + _STEP])
        writer.finish()
    (directory / "attributes.json").write_bytes((before / "attributes.json").read_bytes())
    keys: int = _read_json(before / "manifest.json")["keys"]
    return keys + more


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _link(source: Path, target: Path) -> None:
    """A hard link, because texts are never written in place; a copy where links cannot reach."""
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        import shutil

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
        records = _read_json(path / "attributes.json")
        self._attributes: dict[int, Attribute] = {
            number: tuple((listed, code) for listed, code in record) for number, record in enumerate(records, TAG)
        }
        self._pages = _mapped(path / "index.keys")
        #: The first keys of all pages but the first one.
        self._firsts = (path / "index.first").read_bytes().split(b"\n")[1:-1]
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
        found = [(key[:end], self._record(key[:end])) for end in ends]
        return [(part, self._attributes[record]) for part, record in found if record]

    def find(self, key: bytes) -> int:
        """What tells how a name is listed, a number that is equal for all that are listed alike: the record of ``key``,
        or that of its nearest ancestor that has one, negative; 0 when there is none.

        Whatever stands between an ancestor and the key in order begins with that ancestor. So below the top label all
        of them are in the key's own page, but for those that the first line of the page begins with. And the first
        line that begins with octets that end in a dot is a key of those octets, or there is none.
        """
        at = bisect_right(self._firsts, key) * PAGE
        page = self._pages[at : at + PAGE]
        line = b"\n" + key
        at = page.find(line)
        if at >= 0 and (tag := page[at + len(line)]) >= TAG:
            return tag if tag < _LONG else _untag(page[at + len(line) :])
        end = line.find(b".") + 1
        found = self._above(line[1:end])
        at = 0
        while end := line.find(b".", end) + 1:
            at = page.find(line[:end], at)
            if at < 0:
                break
            if (tag := page[at + end]) >= TAG:
                found = tag if tag < _LONG else _untag(page[at + end :])
            elif not at:
                found = self._above(line[1:end]) or found
        return -found

    def entry(self, key: bytes) -> Attribute:
        """The attribute of exactly ``key``."""
        return self._attributes.get(self._record(key), NOTHING)

    def items(self) -> Iterator[tuple[bytes, Attribute]]:
        """(key, attribute) of every key, in order."""
        ranges = (self._taken(at, at + _SOME) for at in range(0, len(self._firsts) + 1, _SOME))
        return chain.from_iterable(zip(keys, attributes, strict=True) for keys, attributes in ranges)

    def between(self, start: bytes, end: bytes) -> tuple[list[bytes], list[Attribute]]:
        """The keys from ``start`` to before ``end``, and their attributes."""
        keys, attributes = self._taken(bisect_right(self._firsts, start), bisect_left(self._firsts, end) + 1)
        at, to = bisect_left(keys, start), bisect_left(keys, end)
        return keys[at:to], attributes[at:to]

    def _taken(self, first: int, last: int) -> tuple[list[bytes], list[Attribute]]:
        """The keys of the pages from ``first`` to before ``last``, and their attributes."""
        text = self._pages[first * PAGE : last * PAGE]
        keys, tags = (text.translate(None, less).replace(b"\n\n", b"\n")[1:-1].split(b"\n") for less in (TAGS, _KEYS))
        if not keys[0]:  # the one page of an empty index
            return [], []
        told = {tag: self._attributes[_untag(tag)] for tag in set(tags)}
        return keys, list(map(told.__getitem__, tags))

    def _above(self, part: bytes) -> int:
        """As :meth:`_record`, remembered: for what many keys have in common."""
        record = self._earlier.get(part)
        if record is None:
            if len(self._earlier) >= _REMEMBERED:
                self._earlier.clear()
            record = self._earlier[part] = self._record(part)
        return record

    def _record(self, key: bytes) -> int:
        """The record of exactly ``key``; 0 when there is none."""
        at = bisect_right(self._firsts, key) * PAGE
        page = self._pages[at : at + PAGE]
        at = page.find(b"\n" + key) + 1
        return _untag(page[at + len(key) :]) if at and page[at + len(key)] >= TAG else 0

    def __len__(self) -> int:
        return int(self.manifest["keys"])


def _mapped(path: Path) -> mmap:
    with path.open("rb") as file:
        return mmap(file.fileno(), 0, access=ACCESS_READ)


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
    import shutil

    used = current(parent)
    bundles = [path for path in parent.iterdir() if path.is_dir() and not path.is_symlink()]
    whole = sorted(
        (path for path in bundles if not path.name.startswith(".")),
        key=lambda path: (path.stat().st_mtime_ns, path.name),
    )
    for path in [*whole[:-keep], *(path for path in bundles if path.name.startswith(".new-"))]:
        if path != used:
            shutil.rmtree(path, ignore_errors=True)

"""Domain names: the one module that knows label rules.

Four forms, each with one use:

* **text** as people write it: any case, Unicode, a trailing dot;
* **name** as rules hold it: lower-case A-labels of ``[a-z0-9_-]``, no trailing dot, 1 to 253 octets (RFC 1035 2.3.4);
* **wire** as packets hold it: length-prefixed labels of any octets, ending in the root;
* **key** as the index holds it: the name backwards, and a dot (``moc.elpmaxe.``), so that a name's ancestors are
  exactly the prefixes of its key that end in a dot, and a whole list of names becomes keys in one step.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache

MAX_TEXT = 253
_LABEL = r"[a-z0-9_-]{1,63}"
#: A name of two labels or more whose last label cannot be read as a number.
NAME = rf"(?:{_LABEL}\.)+(?=[a-z0-9-]*[a-z])[a-z0-9-]{{1,63}}"
_NAME = re.compile(NAME)
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_ADDRESS = re.compile(r"[0-9.]+|.*:.*|\[.*\]|[0-9.]+/[0-9]+")
_DOTS = str.maketrans("。．｡", "...")
#: Rules of the public suffix list, up to the first white space: in lower-case ASCII for a name itself, and all others.
_PLAIN_SUFFIX = re.compile(rb"^([a-z0-9.-]*[a-z][a-z0-9.-]*)(?=\s|\Z)", re.M)
_ODD_SUFFIX = re.compile(rb"^(?!//)(?![a-z0-9.-]*[a-z][a-z0-9.-]*(?:\s|\Z))([*!]?)\.?([^\s]+)", re.M)
_MATCHED = bytes(range(256)).lower().translate(bytes.maketrans(b".\n", b"\xff\xff"))


class BadName(ValueError):
    """A text that is no usable name; ``str()`` is the reason, without the text."""


def parse_name(text: str, *, single: bool = False) -> str:
    """The name that ``text`` means: UTS-46 non-transitional mapping, lower case, A-labels, no trailing dot.

    ``single`` allows one label (``localhost``). Raises :class:`BadName` for addresses, empty labels, labels over 63 or
    names over 253 octets, invalid punycode and characters outside ``[a-z0-9_-]``.
    """
    name = text.strip().removesuffix(".").lower()
    if not name.isascii():
        name = _to_ascii(name)
    elif "xn--" in name:
        _check_punycode(name)
    if _ADDRESS.fullmatch(name):
        raise BadName("an address, not a name")
    if len(name) > MAX_TEXT:
        raise BadName(f"longer than {MAX_TEXT} octets")
    if _NAME.fullmatch(name) or (single and _HOST.fullmatch(name)):
        return name
    raise BadName(_why(name))


def _to_ascii(name: str) -> str:
    try:
        return ".".join(map(_alabel, _mapped(name.translate(_DOTS)).split(".")))
    except UnicodeError as error:
        raise BadName("not a valid international name") from error


def _mapped(text: str) -> str:
    import idna  # its tables are large, and what only answers queries needs none of them

    return idna.uts46_remap(text, std3_rules=False, transitional=False)


def _alabel(label: str) -> str:
    """The A-label of a mapped label. Symbols that IDNA 2008 left out but registries sell pass as in UTS-46."""
    if label.isascii():
        return label
    import idna

    try:
        return idna.alabel(label).decode()
    except idna.InvalidCodepoint:
        return "xn--" + label.encode("punycode").decode()


def _check_punycode(name: str) -> None:
    if not all(_is_punycode(label) for label in name.split(".") if label.startswith("xn--")):
        raise BadName("invalid punycode")


@lru_cache(16384)
def _is_punycode(label: str) -> bool:
    try:
        _ulabel(label)
    except UnicodeError:
        return False
    return True


def _ulabel(label: str) -> str:
    import idna

    try:
        return idna.ulabel(label)
    except idna.InvalidCodepoint:
        text = label[4:].encode().decode("punycode")
        if _mapped(text) != text:
            raise
        return text


def _why(name: str) -> str:
    labels = name.split(".")
    if "" in labels:
        return "an empty label"
    if any(len(label) > 63 for label in labels):
        return "a label longer than 63 octets"
    if not _HOST.fullmatch(name):
        return "a character that no name has"
    if len(labels) == 1:
        return "a single label"
    return "a top label that is a number"


def key(name: bytes) -> bytes:
    """``b"www.example.com"`` -> ``b"moc.elpmaxe.www."``."""
    return name[::-1] + b"."


def unkey(key: bytes) -> bytes:
    """The inverse of :func:`key`."""
    return key[-2::-1]


def unkeyed(keys: Iterable[bytes]) -> bytes:
    """The names of many keys, separated by line breaks: :func:`unkey` without a call for each."""
    return b"\n".join([*keys][::-1])[:-1].replace(b".\n", b"\n")[::-1]


def wire_key(wire: bytes) -> bytes:
    """The key of a wire name (uncompressed, ending in the root), lower-cased.

    A dot inside a label becomes 0xFF, which no rule contains, so the one label ``ads.example`` never equals two; and so
    does a line feed, which divides keys in the index.
    """
    octets = wire.translate(_MATCHED)
    text = b""
    at = 0
    while size := wire[at]:
        text += b"." + octets[at + 1 : at + 1 + size]
        at += size + 1
    return text[::-1]


def to_wire(name: str) -> bytes:
    """A name as uncompressed wire labels; the empty name is the root."""
    if not name:
        return b"\0"
    return b"".join(bytes((len(label),)) + label for label in name.encode().split(b".")) + b"\0"


def present(wire: bytes) -> str:
    """A wire name as text that is safe to print and to log: RFC 1035 5.1 escapes for everything but ``[!-~]``."""
    labels = []
    at = 0
    while size := wire[at]:
        labels.append("".join(map(_escape, wire[at + 1 : at + 1 + size])))
        at += size + 1
    return ".".join(labels) or "."


def _escape(octet: int) -> str:
    char = chr(octet)
    if char in '.\\";()@$':
        return "\\" + char
    return char if 0x21 <= octet <= 0x7E else f"\\{octet:03d}"


def lineage(name: str) -> Iterator[str]:
    """The name and every ancestor below the root, nearest first."""
    yield name
    while "." in name:
        name = name.split(".", 1)[1]
        yield name


@cache
def _suffix_rules() -> tuple[frozenset[bytes], frozenset[bytes], frozenset[bytes]]:
    """The keys of (suffixes, parents of a wildcard suffix, exceptions) of the list that ships with publicsuffixlist.

    Read as a set because the library's own look-up, name by name, costs seconds on a list of a million.
    Format: https://github.com/publicsuffix/list/wiki/Format.
    """
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec("publicsuffixlist")
    assert spec
    text = Path(str(spec.origin)).with_name("public_suffix_list.dat").read_bytes()
    kinds: dict[bytes, set[bytes]] = {b"": set(), b"*": set(), b"!": set()}
    plain = _PLAIN_SUFFIX.findall(text)  # nearly all: as a whole, they take a tenth of the time
    kinds[b""].update((b"\n." + b"\n.".join(plain))[::-1].split(b"\n")[:-1])
    for kind, name in _ODD_SUFFIX.findall(text):
        kinds[kind].add(key(name if name.isascii() and name.islower() else _read(name)))
    return frozenset(kinds[b""]), frozenset(kinds[b"*"]), frozenset(kinds[b"!"])


def _read(name: bytes) -> bytes:
    return parse_name(name.decode(), single=True).encode()


def public_suffixes(keys: Sequence[bytes]) -> set[bytes]:
    """Those of the sorted ``keys`` that are keys of public suffixes (``com``, ``co.uk``, ``github.io``):
    https://publicsuffix.org/list/."""
    return listed_suffixes(keys) | wild_suffixes(keys)


def listed_suffixes(keys: Iterable[bytes]) -> set[bytes]:
    """Those of ``keys``, in any order, that the list has as they are."""
    return set(_suffix_rules()[0].intersection(keys))


def wild_suffixes(keys: Sequence[bytes]) -> set[bytes]:
    """Those of the sorted ``keys`` that are public suffixes by a rule for everything just below a name (``*.ck``)."""
    _, wild, exceptions = _suffix_rules()
    found: set[bytes] = set()
    for parent in wild:
        below = keys[bisect_left(keys, parent) : bisect_left(keys, parent + b"\xff")]
        found.update(key for key in below if key.count(b".") == parent.count(b".") + 1)
    return found - exceptions

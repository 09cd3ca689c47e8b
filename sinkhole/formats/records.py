"""Records as a special rule's answer holds them: ``TYPE DATA`` in one spelling, safe to write into any list.

Data are in presentation form (RFC 1035 5.1): names are absolute, in lower case and without the trailing dot (``.`` is
the root), addresses in their shortest form, and the strings of a TXT record are each in double quotes.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

from dnslib import QTYPE

from sinkhole.names import BadName, parse_name

TYPES = frozenset(QTYPE.reverse)
#: How many numbers stand before the one name in the data of a type; more may follow it for the last two.
_NUMBERS = {"CNAME": 0, "DNAME": 0, "NS": 0, "PTR": 0, "MX": 1, "SRV": 3, "HTTPS": 1, "SVCB": 1}
_SERVICES = ("HTTPS", "SVCB")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f\x7f]|\\["\\])*"|[^\s"\\;()\x00-\x1f\x7f]+')
_SAFE = re.compile(r"[\x20-\x7e]+")
_UNSAFE = re.compile(r'[";()\\$]')
_PARAMETER = re.compile(r"[a-z0-9-]+(?:=[!#%-'*-:<-\[\]-~]+)?")
_MAX_DATA = 4096


class BadRecord(ValueError):
    """Data that are no record of their type; ``str()`` is the reason."""


def record(rtype: str, data: str, origin: str | None = None) -> str:
    """The one spelling of a record. Names in ``data`` are relative to ``origin`` unless they end in a dot; without an
    origin all are absolute."""
    data = data.strip()
    if rtype not in TYPES or not data.isprintable() or len(data) > _MAX_DATA:
        raise BadRecord(f"a record of the type {rtype[:10]}" if rtype not in TYPES else "data that are not understood")
    try:
        return f"{rtype} {_data(rtype, data, origin)}"
    except BadName as error:
        raise BadRecord(f"a record whose target is {error}") from error
    except ValueError as error:
        raise BadRecord(f"a record of the type {rtype} that is not understood") from error


def _data(rtype: str, data: str, origin: str | None) -> str:
    if rtype == "A":
        return str(IPv4Address(data))
    if rtype == "AAAA":
        return str(IPv6Address(data))
    if rtype in ("TXT", "SPF"):
        return " ".join(map(_quoted, _strings(data)))
    if rtype not in _NUMBERS:
        if not _SAFE.fullmatch(data) or _UNSAFE.search(data):
            raise ValueError
        return " ".join(data.split())
    fields = data.split()
    at = _NUMBERS[rtype]
    if len(fields) <= at:
        raise ValueError
    numbers, name, rest = fields[:at], fields[at], fields[at + 1 :]
    if any(not number.isascii() or int(number) not in range(65536) for number in numbers):
        raise ValueError
    if rest and (rtype not in _SERVICES or not all(map(_PARAMETER.fullmatch, rest))):
        raise ValueError
    return " ".join([*(str(int(number)) for number in numbers), _target(name, rtype, origin), *rest])


def _target(name: str, rtype: str, origin: str | None) -> str:
    if name == ".":
        return name
    if origin is not None and not name.endswith("."):
        name = f"{name}.{origin}" if name != "@" else origin
    star = "*." if rtype == "CNAME" and name.startswith("*.") else ""  # a policy zone's garden keeps the name asked for
    return star + parse_name(name.removeprefix(star), single=True)


def _strings(data: str) -> list[str]:
    """The character strings of TXT data, without quotes and escapes."""
    found = _STRING.findall(data)
    if re.sub(r"\s", "", "".join(found)) != re.sub(r"\s", "", data) or any(len(text) > 257 for text in found):
        raise ValueError
    return [re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text for text in found]


def text(data: str) -> str:
    """The text of TXT data, its strings joined."""
    return "".join(_strings(data))


def _quoted(string: str) -> str:
    return '"' + string.replace("\\", "\\\\").replace('"', '\\"') + '"'


def quoted(string: str) -> str:
    """A text as TXT data: strings of up to 255 characters."""
    return " ".join(_quoted(string[at : at + 255]) for at in range(0, len(string), 255)) or '""'


def absolute(stated: str) -> str:
    """A record as a zone file holds it: its name with the trailing dot."""
    rtype, _, data = stated.partition(" ")
    if rtype not in _NUMBERS:
        return stated
    fields = data.split(" ")
    fields[_NUMBERS[rtype]] = fields[_NUMBERS[rtype]].removesuffix(".") + "."
    return f"{rtype} {' '.join(fields)}"

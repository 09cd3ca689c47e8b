"""Records as text (``TYPE DATA``, the spelling of :mod:`sinkhole.formats.records`) made into octets.

The types that people state in lists and in their configuration are written here, names uncompressed. What is left goes
to dnslib, which is imported when the first such record is met.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from sinkhole.names import to_wire
from sinkhole.resolver.message import AAAA, CAA, CNAME, DNAME, HTTPS, MX, NS, PTR, SRV, SVCB, TXT, A

#: RFC 9460 14.3.2, RFC 9461 5.
_KEYS = ("mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint", "dohpath")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')


@lru_cache(4096)
def encode(stated: str) -> tuple[int, bytes]:
    """(type, data) of a record. Raises ValueError, which is all that anything wrong in it comes to."""
    kind, _, text = stated.partition(" ")
    if kind not in _ENCODERS:
        return _by_dnslib(stated)
    number, octets = _ENCODERS[kind]
    try:
        data = octets(text)
    except (ValueError, KeyError, IndexError, struct.error) as error:
        raise ValueError(f"not a record of the type {kind}") from error
    return number, data


def _by_dnslib(stated: str) -> tuple[int, bytes]:
    from dnslib import RR, DNSBuffer, DNSError

    try:
        (rr,) = RR.fromZone(f". 0 IN {stated}")
        rr.rdata.pack(buffer := DNSBuffer())
    except (DNSError, ValueError, KeyError, IndexError, AttributeError, TypeError, struct.error) as error:
        raise ValueError(f"not a record of a known type: {stated[:40]}") from error
    return int(rr.rtype), bytes(buffer.data)


def _name(text: str) -> bytes:
    name = text.removesuffix(".").lower()
    wire = to_wire(name)
    if len(wire) > 255 or (name and not all(0 < len(label) < 64 for label in name.split("."))):
        raise ValueError("a name or label of the wrong length")
    return wire


def _numbers(count: int) -> Callable[[str], bytes]:
    """Data of 16-bit numbers and one name after them: MX (RFC 1035 3.3.9), SRV (RFC 2782)."""

    def octets(text: str) -> bytes:
        *numbers, name = text.split()
        return struct.pack(f"!{count}H", *map(int, numbers)) + _name(name)

    return octets


def _strings(text: str) -> bytes:
    """RFC 1035 3.3.14: strings of up to 255 octets, in quotes where they hold spaces."""
    found = [re.sub(r"\\(.)", r"\1", quoted) or plain for quoted, plain in _STRING.findall(text)]
    if not found:
        raise ValueError("no string")
    return b"".join(bytes((len(octets),)) + octets for octets in (string.encode() for string in found))


def _caa(text: str) -> bytes:
    """RFC 8659 4.1."""
    flags, tag, value = text.split(None, 2)
    return bytes((int(flags), len(tag))) + tag.encode() + value.strip('"').encode()


def _service(text: str) -> bytes:
    """SVCB and HTTPS (RFC 9460 2.2): the parameters in the order of their numbers, each once."""
    priority, target, *words = text.split()
    parameters: dict[int, bytes] = {}
    for word in words:
        key, _, value = word.partition("=")
        number = _KEYS.index(key) if key in _KEYS else int(key.removeprefix("key"))
        if number in parameters:
            raise ValueError("a parameter twice")
        parameters[number] = _PARAMETERS.get(key, str.encode)(value)
    packed = (struct.pack("!HH", number, len(data)) + data for number, data in sorted(parameters.items()))
    return struct.pack("!H", int(priority)) + _name(target) + b"".join(packed)


def _hints(kind: type[IPv4Address] | type[IPv6Address]) -> Callable[[str], bytes]:
    return lambda value: b"".join(kind(address).packed for address in value.split(","))


_PARAMETERS: dict[str, Callable[[str], bytes]] = {
    "mandatory": lambda value: b"".join(
        struct.pack("!H", number) for number in sorted(map(_KEYS.index, value.split(",")))
    ),
    "alpn": lambda value: b"".join(bytes((len(name),)) + name for name in value.encode().split(b",")),
    "port": lambda value: struct.pack("!H", int(value)),
    "ipv4hint": _hints(IPv4Address),
    "ech": lambda value: base64.b64decode(value, validate=True),
    "ipv6hint": _hints(IPv6Address),
}

_ENCODERS: dict[str, tuple[int, Callable[[str], bytes]]] = {
    "A": (A, lambda text: IPv4Address(text).packed),
    "AAAA": (AAAA, lambda text: IPv6Address(text).packed),
    "CAA": (CAA, _caa),
    "CNAME": (CNAME, _name),
    "DNAME": (DNAME, _name),
    "HTTPS": (HTTPS, _service),
    "MX": (MX, _numbers(1)),
    "NS": (NS, _name),
    "PTR": (PTR, _name),
    "SRV": (SRV, _numbers(3)),
    "SVCB": (SVCB, _service),
    "TXT": (TXT, _strings),
}

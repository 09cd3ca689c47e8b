"""hosts(5) files: the names and addresses of machines that the operator knows."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from sinkhole.config import MAX_RECORDS, Config
from sinkhole.errors import ConfigError, Problem
from sinkhole.names import BadName, lineage, parse_name
from sinkhole.resolver.zones import Local

#: Octets of a file, and names of all files: with more it is a list, and belongs in `lists`.
MAX_BYTES, MAX_NAMES = 1 << 20, 20_000


class Hosts(NamedTuple):
    """Name -> its records in the order of the files, and the lines that were left out, with the reason."""

    records: dict[str, list[str]]
    skipped: list[Problem]


def read(paths: Iterable[Path]) -> Hosts:
    """The names in some files. Raises ConfigError for a file that cannot be read or is too large."""
    hosts = Hosts({}, [])
    for path in paths:
        try:
            with path.open("rb") as file:
                text = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ConfigError([Problem(str(path), 0, 0, "local.hosts", f"cannot be read: {error.strerror}")]) from error
        if len(text) > MAX_BYTES:
            raise ConfigError([Problem(str(path), 0, 0, "local.hosts", f"larger than {MAX_BYTES} bytes")])
        for number, line in enumerate(text.decode("utf-8", "replace").split("\n"), 1):
            for why in _take(line.partition("#")[0].split(), hosts.records):
                hosts.skipped.append(Problem(str(path), number, 1, "", why))
        if len(hosts.records) > MAX_NAMES:
            raise ConfigError([Problem(str(path), 0, 0, "local.hosts", f"more than {MAX_NAMES} names")])
    return hosts


def _take(words: list[str], records: dict[str, list[str]]) -> Iterable[str]:
    """Adds one line; gives what could not be used of it."""
    if not words:
        return
    try:
        address = ip_address(words[0])
    except ValueError:
        yield f"{words[0][:80]!r} is not an address"
        return
    if "%" in words[0]:
        yield f"{words[0][:80]!r} is the address of an interface here"
        return
    record = f"{'A' if address.version == 4 else 'AAAA'} {address}"
    for text in words[1:]:
        try:
            name = parse_name(text, single=True)
        except BadName as error:
            yield f"{text[:80]!r} is not a name: {error}"
            continue
        if "localhost" in lineage(name):  # RFC 6761 6.3: always both loopback addresses, which no file needs to say
            continue
        known = records.setdefault(name, [])
        if len(known) >= MAX_RECORDS:
            yield f"more than {MAX_RECORDS} addresses of {name}"
        elif record not in known:
            known.append(record)


def local(config: Config) -> tuple[Local, list[Problem]]:
    """What a configuration and its hosts files state, and the lines of those that were left out."""
    hosts = read(config.local.hosts)
    records = {**config.records, **{name: texts for name, texts in hosts.records.items() if name not in config.records}}
    stated = tuple((name, tuple(texts)) for name, texts in records.items())
    said = config.local
    forward = (*said.forward, *config.upstream.conditional)  # who has servers of its own is asked there
    return Local(stated, said.zones, forward, said.ttl, said.version or "", said.server_id or ""), hosts.skipped

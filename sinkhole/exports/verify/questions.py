"""What to ask about a list: names of every class of rule, and all around them.

Of each name that is taken: the name, in capitals too, what is below it at two depths, what it is below, names beside
it, and names that only look like it. Of a list too long to be asked for whole, every kind of entry gets its share.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from itertools import chain, islice, zip_longest

from sinkhole.compiler.compile import Compiled
from sinkhole.exports.verify.asking import AAAA, HTTPS, Question, probe
from sinkhole.names import MAX_TEXT, unkey
from sinkhole.rules import On, Special

#: How many questions come of one name, at most; every so many-th of the names is asked for with the other types too.
PER_NAME = 18
_TYPED = 7
_LITERAL = re.compile(r"(?:[a-z0-9-]|\\[.-])+")
_SOUND = re.compile(r"(?!-)(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}", re.I)


def questions(compiled: Compiled, most: int) -> list[Question]:
    """Up to about ``most`` different questions about a list."""
    special = [name for rule in compiled.special for name in _of_special(rule)]
    keys = sorted({*islice(_taken(compiled, max(1, most // PER_NAME)), most // PER_NAME + 1), *sorted(compiled.hosts)})
    names = dict.fromkeys(chain.from_iterable(map(around, (*special[: most // PER_NAME], *map(_name, keys)))))
    few = list(names)[: most * _TYPED // (_TYPED + 2)]
    found = [Question(name) for name in few]
    found += [Question(name, rtype) for name in few[::_TYPED] for rtype in (AAAA, HTTPS)]
    probes = (question for rule in compiled.special if rule.on is On.ADDRESS for question in _probes(rule))
    return [*found[:most], *islice(dict.fromkeys(probes), most)]


def _name(key: bytes) -> str:
    return unkey(key).decode()


def _taken(compiled: Compiled, most: int) -> Iterator[bytes]:
    """Keys of a list, of each kind in turn, evenly over the list."""
    keys, codes = compiled.resolved.keys, compiled.resolved.codes
    masks = compiled.masks()
    kinds: dict[tuple[int, int], list[int]] = {}
    for at, code in enumerate(codes):
        kinds.setdefault((code, masks.get(keys[at], 0) if masks else 0), []).append(at)
    spread = ([places[at * len(places) // most] for at in range(most)] if len(places) > most else places
              for places in kinds.values())  # fmt: skip
    return (keys[at] for at in chain.from_iterable(zip_longest(*spread)) if at is not None)


def around(name: str) -> Iterator[str]:
    """A name, and names whose verdict might be taken for its own."""
    first, _, parent = name.partition(".")
    above = parent.partition(".")[2]
    found = (
        name,
        name.upper(),
        f"a.{name}",
        f"xn--bcher-kva._x.{name}",
        f"www.{name}",
        parent,
        above,
        f"zz9.{parent}",
        f"a.zz9.{parent}",
        f"not{name}",
        f"not-{name}",
        f"{name}.other.example",
        f"{name}x",
        f"{first}x.{parent}",
    )
    return (name for name in found if _sound(name))


def _sound(name: str) -> bool:
    return "." in name and len(name) <= MAX_TEXT and _SOUND.fullmatch(name) is not None


def _of_special(rule: Special) -> Iterator[str]:
    """Names that a special rule may be about."""
    if rule.on is On.NAME:
        yield rule.what
    elif rule.on in (On.PATTERN, On.NOT_PATTERN):
        parts = [part.replace("\\", "") for part in _LITERAL.findall(rule.what)]
        for text in (*parts, "".join(parts)):
            yield from (found for found in _with(text.strip(".")) if _sound(found))
    yield from (f"q.{name}" for name in rule.except_names)
    yield from rule.except_names


def _with(text: str) -> Iterable[str]:
    return text, f"{text}.example", f"x{text}y.example", f"a.{text}.b.example", f"x-{text}-y.test.example"


def _probes(rule: Special) -> Iterator[Question]:
    """The first and the last address of a network, and those before and behind it."""
    network = ip_network(rule.what)
    first, last = network[0], network[-1]
    yield probe(str(first))
    yield probe(str(last))
    if int(first):
        yield probe(str(first - 1))
    if int(last) < 2**network.max_prefixlen - 1:
        yield probe(str(last + 1))

"""A list with every class of rule, in every nesting, and with names of every odd shape."""

from __future__ import annotations

import random

from sinkhole.bundle import Entries
from sinkhole.compiler.blocklist import Blocklist, Fold, resolve
from sinkhole.compiler.compile import Compiled
from sinkhole.compiler.planned import ListPlan
from sinkhole.names import key
from sinkhole.rules import Kind, On, Rank, Rule, Scope, Special
from tests.samples import sample

#: Names that no zone file, configuration or script may take for anything but a name.
ODD = [
    "-a.odd.example",
    "a-.odd.example",
    "-.odd.example",
    "--.odd.example",
    "_dmarc._tcp.odd.example",
    "_.odd.example",
    "a_b.odd.example",
    "xn--bcher-kva.odd.example",
    "xn--80ak6aa92e.odd.example",
    "r3---sn-x.odd.example",
    "0.odd.example",
    "1.2.3.4.odd.example",
    "0x7f.odd.example",
    "in.odd.example",
    "a.in",
    "cname.odd.example",
    "soa.odd.example",
    "60.odd.example",
    "1h.odd.example",
    "ttl.odd.example",
    "include.odd.example",
    "server.odd.example",
    "local-zone.odd.example",
    "tree.odd.example",
    "block.odd.example",
    "end.odd.example",
    "constructor.odd.example",
    "__proto__.odd.example",
    "hasownproperty.odd.example",
    "rpz-ip.odd.example",
    "rpz-drop.example",
    "32.1.2.0.192.rpz-ip.odd.example",
    ".".join(["a" * 63, "odd", "example"]),
    ".".join(["b" * 63] * 2 + ["odd", "example"]),
    ".".join(["c" * 61] * 4)[:239] + ".odd.example",
    "d." * 110 + "odd.example",
]
_TREE, _EXACT, _BELOW = Kind(Scope.TREE), Kind(Scope.EXACT), Kind(Scope.SUBDOMAINS)


def rules(seed: int = 0, lists: int = 160) -> list[Rule]:
    """Rules of every kind: many small lists of all nestings side by side, and odd names."""
    nested = [
        rule._replace(name=rule.name.replace("z.test", f"z{number}.example"))
        for number in range(lists)
        for rule in sample(random.Random(seed * 1000 + number), 5)
    ]
    kinds = (_TREE, _EXACT, _BELOW)
    odd = [Rule(name, kinds[at % 3]) for at, name in enumerate(ODD)]
    odd += [Rule(f"t{at}.{name}"[-253:].lstrip(".-"), kinds[(at + 1) % 3]) for at, name in enumerate(ODD[:28])]
    holes = [Rule(f"u{at}.example", _TREE) for at in range(len(ODD[:28]))]
    holes += [
        Rule(f"{name.removesuffix('.example').removesuffix('.in')}.u{at}.example", Kind(kinds[at % 3].scope, True))
        for at, name in enumerate(ODD[:28])
    ]
    return [*nested, *odd, *holes]


def answers() -> list[Special]:
    """Rules with an answer of their own, of every kind and scope."""
    answers = [
        *("NXDOMAIN", "NODATA", "DROP", "TCP-ONLY", "NULL", "A 192.0.2.9", "A 192.0.2.9\nAAAA 2001:db8::9"),
        *("CNAME garden.example", 'TXT "a; b\\"c"', "MX 10 mail.example"),
    ]
    odd = [
        Special(0, On.NAME, name, _EXACT, answer=answer)
        for name, answer in (
            ("_a.answers.example", "A 192.0.2.9"),
            ("-b.answers.example", "AAAA 2001:db8::9"),
            ("c.answers.example", "MX 10 _mail.example"),
            ("_d.answers.example", 'TXT "x"'),
            ("_e.answers.example", "NODATA"),
        )
    ]
    return odd + [
        Special(0, On.NAME, f"s{at}{scope.label}.answers.example", Kind(scope), answer=answer)
        for at, answer in enumerate(answers)
        for scope in (Scope.EXACT, Scope.TREE, Scope.SUBDOMAINS)
    ]


def conditions() -> list[Special]:
    """Patterns, and rules for some types, clients and names only."""
    found = [
        Special(0, On.PATTERN, pattern, _EXACT)
        for pattern in (r"^ads\d+\.", r"(\.|^)track[a-z]{2}\.example$", "doubleclick", r"^b-[0-9]\.pat\.")
    ]
    for at, (allow, types, clients, spared) in enumerate(
        (
            (False, ("A",), (), ()),
            (False, ("~A",), (), ()),
            (False, (), ("127.0.0.0/8",), ()),
            (False, (), ("~127.0.0.1",), ()),
            (False, (), (), ("ok.c4.conditions.example",)),
            (True, ("AAAA",), (), ()),
            (True, (), ("192.0.2.1",), ()),
        )
    ):
        kind = Kind(Scope.TREE, allow, Rank.IMPORTANT if at == 6 else Rank.FEED)
        found.append(Special(0, On.NAME, f"c{at}.conditions.example", kind, types, clients, (), spared))
    return found


def networks() -> list[Special]:
    """Rules on addresses of answers, nested."""
    stated = [
        *(("203.0.113.0/24", False), ("203.0.113.64/26", True), ("203.0.113.65/32", False), ("192.0.2.7/32", False)),
        *(("2001:db8:1::/48", False), ("2001:db8:1:2::/64", True), ("2001:db8:9::1/128", False)),
    ]
    return [Special(0, On.ADDRESS, what, Kind(Scope.EXACT, allow)) for what, allow in stated]


def compiled(stated: list[Rule], special: list[Special] | None = None, hosts: list[str] | None = None) -> Compiled:
    """The list of these rules, as a build makes it."""
    blocklist = Blocklist()
    for rule in stated:
        blocklist.merge({rule.kind: [key(rule.name.encode())]})
    pairs = list(Fold().masked(blocklist.masks)) if special else []
    entries = [Entries(b"".join([found + b"\n" for found, _ in pairs]), [code for _, code in pairs])] if special else []
    return Compiled(
        ListPlan("every", "Every class of rule", updated="2026-11-23"),
        resolve(blocklist.masks),
        entries,
        frozenset(key(host.encode()) for host in hosts or ()),
        (),
        tuple((rule, "made up") for rule in sorted(special or (), key=repr)),
    )

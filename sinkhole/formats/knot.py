"""Policy zones for Knot Resolver: what :mod:`sinkhole.formats.rpz` writes, as far as the resolver evaluates it.

Source: https://www.knot-resolver.cz/documentation/latest/config-policy.html (``rpz``): it knows triggers on the name
asked for only, so rules about addresses, clients and name servers are left out. Its wildcard is the longest that
fits, even below a name that exists, which the zones written here allow for. An alias as answer it leaves out, too.
"""

from __future__ import annotations

from sinkhole.formats import rpz
from sinkhole.formats.format import Format
from sinkhole.rules import On, Special


def special(found: Special) -> str | None:
    return rpz.FORMAT.special(found) if found.on is On.NAME and not found.answer.startswith("CNAME ") else None


FORMAT: Format = rpz.FORMAT._replace(
    name="knot",
    title="Knot Resolver policy zone",
    use='Knot Resolver: policy.add(policy.rpz(policy.DENY, "FILE"))',
    special=special,
)

"""Lists of type allow as files: names that other lists may not block.

Some formats are names and nothing else: whether they are blocked or let through is for the setting that names the file
to say. The others have a word for an exception, or no file is written. An exception inside a list of type allow takes
its names out of it, and narrows the file as it does elsewhere: never is more let through than the list says.
"""

from __future__ import annotations

from collections.abc import Mapping

from sinkhole.formats import FORMATS
from sinkhole.formats.format import Format
from sinkhole.rules import Kind, Scope

_SCOPES = (Scope.TREE, Scope.EXACT, Scope.SUBDOMAINS)
#: Formats that are names alone, with the setting that lets them through.
NEUTRAL = {
    "domains": "any software that takes plain lists of names, as a list of what it lets through",
    "wildcard": "blocky: an entry of `allowlists`",
    "pihole-regex": "Pi-hole: Domains, RegEx filter, Add to allowed domains, one line each",
    "squid": 'Squid: acl allowed dstdomain "FILE"',
    "dnscrypt": "dnscrypt-proxy: allowed_names_file = 'FILE' in [allowed_names]",
    "routedns": 'RouteDNS: allowlist-format = "domain", allowlist-source = [{source = "FILE"}]',
    "technitium": "Technitium DNS Server: Settings, Blocking, Allow / Block List URLs, with ! before the URL",
    "v2fly": FORMATS["v2fly"].use,
}
_USES = {
    "adblock": "AdGuard Home: Filters, DNS blocklists, Add blocklist (the rules in it are exceptions)",
    "pihole": "Pi-hole: Lists, Add allowlist",
    **{name: f"{format.use}, before other zones" for name, format in FORMATS.items() if format.nested},
    "csv": FORMATS["csv"].use,
    "json": FORMATS["json"].use,
}


def exceptions(format: Format) -> Format | None:
    """The format as a list of type allow is written in it; None where there is no such file."""
    if format.name in NEUTRAL:
        lines: Mapping[Kind, bytes] = {kind: line for kind, line in format.lines.items() if not kind.allow}
        return format._replace(lines=lines, use=NEUTRAL[format.name])
    if format.name not in _USES:
        return None
    title, use = f"{format.title} (exceptions)", _USES[format.name]
    return format._replace(
        title=title, use=use, lines=_lines(format), nested=False, closest=False, special=lambda rule: None
    )


def _lines(format: Format) -> dict[Kind, bytes]:
    """What states an exception, for each scope."""
    if format.name == "pihole":
        return {Kind(Scope.TREE): b"@@||%s^", Kind(Scope.EXACT): b"%s"}
    known = {scope: format.lines.get(Kind(scope, allow=True)) for scope in _SCOPES}
    if not known[Scope.TREE]:
        known[Scope.TREE] = b"%s\n%s" % (known[Scope.EXACT], known[Scope.SUBDOMAINS])
    return {Kind(scope): line for scope, line in known.items() if line}

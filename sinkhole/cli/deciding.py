"""``sinkhole explain``: why a name is answered as it is."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Annotated, Any

import typer
from dnslib import CLASS, QTYPE, RCODE, DNSQuestion, DNSRecord

from sinkhole.cli import context, instants
from sinkhole.cli.options import ConfigOption
from sinkhole.errors import SinkholeError
from sinkhole.names import BadName, key, parse_name
from sinkhole.policy.explain import explain as explain_name
from sinkhole.policy.explain import is_address
from sinkhole.policy.policy import Policy
from sinkhole.policy.verdict import FORWARD, Action, Verdict
from sinkhole.resolver.answer import blocking
from sinkhole.resolver.cache import Cache
from sinkhole.resolver.engine import Engine, Private
from sinkhole.resolver.lookup import Lookup
from sinkhole.resolver.message import Query, Response, read_query
from sinkhole.resolver.upstream import Done, Forwarder
from sinkhole.resolver.zones import Found, Zones
from sinkhole.service import hosts


def explain(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="Names or addresses to explain.")] = None,
    stdin: Annotated[bool, typer.Option("--stdin", help="Read names from standard input, one a line.")] = False,
    client: Annotated[str, typer.Option(metavar="IP", help="The address of the client who asks.")] = "127.0.0.1",
    token: Annotated[
        str, typer.Option(metavar="T", help="The token by which the client asks over TLS or HTTPS, if any.")
    ] = "",
    rtype: Annotated[str, typer.Option("--type", metavar="T", help="The type of record that is asked for.")] = "A",
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="At which instant, as in 2025-02-15T18:00+09:00. Default: now.")
    ] = None,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Say why a name is answered as it is: which order, list, source, line and rule decided, and what lost.

    Explained is the bundle in use; before the first build, what the configuration says now. An address is explained as
    one in an answer. Nothing is resolved.

    \b
    sinkhole explain chat.deepseek.com
    sinkhole explain --client 10.20.0.7 --at 2025-02-15T17:59+09:00 --json chat.deepseek.com
    """
    instant = instants.parse(at, "--at") if at else None
    _check_client(client)
    token = token.lower()
    wanted = rtype.upper()
    if QTYPE.reverse.get(wanted) is None:
        raise typer.BadParameter(f"{rtype!r} is no record type; try A, AAAA or HTTPS", param_hint="--type")
    given = [*(names or []), *((line.strip() for line in sys.stdin if line.strip()) if stdin else [])]
    if not given:
        raise typer.BadParameter("at least one is needed, or --stdin", param_hint="NAME")
    ctx = context.load(config)
    with ctx.in_use() as opened:
        policy = Policy(opened, instant or ctx.now, ctx.permissions)
        for found in _explained(policy, given, Private(client, 0, token), wanted, ctx):
            print(json.dumps(found, ensure_ascii=False) if as_json else _told(found))


def _explained(
    policy: Policy, names: Iterable[str], asker: Private, rtype: str, ctx: context.Context
) -> Iterator[dict[str, Any]]:
    how = ctx.config.blocking
    answers = blocking(how.mode if isinstance(how.mode, str) else map(str, how.mode), how.ttl)
    zones = Zones(hosts.local(ctx.config)[0])
    zones.tell(policy.bundle.name)
    client, _, token = asker
    for text in names:
        if is_address(text):
            yield {**explain_name(policy, text, client, rtype, token), "answer": None}
            continue
        try:
            name = parse_name(text, single=True)
        except BadName as error:
            raise SinkholeError(f"{text!r} is not a name: {error}") from error
        found = explain_name(policy, name, client, rtype, token)
        verdict = policy.decide(policy.profile(client, token), key(name.encode()), QTYPE.reverse[rtype])
        packet = _packet(name, rtype)
        query = read_query(packet)
        assert query
        blocks = verdict.action is Action.BLOCK
        if local := zones.stated(query) or (not blocks and zones.reserved(query)):
            verdict, link = FORWARD, _local(ctx, name, isinstance(local, Found))
            lost = [{**other, "won": False} for other in found["chain"]]
            found |= {key: link[key] for key in ("action", "directive", "list", "source", "line", "rule")}
            found["chain"] = [link, *lost]
        found["answer"] = None
        if local or blocks:
            engine = Engine(policy, Lookup(_Nobody([]).route, Cache()), answers, zones=zones)
            found["answer"] = _answer(engine, packet, asker, verdict)
        yield found


class _Nobody(Forwarder):
    """Upstreams that know nothing of any name."""

    def ask(self, query: Query, done: Done, client: str = "") -> None:
        done(Response(0))


def _packet(name: str, rtype: str) -> bytes:
    return bytes(DNSRecord(q=DNSQuestion(name, QTYPE.reverse[rtype], CLASS.IN)).pack())


def _answer(engine: Engine, packet: bytes, asker: Private, verdict: Verdict) -> dict[str, Any]:
    """What the client would receive when the name is not forwarded: from the resolver itself, read by dnslib.

    Of an alias it is the alias alone; ``rcode`` is None when there would be no answer at all.
    """
    replies: list[bytes] = []
    engine.handle(packet, asker, lambda reply, _: replies.append(reply), bool(asker.name))
    answers = [DNSRecord.parse(reply) for reply in replies]
    return {
        "rcode": RCODE[answers[0].header.rcode] if answers else None,
        "records": [f"{rr.rname} {rr.ttl} {QTYPE[rr.rtype]} {rr.rdata}" for answer in answers for rr in answer.rr],
        "ede": verdict.ede,
        "text": verdict.text,
    }


def _local(ctx: context.Context, name: str, stated: bool) -> dict[str, Any]:
    """The link of a name that is answered before, or instead of, everything else in the chain."""
    file, line = ctx.config.where("records", name) if stated else ("special-use names and `local.zones`", 0)
    return {
        "won": True,
        "action": "local",
        "because": "the operator's records and hosts files" if stated else "a zone that is asked of nobody",
        "directive": None,
        "list": None,
        "source": file,
        "line": line,
        "rule": f"local {name}",
        "text": name,
    }


def _told(found: dict[str, Any]) -> str:
    """The explanation for people: the decision, the answer, then the chain."""
    lines = [f"{found['name']} {found['type']} for {found['client']} ({', '.join(found['groups'])}): {found['action']}"]
    if answer := found["answer"]:
        lines.append(f"  answer   {answer['rcode'] or 'none at all'} {'; '.join(answer['records']) or 'no records'}")
        if answer["ede"] is not None:
            lines.append(f"  error    EDE {answer['ede']}: {answer['text']}")
    for link in found["chain"]:
        mark = "decided" if link["won"] else "lost"
        lines.append(f"  {mark:8} {link['rule']}, {link['because']}")
        place = f"{link['source']}:{link['line']}" if link["line"] else link["source"]
        if link["text"]:
            lines.append(f"           {place}: {link['text']}")
    if not found["chain"]:
        lines.append("  nothing applies; it is forwarded")
    return "\n".join(lines)


def _check_client(text: str) -> None:
    try:
        ip_address(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no IP address", param_hint="--client") from None

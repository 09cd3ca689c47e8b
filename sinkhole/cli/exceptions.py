"""``sinkhole exception``: who may reach what in spite of the policy, by whose approval, and the record of it."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from typing import Annotated

import typer
from dnslib import QTYPE

from sinkhole import journal
from sinkhole.catalogue.model import Target, parse_duration, parse_service, parse_target
from sinkhole.cli import context, instants, tables
from sinkhole.cli.options import ConfigOption, JsonOption
from sinkhole.document import in_words, suggest
from sinkhole.errors import JournalError, SinkholeError
from sinkhole.names import key, public_suffixes
from sinkhole.policy import exceptions
from sinkhole.policy.exceptions import Permission
from sinkhole.policy.policy import Policy

exception = typer.Typer(
    help="Exceptions to the policy: asked for, approved, ending by themselves, and recorded.", no_args_is_help=True
)

_Id = Annotated[str, typer.Argument(metavar="ID", help="The id of the exception.")]
_By = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who decides. Default: the user of the system.")]


@exception.command()
def request(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME...", help="`example.com` with all below it, `=example.com` that name alone."),
    ] = None,
    service: Annotated[
        str | None, typer.Option(metavar="SERVICE", help="A service of the catalogue, or tiers: `deepseek:core,api`.")
    ] = None,
    client: Annotated[
        list[str] | None, typer.Option(metavar="CIDR", help="For these clients; may be repeated.")
    ] = None,
    group: Annotated[list[str] | None, typer.Option(metavar="GROUP", help="For these groups; may be repeated.")] = None,
    lasting: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="How long from its approval on, as in `30m` or `7d`.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Until when, as in 2025-03-31T18:00+09:00.")] = None,
    why: Annotated[str, typer.Option(metavar="TEXT", help="What it is needed for.")] = "",
    ticket: Annotated[str | None, typer.Option(metavar="TEXT", help="Its number elsewhere.")] = None,
    by: Annotated[
        str | None, typer.Option("--by", metavar="NAME", help="Who asks. Default: the user of the system.")
    ] = None,
    approve: Annotated[
        bool, typer.Option("--approve", help="Approve it at once; not where a directive wants two people.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Ask for an exception; it holds from its approval on.

    Names of a service are those that the catalogue has now: what it learns later is not covered. Refused is what a
    directive in force does not allow.

    \b
    sinkhole exception request chat.deepseek.com --client 10.20.0.7 --for 30m --why "incident 4711" --approve
    sinkhole exception request --service deepseek:api --group lab --until 2026-12-31T18:00+09:00 --why "evaluation"
    """
    ctx = context.load(config)
    who = _who(by)
    targets = [*map(_target, names or []), *_service(ctx, service)]
    for name in group or []:
        if name != "all" and name not in ctx.config.groups:
            raise SinkholeError(f"no group {name!r}; {suggest(name, ['all', *ctx.config.groups])}")
    with journal.open_for_writing(ctx.journal) as opened:
        number = 1 + len(exceptions.register(opened.records))
        asked = exceptions.request(
            number,
            ctx.now,
            who,
            why,
            map(str, targets),
            service=service,
            clients=map(_client, client or []),
            groups=group or (),
            until=instants.parse(until, "--until") if until else None,
            lasts=_duration(lasting),
            ticket=ticket,
        )
        # On the terms of its approval if that comes now, and on no terms but that there may be one if it comes later.
        approved = exceptions.approve(asked, ctx.now, who)
        _allowed(ctx, approved if approve else approved._replace(decider=None))
        opened.add(ctx.now, who, "request", asked.id, None, asked.plain)
        if approve:
            opened.add(ctx.now, who, "approve", asked.id, asked.plain, approved.plain)
    print(f"{asked.id} is {'approved until ' + str(approved.until) if approve else 'requested'}")


@exception.command("approve")
def approve_request(id: _Id, by: _By = None, config: ConfigOption = None) -> None:
    """Approve a request: from now on it holds, on running resolvers within a second.

    \b
    sinkhole exception approve x12
    """
    ctx = context.load(config)
    with journal.open_for_writing(ctx.journal) as opened:
        asked, who = _entry(opened.records, id), _who(by)
        approved = exceptions.approve(asked, ctx.now, who)
        _allowed(ctx, approved)
        opened.add(ctx.now, who, "approve", id, asked.plain, approved.plain)
    print(f"{id} is approved until {approved.until}")


@exception.command()
def deny(id: _Id, by: _By = None, config: ConfigOption = None) -> None:
    """Deny a request."""
    ctx = context.load(config)
    with journal.open_for_writing(ctx.journal) as opened:
        asked, who = _entry(opened.records, id), _who(by)
        opened.add(ctx.now, who, "deny", id, asked.plain, exceptions.deny(asked, who).plain)
    print(f"{id} is denied")


@exception.command()
def revoke(id: _Id, by: _By = None, config: ConfigOption = None) -> None:
    """End an exception that is in force."""
    ctx = context.load(config)
    with journal.open_for_writing(ctx.journal) as opened:
        held = _entry(opened.records, id)
        opened.add(ctx.now, _who(by), "revoke", id, held.plain, exceptions.revoke(held, ctx.now).plain)
    print(f"{id} is revoked")


@exception.command("list")
def list_exceptions(
    everything: Annotated[bool, typer.Option("--all", help="Those that are over or denied too.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """The exceptions that are asked for or in force."""
    ctx = context.load(config)
    found = [
        {**entry.plain, "state": entry.state_at(ctx.now)}
        for entry in exceptions.register(journal.read(ctx.journal)).values()
    ]
    shown = [entry for entry in found if everything or entry["state"] in (exceptions.REQUESTED, exceptions.APPROVED)]
    if as_json:
        print(json.dumps(shown, ensure_ascii=False))
        return
    rows = [
        (
            entry["id"],
            entry["state"],
            entry["service"] or ", ".join(entry["names"]),
            ", ".join([*entry["clients"], *entry["groups"]]),
            entry["until"] or "",
            entry["requester"],
            entry["decider"] or "",
            entry["ticket"] or "",
            entry["why"],
        )
        for entry in shown
    ]
    tables.show(["id", "state", "what", "for", "until", "requested by", "decided by", "ticket", "why"], rows)


@exception.command()
def verify(
    head: Annotated[
        str | None, typer.Option(metavar="HASH", help="The hash that this command told before, kept elsewhere.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Check that nobody changed the record of exceptions, and print how many entries it has and its hash.

    The hash stands for the whole record. Kept elsewhere and given again as `--head`, it shows that nothing was cut off
    the end since.
    """
    records = journal.read(context.load(config).journal)
    if head is not None and head not in {journal.START, *(record.hash for record in records)}:
        raise JournalError(
            f"the record has no entry with the hash {head[:64]!r}: entries were cut off, or all rewritten"
        )
    print(f"{len(records)} entries, {journal.head(records)}")


def _allowed(ctx: context.Context, wanted: Permission) -> None:
    """Refuse what a directive in force does not allow for its clients and names. An undecided request is measured as
    if somebody else approved it now."""
    with ctx.in_use() as opened:
        policy = Policy(opened, ctx.now)
        profiles = {policy.profile(str(ip_network(client)[0])) for client in wanted.clients}
        profiles |= {policy.profile_of(frozenset({"all", group})) for group in wanted.groups}
        keys = [key(name.removeprefix("=").encode()) for name in wanted.names]
        orders = {id for profile in profiles for name in keys for id in policy.orders(profile, name, QTYPE.A)}
        for id in sorted(orders):
            terms = opened.policy["directives"][id]["exceptions"]
            if wanted.meets(terms):
                continue
            if terms is None:
                raise SinkholeError(f"directive {id} allows no exceptions")
            if terms["two-person"] and wanted.requester == wanted.decider:
                raise SinkholeError(
                    f"directive {id} wants an exception approved by somebody else than who asked for it"
                )
            raise SinkholeError(f"directive {id} allows exceptions of at most {terms['at-most'] / 3600:g} hours")


def _entry(records: Iterable[journal.Record], id: str) -> Permission:
    register = exceptions.register(records)
    if id not in register:
        raise SinkholeError(f"no exception {id!r}; {suggest(id, register)}")
    return register[id]


def _target(text: str) -> Target:
    try:
        target = parse_target(text)
    except ValueError as error:
        raise SinkholeError(str(error)) from None
    if public_suffixes([key(target.name.encode())]):
        raise SinkholeError(
            f"{target.name} is a public suffix, under which anybody may have a name; name what is needed"
        )
    return target


def _service(ctx: context.Context, text: str | None) -> Iterator[Target]:
    if text is None:
        return
    try:
        ref = parse_service(text)
    except ValueError as error:
        raise SinkholeError(in_words(error)) from None
    if ref.service not in ctx.catalogue.services:
        raise SinkholeError(f"no service {ref.service!r}; {suggest(ref.service, ctx.catalogue.services)}")
    tiers = ctx.catalogue.services[ref.service].tiers
    yield from (entry.target for tier in ref.tiers for entry in tiers.get(tier, ()))


def _client(text: str) -> str:
    try:
        network = ip_network(text)
        return str(network if network.num_addresses > 1 else network[0])
    except ValueError as error:
        raise typer.BadParameter(
            f"{error}; write an address or a network such as 10.20.0.0/16", param_hint="--client"
        ) from None


def _duration(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return float(parse_duration(text))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--for") from None


def _who(named: str | None) -> str:
    """Who acts: as named, else the person behind sudo(8), else the user of this process."""
    if named is not None:
        return named
    with_sudo = os.environ.get("SUDO_USER")
    try:
        return with_sudo or pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"

"""``sinkhole export``: a list, or what a group may not reach, as a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from sinkhole.cli import context, instants, publishing, tables
from sinkhole.cli.options import ConfigOption
from sinkhole.errors import SinkholeError
from sinkhole.exports.group import group
from sinkhole.exports.loss import Loss
from sinkhole.exports.publish import export as export_subject
from sinkhole.exports.publish import is_stated
from sinkhole.exports.subject import Subject, of_group, of_list
from sinkhole.files import Lock, write_atomic
from sinkhole.formats import FORMATS, format_named
from sinkhole.formats.format import Format
from sinkhole.policy.policy import Policy

#: Seconds that files of groups wait for a build to end.
WAIT = 120.0

OutputOption = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where to write it. Default: standard output.")
]
PerLineOption = Annotated[
    int, typer.Option("--per-line", metavar="N", help="Names in one line, for hosts files: Windows copes with 9.")
]


def export(
    list_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[LIST]", help="A list of the catalogue or the configuration.")
    ] = None,
    format: Annotated[
        str | None, typer.Option("--format", metavar="FMT", help=f"One of: {', '.join(FORMATS)}.")
    ] = None,
    output: OutputOption = None,
    per_line: PerLineOption = 1,
    group_id: Annotated[
        str | None,
        typer.Option("--group", metavar="GROUP", help="In place of a list: what the policy keeps from a group."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="With --group: at which instant, as in 2025-02-15T18:00+09:00. Default: now."
        ),
    ] = None,
    report: Annotated[
        bool,
        typer.Option("--report", help="Write nothing, and print what each export of the lists cannot state."),
    ] = False,
    groups: Annotated[
        bool,
        typer.Option(
            "--groups", help="Bring the published files of all groups up to date, by the bundle in use, and no others."
        ),
    ] = False,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --report: print JSON instead of text.")] = False,
) -> None:
    """Write one list, or what a group may not reach, in one format.

    The file never blocks more than the list says, or than the policy keeps from the group: directives in force at that
    instant, lists, the operator's own names, and exceptions that the whole group has. What the format cannot state is
    left out, counted in the header and reported on standard error. A report is about the lists that are named, or all
    that a build exports, in one format or all. With --groups no list is compiled: the resolver runs that itself when an
    instant comes at which the policy changes.

    \b
    sinkhole export deepseek --format hosts
    sinkhole export deepseek --format rpz -o /etc/bind/deepseek.zone
    sinkhole export --group all --at 2025-02-15T18:00+09:00 --format unbound
    sinkhole export --report
    sinkhole export --groups -c /etc/sinkhole/sinkhole.yaml
    """
    target = format_named(format) if format else None
    instant = instants.parse(at, "--at") if at else None
    if report and not group_id:
        return _report(context.load(config), list_ids, [target] if target else FORMATS.values(), as_json)
    given = [*(list_ids or ()), *([group_id] if group_id else ())]
    if groups and not (given or report or format or output):
        return _publish_groups(context.load(config))
    if groups or len(given) != 1 or (at and not group_id):
        raise typer.BadParameter("name one list, or one group with --group", param_hint="LIST")
    ctx = context.load(config)
    subject = _of_group(ctx, group_id, instant or ctx.now) if group_id else of_list(ctx.compile(given[0]))
    if report:
        return _show_report([(subject, [target] if target else FORMATS.values())], as_json)
    if not target:
        raise typer.BadParameter("is needed to write a file", param_hint="--format")
    fitted, pieces = export_subject(subject, target, previous=output, per_line=per_line)
    put(pieces, output)
    for note in fitted.loss.notes():
        print(f"sinkhole: {given[0]}: {note}", file=sys.stderr)
    return None


def _publish_groups(ctx: context.Context) -> None:
    with Lock(ctx.lock, WAIT):
        updated = publishing.update_groups(ctx.job, ctx.now)
    if failures := publishing.after(ctx.job, updated.changed):
        raise SinkholeError("\n".join(f"exports.after: {line}" for line in failures))


def put(pieces: Iterable[bytes], output: Path | None) -> None:
    """Write to a file in one step, or to standard output."""
    if output:
        write_atomic(output, pieces)
    else:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


def _of_group(ctx: context.Context, id: str, at: datetime) -> Subject:
    with ctx.in_use() as opened:
        groups = ("all", *opened.policy["groups"])
        if id not in groups:
            raise SinkholeError(f"no group {id!r}; there are: {', '.join(groups)}")
        return of_group(group(Policy(opened, at, ctx.permissions), id), opened, ctx.plan.lists)


def _report(ctx: context.Context, ids: Sequence[str] | None, formats: Iterable[Format], as_json: bool) -> None:
    formats = list(formats)
    _show_report(((of_list(ctx.compile(id)), formats) for id in ids or ctx.exported), as_json)


def _show_report(subjects: Iterable[tuple[Subject, Iterable[Format]]], as_json: bool) -> None:
    """What each export cannot state: a row for each, with rules stated and rules lost."""
    rows: list[tuple[str, str, int, Loss]] = []
    for subject, formats in subjects:
        for format in formats:
            if is_stated(subject, format):
                fitted, _ = export_subject(subject, format)
                rows.append((subject.name, format.name, fitted.rules, fitted.loss))
    if as_json:
        told = [
            {"name": name, "format": format, "rules": rules, "loss": loss.data()} for name, format, rules, loss in rows
        ]
        print(json.dumps({"exports": told}, ensure_ascii=False))
        return
    fields = list(Loss().data())
    columns = ["export", "format", "stated", *(field.replace("_", " ") for field in fields)]
    tables.show(
        columns,
        [
            (name, format, rules, *(loss.data()[field] or None for field in fields))
            for name, format, rules, loss in rows
        ],
        right=columns[2:],
    )

"""``sinkhole export``, and what a build publishes."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

import typer

from sinkhole import bundle
from sinkhole.cli import context, instants, tables
from sinkhole.compiler import build as building
from sinkhole.compiler.compile import Compiled
from sinkhole.compiler.parsed import Cache
from sinkhole.errors import ConfigError, Problem, SinkholeError
from sinkhole.exports import hooks
from sinkhole.exports.group import Span, group, span
from sinkhole.exports.loss import Loss
from sinkhole.exports.publish import INDEX, Published, Style, publish, published
from sinkhole.exports.publish import export as export_subject
from sinkhole.exports.readme import README, Section
from sinkhole.exports.signing import Key, read_key
from sinkhole.exports.subject import Subject, group_section, of_group, of_list, section
from sinkhole.files import Lock, sweep, write_atomic
from sinkhole.formats import FORMATS, format_named
from sinkhole.formats.format import Format
from sinkhole.policy.policy import Policy

#: In the state directory: what was published from what, and which files changed since the commands for that ran well.
RECORD, CHANGED = "exports.json", "exports.changed"
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
    config: context.ConfigOption = None,
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
        updated = update_groups(ctx)
    if failures := after(ctx, updated.changed):
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
            if format.lines or any(map(format.special, subject.special)):
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


class Updated(NamedTuple):
    """What a build did to the exports: whether it wrote any, the paths that changed, and all files there are now."""

    written: bool
    changed: list[str]
    files: list[dict[str, Any]]


def update(ctx: context.Context, built: building.Built, cache: Cache) -> Updated:
    """Put the exports of a build in place. What is there, and made of the same things, is left alone.

    After a dry run nothing is written, and ``files`` are what there would be.
    """

    def lists() -> Sequence[Compiled]:
        return (
            built.lists
            or building.compile_lists(ctx.plan, ctx.plan.lists, built.feeds, built.before, cache=cache).lists
        )

    with _bundle(ctx, built, cache) as opened:
        return _update(ctx, opened, _inputs(built), lists, keep=built.kept)


def update_groups(ctx: context.Context) -> Updated:
    """Put the exports of groups in place, by the bundle in use; those of lists stay as they are."""
    current = bundle.current(ctx.bundles)
    if current is None:
        raise SinkholeError("no bundle is in use yet; run `sinkhole build` first")
    opened = bundle.load(current)
    return _update(ctx, opened, opened.manifest["inputs"], None)


def _update(
    ctx: context.Context,
    opened: bundle.Bundle | None,
    inputs: str | None,
    lists: Callable[[], Sequence[Compiled]] | None,
    *,
    keep: bool = True,
) -> Updated:
    """``inputs`` tell what all is made of, None: of nothing that is there. Without ``lists`` theirs are left alone."""
    exports = ctx.config.exports
    directory, record = exports.dir, ctx.config.state_dir / RECORD
    style = Style(exports.gzip, _key(ctx))
    common = [inputs, list(exports.formats), style.gzip, style.key.name if style.key else None]
    policy = Policy(opened, ctx.now, ctx.permissions) if opened else None
    groups = [id for id in exports.groups if opened and id in ("all", *opened.policy["groups"])]
    spans = {id: span(policy, id) for id in groups if policy}
    shelved, noted = _shelved(directory), _made(record, directory)
    made = noted or {}
    if lists:
        wanted: dict[str, Any] = {f"list {id}": common for id in ctx.exported}
    else:
        wanted = {name: made.get(name) for name in {**shelved, **made} if name.startswith("list ")}
    kept = frozenset(() if lists else wanted)
    wanted |= {f"group {id}": [*common, *map(_text, found)] for id, found in spans.items()}
    standing = {
        name: shelved.get(name, [])
        for name, how in wanted.items()
        if name in kept or (inputs and made.get(name) == how and _whole(directory, shelved.get(name, [])))
    }
    if standing.keys() == wanted.keys() >= made.keys() and noted is not None and (directory / README).exists():
        return Updated(False, [], sorted(_data(standing.values()), key=lambda file: str(file["path"])))
    files = publish(
        directory,
        _subjects(ctx, lists, policy, [name for name in wanted if name not in standing]),
        [FORMATS[id] for id in exports.formats],
        style=style,
        standing=[(_section(ctx, name, files), files) for name, files in standing.items() if files],
        keep=keep,
    )
    changed = [file.path for file in files if file.changed]
    if keep:
        told = {"dir": str(directory), "index": _sha256(directory / INDEX), "changes-at": _next(spans), "made": wanted}
        write_atomic(record, json.dumps(told, indent=1).encode() + b"\n")
        for place in {directory, *((directory / file.path).parent for file in files)}:
            sweep(place)
        if changed and exports.after:
            _note_changed(ctx, changed)
    return Updated(keep, changed, [file.data() for file in files])


def after(ctx: context.Context, changed: Sequence[str]) -> list[str]:
    """Run the commands for files that changed, now or before they last ran well; why those that failed did."""
    path = ctx.config.state_dir / CHANGED
    changed = sorted({*changed, *_noted(path)})
    if not ctx.config.exports.after or not changed:
        return []
    failures = list(hooks.run(ctx.config.exports.after, ctx.config.exports.dir, changed))
    if failures:
        _note_changed(ctx, changed)
    else:
        path.unlink(missing_ok=True)
    return failures


def changes_at(state: Path) -> datetime | None:
    """The next instant at which an export of a group is to be made anew, as the last build noted it."""
    try:
        text = json.loads((state / RECORD).read_bytes())["changes-at"]
        return datetime.fromisoformat(text) if text else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _note_changed(ctx: context.Context, changed: Iterable[str]) -> None:
    path = ctx.config.state_dir / CHANGED
    write_atomic(path, "".join(f"{name}\n" for name in sorted({*changed, *_noted(path)})).encode())


def _noted(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _next(spans: Mapping[str, Span]) -> str | None:
    return _text(min((found.until for found in spans.values() if found.until), default=None))


def _text(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat() if at else None


def _inputs(built: building.Built) -> str | None:
    """The hash of all that the lists are made of; None when a dry run would make others than there are."""
    if not built.kept and built.lists:
        return None
    inputs: str = json.loads((built.path / "manifest.json").read_bytes())["inputs"]
    return inputs


@contextmanager
def _bundle(ctx: context.Context, built: building.Built, cache: Cache) -> Iterator[bundle.Bundle | None]:
    """The bundle of a build, when groups are exported from it; that of a dry run is gone afterwards."""
    if not ctx.config.exports.groups:
        yield None
    elif built.kept or not built.lists:
        yield bundle.load(built.path)
    else:
        with TemporaryDirectory(prefix="sinkhole-") as directory:
            yield bundle.load(building.build(ctx.plan, built.feeds, Path(directory), accept=True, cache=cache).path)


def _subjects(
    ctx: context.Context,
    lists: Callable[[], Sequence[Compiled]] | None,
    policy: Policy | None,
    names: Iterable[str],
) -> Iterator[Subject]:
    """What is to be written, one after the other."""
    wanted = [name.partition(" ")[::2] for name in names]
    ids = {id for kind, id in wanted if kind == "list"}
    if ids and lists:
        yield from (of_list(compiled) for compiled in lists() if compiled.plan.id in ids)
    for kind, id in wanted:
        if kind == "group" and policy:
            yield of_group(group(policy, id), policy.bundle, ctx.plan.lists)


def _shelved(directory: Path) -> dict[str, list[Published]]:
    """The files of each list and group, as the index has them."""
    found: dict[str, list[Published]] = {}
    try:
        for entry in map(published, json.loads((directory / INDEX).read_bytes())["exports"]):
            id, grouped = entry.whose
            found.setdefault(f"{'group' if grouped else 'list'} {id}", []).append(entry)
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return found


def _made(record: Path, directory: Path) -> dict[str, Any] | None:
    """What each list and group was made of; None when the index is another one."""
    try:
        noted = json.loads(record.read_bytes())
        same = (noted["dir"], noted["index"]) == (str(directory), _sha256(directory / INDEX))
        return dict(noted["made"]) if same else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _whole(directory: Path, files: Iterable[Published]) -> bool:
    """Whether files are as they were written."""
    hashes = (pair for file in files for pair in ((file.path, file.sha256), *file.beside.items()))
    try:
        return all(_sha256(directory / path) == sha256 for path, sha256 in hashes)
    except OSError:
        return False


def _section(ctx: context.Context, name: str, files: Sequence[Published]) -> Section:
    kind, _, id = name.partition(" ")
    if kind == "group":
        return group_section(files[0].about)
    return next((section(entry) for entry in ctx.plan.lists if entry.id == id), Section(id, ()))


def _data(shelves: Iterable[Iterable[Published]]) -> Iterator[dict[str, Any]]:
    return (file.data() for files in shelves for file in files)


def _key(ctx: context.Context) -> Key | None:
    """The key that exports are signed with. Raises ConfigError for one that cannot be used."""
    path = ctx.config.exports.sign
    if path is None:
        return None
    try:
        return read_key(path)
    except SinkholeError as error:
        file, line = ctx.config.where("exports", "sign")
        raise ConfigError([Problem(file, line, 1, "exports.sign", str(error))]) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

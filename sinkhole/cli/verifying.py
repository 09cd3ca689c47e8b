"""``sinkhole verify``: published exports, loaded into the software that they are for."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from sinkhole.cli import context, tables
from sinkhole.cli.options import ConfigOption, JsonOption
from sinkhole.cli.progress import Bars
from sinkhole.compiler.compile import Compiled
from sinkhole.errors import SinkholeError
from sinkhole.exports import INDEX
from sinkhole.exports.allowing import NEUTRAL
from sinkhole.exports.loss import Loss
from sinkhole.exports.verify.comparison import Asked, Row, consumers, in_engine, in_standin
from sinkhole.exports.verify.engines import ENGINES, Engine
from sinkhole.exports.verify.standins import STANDINS
from sinkhole.formats import FORMATS, format_named

verify = typer.Typer(help="Proof that what was written means what it should.", no_args_is_help=True)

#: How many names are told of each row; ``--json`` has them all.
_NAMES = 10
_MAX_NAMES = 1_000_000


class File(NamedTuple):
    """One export as the index has it."""

    path: str
    list: str
    format: str
    version: str
    sha256: str
    loss: Loss


@verify.callback()
def _group() -> None:
    """A group even while it has one command."""


@verify.command("exports")
def exports(
    directory: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="Where the exports are. Default: as configured.")
    ] = None,
    only_lists: Annotated[
        list[str] | None, typer.Option("--list", metavar="LIST", help="Only this list; may be repeated.")
    ] = None,
    only_formats: Annotated[
        list[str] | None, typer.Option("--format", metavar="FMT", help="Only this format; may be repeated.")
    ] = None,
    engines: Annotated[
        list[str] | None, typer.Option("--engine", metavar="NAME", help="Only this software; may be repeated.")
    ] = None,
    names: Annotated[
        int, typer.Option(metavar="N", min=14, max=_MAX_NAMES, help="About how many questions to ask of each export.")
    ] = 10_000,
    require: Annotated[
        bool, typer.Option("--require", help="Software that is not installed is an error, not a note.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Load every export into the software that it is for, and compare what that blocks with what the list says.

    Asked are names of every class of rule and names around them: above, below, beside, and such as only look alike.
    Software that is installed runs for it, without privileges, on a free port of 127.0.0.1: BIND, Unbound, Knot
    Resolver, PowerDNS Recursor, dnsmasq, dnsdist, Squid, node, nft and ipset. For what cannot run here a reader made
    from its manual stands in, and the table says so. What is blocked without the list saying so, or passes without the
    export saying so, is an error (exit code 1) that names the names.

    \b
    sinkhole verify exports
    sinkhole verify exports --list deepseek --format rpz --engine named --engine unbound --require
    """
    for name in only_formats or ():
        format_named(name)
    known = [*ENGINES, *STANDINS]
    for name in engines or ():
        if name not in known:
            raise SinkholeError(f"no software {name!r}; there is: {', '.join(known)}")
    ctx = context.load(config)
    found = [
        file
        for file in _files(directory or ctx.config.exports.dir)
        if (not only_lists or file.list in only_lists) and (not only_formats or file.format in only_formats)
    ]
    if not found:
        raise SinkholeError(f"no such export in {directory or ctx.config.exports.dir}")
    versions = {engine.name: engine.installed() for engine in ENGINES.values()}
    with Bars() as bars:
        rows = list(_rows(ctx, directory or ctx.config.exports.dir, found, engines or [], versions, names, bars))
    wanted = {each.name for file in found for each in consumers(file.format, engines or [])}
    absent = [name for name, version in versions.items() if name in wanted and version is None]
    if as_json:
        print(json.dumps({"exports": [row.data() for row in rows], "not-installed": absent}, ensure_ascii=False))
    else:
        _show(rows)
    if absent:
        print(f"sinkhole: not installed, so not asked: {', '.join(absent)}", file=sys.stderr)
    if not all(row.right for row in rows) or (require and absent):
        raise typer.Exit(1)


def _files(directory: Path) -> list[File]:
    """What the index of a directory lists."""
    try:
        entries = json.loads((directory / INDEX).read_bytes())["exports"]
        return [
            File(
                _path(entry["path"]), str(entry["list"]), str(entry["format"]), str(entry["version"]),
                str(entry["sha256"]), Loss(**entry["loss"]),
            )
            for entry in entries
            if "group" not in entry  # those of groups are made of lists, and by the same writers
        ]  # fmt: skip
    except OSError as error:
        raise SinkholeError(f"no exports in {directory}: {error.strerror}; run `sinkhole build` first") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SinkholeError(f"{directory / INDEX} is no index of exports: {error}") from error


def _path(path: str) -> str:
    """The path of an export, which leads nowhere else. Raises ValueError."""
    if not re.fullmatch(r"[a-z0-9-]+/[\w-][\w.-]*", path):
        raise ValueError(f"a path {path!r}")
    return path


def _rows(
    ctx: context.Context,
    directory: Path,
    files: list[File],
    only: list[str],
    versions: dict[str, str | None],
    names: int,
    bars: Bars,
) -> Iterator[Row]:
    for done, (id, own) in enumerate(sorted(_by_list(files).items())):
        bars.update("lists", done, len({file.list for file in files}))
        compiled = ctx.compile(id)
        asked = Asked(compiled, names)
        for file in own:
            text = _text(directory, file, compiled)
            for consumer in consumers(file.format, only) if _is_proven(compiled, file.format) else ():
                if isinstance(consumer, Engine):
                    if version := versions[consumer.name]:
                        yield in_engine(consumer, version, file.path, file.format, text, file.loss, asked)
                else:
                    yield in_standin(consumer, file.path, file.format, text, file.loss, asked)


def _is_proven(compiled: Compiled, format: str) -> bool:
    """Whether there is a way to prove a file. One of exceptions alone blocks nothing by itself."""
    return not compiled.plan.allows or format in NEUTRAL


def _by_list(files: list[File]) -> dict[str, list[File]]:
    found: dict[str, list[File]] = {}
    for file in files:
        if file.format not in FORMATS:
            raise SinkholeError(f"{file.path}: no format {file.format!r}")
        found.setdefault(file.list, []).append(file)
    return found


def _text(directory: Path, file: File, compiled: Compiled) -> bytes:
    """The bytes of an export, which are those of the index, and of the list as it is now."""
    try:
        text = (directory / file.path).read_bytes()
    except OSError as error:
        raise SinkholeError(f"cannot read {directory / file.path}: {error.strerror}") from error
    if hashlib.sha256(text).hexdigest() != file.sha256:
        raise SinkholeError(f"{directory / file.path} is not what {INDEX} says that was written")
    if compiled.version != file.version:
        raise SinkholeError(f"{directory / file.path} is of another version of the list; run `sinkhole build` first")
    return text


def _show(rows: list[Row]) -> None:
    columns = ["export", "in", "version or manual", "asked", "wider", "narrower, as stated", "not as stated", ""]
    tables.show(
        columns,
        [
            (
                row.path, f"{row.consumer} (stand-in)" if row.standin else row.consumer, row.version, row.asked,
                len(row.wider), row.narrower, len(row.undeclared) + len(row.other), row.error or "",
            )
            for row in rows
        ],
        right=columns[3:7],
    )  # fmt: skip
    for row in rows:
        for what, told in (
            ("blocked, but the list lets it through", row.wider),
            ("passes, but the list blocks it", row.undeclared),
            ("answered otherwise than stated", row.other),
        ):
            for line in told[:_NAMES]:
                print(f"{row.path} in {row.consumer}: {what}: {_plain(line)}")
            if len(told) > _NAMES:
                print(f"{row.path} in {row.consumer}: and {len(told) - _NAMES} more; --json has all")
    wrong = sum(not row.right for row in rows)
    real = sum(row.asked for row in rows if not row.standin)
    print(f"\n{real} questions to real software, {sum(row.asked for row in rows) - real} to stand-ins; {wrong} wrong")


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)

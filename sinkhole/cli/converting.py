"""``sinkhole convert``: any list file to any format."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sinkhole.cli.exporting import OutputOption, PerLineOption, put
from sinkhole.errors import FeedError, FormatError
from sinkhole.exports.convert import convert as convert_text
from sinkhole.feeds.body import read_file, read_stream
from sinkhole.feeds.sniff import decode, why_not_a_list
from sinkhole.formats import FORMATS, format_named


def convert(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="A list file, plain or gzip; `-` is standard input.")],
    target: Annotated[str, typer.Option("--to", metavar="FMT", help=f"One of: {', '.join(FORMATS)}.")],
    origin: Annotated[
        str, typer.Option("--from", metavar="FMT", help="The format of INPUT; `auto` looks at it.")
    ] = "auto",
    output: OutputOption = None,
    per_line: PerLineOption = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON, on standard error.")] = False,
) -> None:
    """Convert a list file to another format.

    What was read, skipped and could not be stated is reported on standard error. The result never blocks more than the
    input does. Files that a v2fly list includes are read from the directory of INPUT.

    \b
    sinkhole convert hosts.txt --to adblock -o blocklist.txt
    curl -s https://example.org/list.txt | sinkhole convert - --to rpz
    """
    wanted = format_named(target)
    text = _read(source)
    given = None if origin == "auto" else format_named(origin)
    title, files = ("standard input", None) if source == "-" else (Path(source).name, partial(_beside, Path(source)))
    found, parsed, fitted, pieces = convert_text(text, given, wanted, title, files, per_line)
    put(pieces, output)
    report = {
        "format": found.name,
        "lines": parsed.lines,
        "rules": len(parsed),
        "skipped": dict(parsed.skipped.most_common()),
        "samples": [sample._asdict() for sample in parsed.samples],
        "written": fitted.rules,
        "loss": fitted.loss.data(),
    }
    if as_json:
        print(json.dumps(report, ensure_ascii=False), file=sys.stderr)
        return
    print(f"sinkhole: read {len(parsed)} rules as {found.name}; wrote {fitted.rules} entries", file=sys.stderr)
    for why, count in parsed.skipped.most_common():
        first = next(sample for sample in parsed.samples if sample.why == why)
        print(f"sinkhole: skipped {count}: {why}; the first is line {first.line}: {first.text[:80]!r}", file=sys.stderr)
    for note in fitted.loss.notes():
        print(f"sinkhole: {note}", file=sys.stderr)


def _read(source: str) -> bytes:
    data = (read_stream(sys.stdin.buffer.read, "standard input") if source == "-" else read_file(source)).data
    if why := why_not_a_list(data):
        raise FormatError(f"{source}: {why}")
    return decode(data)


def _beside(source: Path, name: str) -> bytes:
    """The list file of that name in the directory of ``source``."""
    try:
        return decode(read_file(str(source.parent / name)).data)
    except FeedError as error:
        raise FileNotFoundError(name) from error

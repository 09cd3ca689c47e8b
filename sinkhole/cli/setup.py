"""``sinkhole check``, ``init``, ``schema`` and ``version``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from sinkhole import __version__, config
from sinkhole.cli import context
from sinkhole.cli.options import ConfigOption
from sinkhole.errors import SinkholeError
from sinkhole.service import hosts


def check(config: ConfigOption = None) -> None:
    """Validate the configuration and the catalogue, and run the tests of the policy (`expect`).

    Every problem is printed at once, each with file, line, column, the path of the key, and what is allowed. The tests
    are run over what is at hand: local files, and the last good copies of feeds.
    """
    ctx = context.load(config)
    for problem in hosts.read(ctx.config.local.hosts).skipped:
        print(f"left out: {problem}", file=sys.stderr)
    if ctx.config.expect:
        with ctx.built() as made:
            if wrong := list(ctx.unexpected(made)):
                raise SinkholeError("\n".join(wrong))
    for line in ctx.reviews:
        print(f"sinkhole: {line}", file=sys.stderr)
    lists = [entry for entry in ctx.plan.lists if not entry.id.startswith("=")]
    print(
        f"{config or 'the default configuration'} is valid: lists {len(lists)}, sources {len(ctx.plan.sources)}, "
        f"directives {len(ctx.plan.policy['directives'])}, groups {len(ctx.config.groups)}, "
        f"tests {len(ctx.config.expect)}"
    )


def init(
    path: Annotated[Path, typer.Argument(metavar="[FILE]", help="The file to write.")] = Path("sinkhole.yaml"),
) -> None:
    """Write a commented configuration file to start from: every key, what it does, and its default."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(config.commented_example())
    except FileExistsError:
        raise SinkholeError(f"{path} exists already; it was not touched") from None
    except OSError as error:
        raise SinkholeError(f"cannot write {path}: {error.strerror}") from error
    print(f"wrote {path}; check it with: sinkhole check -c {path}", file=sys.stderr)


def schema() -> None:
    """Print the JSON Schema of the configuration file, for editors."""
    print(json.dumps(config.schema(), indent=1, ensure_ascii=False))


def version() -> None:
    """Print the version."""
    print(f"sinkhole {__version__}")

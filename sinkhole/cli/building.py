"""``sinkhole build`` and ``sinkhole rollback``: the verb for cron, and the way back."""

from __future__ import annotations

from typing import Annotated

import typer

from sinkhole.cli import job as jobs
from sinkhole.cli.making import Asked, make
from sinkhole.cli.options import ConfigOption, JsonOption
from sinkhole.compiler import history
from sinkhole.files import Lock


def build(
    config: ConfigOption = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Fetch nothing: use files and the last good copies of everything else.")
    ] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask every source, also those whose copy still counts as fresh.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Fetch and compile, say what would change and what exports cannot state, and change nothing.",
        ),
    ] = False,
    accept_change: Annotated[
        bool, typer.Option("--accept-change", help="Accept what a guard would refuse; the bundle records it.")
    ] = False,
    exports: Annotated[bool, typer.Option(help="Write the exported lists too.")] = True,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Print nothing when nothing changed and all is well.")
    ] = False,
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, max=3600, help="How long another build may take to end first.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Fetch the feeds that are due, compile the bundle, and publish the exports.

    A feed that cannot be fetched, or that is no list, keeps its last good copy (exit code 3). A text that a guard
    refuses, because it has too few rules, too many that cannot be used, or too many more or less than before, leaves
    the text in use (exit code 4); the rest is built. Running resolvers take the new bundle over within a second. When
    nothing changed, nothing is compiled.

    \b
    sinkhole build                        # with the catalogue's defaults
    sinkhole build -q -c sinkhole.yaml    # as configured; the line for cron
    sinkhole build --offline --dry-run    # what would an edit of the configuration change?
    """
    asked = Asked(config, offline, refresh, dry_run, accept_change, exports, quiet, wait, as_json)
    raise typer.Exit(make(asked))


def rollback(
    name: Annotated[
        str | None, typer.Argument(metavar="[BUNDLE]", help="The bundle to go back to. Default: the one before.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Put an earlier bundle in use again.

    Running resolvers take it over within a second. It stays in use until something changes: a build of the same feeds
    and configuration leaves it, and says so; a build of anything else makes a new bundle. Exports stay as they are.

    \b
    sinkhole rollback
    sinkhole lists diff current 0123456789abcdef    # what did that change?
    """
    with jobs.load(config, keep=False) as job, Lock(job.lock):
        back = history.roll_back(job.bundles, name)
    print(f"{back.to} is in use instead of {back.left}, until a build finds anything new")

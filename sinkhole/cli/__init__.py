"""The ``sinkhole`` command: one module per group of commands, and the one place that prints, exits or draws progress.

Exit codes: 0 fresh · 1 error · 2 wrong usage · 3 built, but some feed is stale · 4 refused by a guard.
"""

from __future__ import annotations

import gc
import os
import sys

import typer

from sinkhole.cli import (
    building,
    catalogue,
    converting,
    deciding,
    exceptions,
    exporting,
    listing,
    previewing,
    serving,
    setup,
)
from sinkhole.errors import GuardError, SinkholeError

app = typer.Typer(
    name="sinkhole",
    help="A DNS sinkhole and blocklist compiler: policy and feeds in; answers, exports and proof out.\n\n"
    "With no configuration at all, `sinkhole serve` blocks DeepSeek on 127.0.0.1 port 5353 and forwards the rest. "
    "`sinkhole init` writes a commented configuration to start from.\n\n"
    "Exit codes: 0 fresh, 1 error, 2 wrong usage, 3 built but some feed is stale, 4 refused by a guard.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(serving.serve)
app.command()(serving.reload)
app.command()(serving.status)
app.command()(building.build)
app.command()(building.rollback)
app.command()(exporting.export)
app.command()(converting.convert)
app.command()(deciding.explain)
app.command()(setup.check)
app.command()(setup.init)
app.command()(setup.schema)
app.command()(setup.version)
app.add_typer(catalogue.feeds, name="feeds")
app.add_typer(listing.lists, name="lists")
app.add_typer(catalogue.directive, name="directive")
app.add_typer(exceptions.exception, name="exception")
app.add_typer(previewing.policy, name="policy")


def main() -> None:
    """Run the command line; errors that people can act on are printed without a traceback."""
    gc.disable()  # millions of tuples come and go, none of them in a cycle, and most commands end soon
    try:
        try:
            app(prog_name="sinkhole")
        finally:
            sys.stdout.flush()
    except SinkholeError as error:
        print(f"sinkhole: {error}", file=sys.stderr)
        sys.exit(4 if isinstance(error, GuardError) else 1)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter tries at its end to write the rest
        if not isinstance(error, BrokenPipeError):  # the reader of a pipe had enough
            print(f"sinkhole: {error.filename or 'standard output'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(1)

"""The ``sinkhole`` command: one module per group of commands, and the one place that prints, exits or draws progress.

Exit codes: 0 fresh · 1 error · 2 wrong usage · 3 built, but some feed is stale · 4 refused by a guard.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from sinkhole.errors import GuardError, SinkholeError

if TYPE_CHECKING:
    import typer

#: The commands and then the groups of commands, in the order of the help, with the module here that has each. Only what
#: is asked for is imported: what serves queries takes longer to import than a build of nothing new takes.
COMMANDS = {
    "serve": "serving",
    "reload": "serving",
    "status": "serving",
    "build": "building",
    "rollback": "building",
    "export": "exporting",
    "convert": "converting",
    "explain": "deciding",
    "queries": "querying",
    "check": "setup",
    "init": "setup",
    "schema": "setup",
    "version": "setup",
}
GROUPS = {
    "feeds": "catalogue",
    "lists": "listing",
    "directive": "catalogue",
    "exception": "exceptions",
    "policy": "previewing",
    "verify": "verifying",
}


def application(wanted: str | None = None) -> typer.Typer:
    """The command line: with the one command or group that is ``wanted``, or with all when that is none of them."""
    import typer  # which neither the line for cron nor a plain start waits for

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
    app.callback()(_nothing)  # or a command that is alone would be the whole command line
    every = wanted not in COMMANDS and wanted not in GROUPS
    for name, module in COMMANDS.items():
        if every or name == wanted:
            app.command()(getattr(import_module(f"sinkhole.cli.{module}"), name))
    for name, module in GROUPS.items():
        if every or name == wanted:
            app.add_typer(getattr(import_module(f"sinkhole.cli.{module}"), name), name=name)
    return app


def _nothing() -> None:
    pass


def _begun(words: Sequence[str]) -> bool:
    """Serve, when that is wanted in the plainest way and answers can be given before anything is read; or build, when
    that is wanted in the words of a line for cron.

    Returns when it has ended, or without having begun: then the command line has to be read, and all that it names.
    """
    match words:
        case ["serve"]:
            config = None
        case ["serve", "-c" | "--config", path]:
            config = Path(path)
        case ["build", *options]:
            return _built(options)
        case _:
            return False
    from sinkhole.service import start

    begun = start.begin(config)
    if not begun:
        return False
    with begun:
        from sinkhole.cli import serving

        serving.run(config, begun)
    return True


def main() -> None:
    """Run the command line; errors that people can act on are printed without a traceback."""
    gc.disable()  # millions of tuples come and go, none of them in a cycle, and most commands end soon
    try:
        try:
            if not _begun(sys.argv[1:]):
                application(*sys.argv[1:2])(prog_name="sinkhole")
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


def _built(arguments: Sequence[str]) -> bool:
    """Whether that was a build in the plainest words, and is made; it ends as every command does."""
    from sinkhole.cli import making

    if not (asked := making.plainly(arguments)):
        return False
    try:
        code = making.make(asked)
    except KeyboardInterrupt:
        code = 130
    if code:
        sys.exit(code)
    return True

"""Commands that run when exports changed, to have other software read them again."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

#: Seconds that a command may take.
PATIENCE = 60.0
#: Octets of the list of changed files in the environment, of which one variable may have 128 KiB (execve(2)), and of
#: what a command that failed said.
_MAX_CHANGED, _MAX_SAID = 65536, 500


def run(
    commands: Iterable[Sequence[str]], directory: Path, changed: Sequence[str], patience: float = PATIENCE
) -> Iterator[str]:
    """Run every command, in order, whatever became of those before it; why each that failed did."""
    told = "\n".join(changed)
    if len(told) > _MAX_CHANGED:
        told = told[: told.rfind("\n", 0, _MAX_CHANGED)]
    environ = {**os.environ, "SINKHOLE_EXPORTS": str(directory), "SINKHOLE_CHANGED": told}
    for command in commands:
        with TemporaryFile() as said:  # not a pipe: a program that it leaves behind may keep that open
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    env=environ,
                    start_new_session=True,  # so that it ends with all that it started
                )
            except OSError as error:
                yield f"{command[0]}: {error.strerror}"
                continue
            try:
                code = process.wait(patience)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                yield f"{shlex.join(command)}: not done after {patience:.0f} seconds"
                continue
            if code:
                said.seek(0)
                text = " ".join(said.read(_MAX_SAID).decode(errors="replace").split())
                yield f"{shlex.join(command)}: exit code {code}{': ' if text else ''}{text}"

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import Site

COMMANDS = ["serve", "build", "export", "convert", "explain", "check", "init", "schema", "version", "feeds", "lists"]


def test_help_is_a_manual(site: Site) -> None:
    told = site.run("--help").out

    for command in [*COMMANDS, "directive"]:
        assert f"\n  {command} " in told
    assert "Exit codes: 0 fresh, 1 error, 2 wrong usage, 3 built but some feed is stale, 4 refused" in " ".join(
        told.split()
    )


@pytest.mark.parametrize(
    "arguments", [["no-such"], ["build", "--no-such"], ["export"], ["lists"], [], ["check", "-c"], ["version", "x"]]
)
def test_wrong_usage_is_exit_code_2(site: Site, arguments: list[str]) -> None:
    ran = site.run(*arguments, code=2)

    assert "Usage: sinkhole" in ran.out + ran.err or ran.err.startswith("Error: ")


@pytest.mark.parametrize("command", ["schema", "version"])
def test_an_output_that_takes_no_more(site: Site, command: str) -> None:
    """As in ``sinkhole … | head``, where nobody needs to be told, and on a full disk, where somebody does."""
    reading, pipe = os.pipe()
    os.close(reading)
    full = os.open("/dev/full", os.O_WRONLY)
    for target, told in ((pipe, b""), (full, b"sinkhole: standard output: No space left on device\n")):
        done = subprocess.run(
            [sys.executable, "-m", "sinkhole", command],
            cwd=site.directory,
            env=site.environ(),
            stdout=target,
            stderr=subprocess.PIPE,
            check=False,
            timeout=20,
        )
        os.close(target)
        assert (done.returncode, done.stderr) == (1, told)


def test_a_state_directory_that_is_a_file(site: Site) -> None:
    path = site.write("state", "")

    for command in (["build"], ["serve"], ["feeds", "update"]):
        ran = site.run(*command, code=1)
        assert ran.err.startswith(f"sinkhole: cannot lock {path}/sinkhole/")
        assert ran.err.count("\n") == 1

"""A build in the plainest words is made without what reads command lines, and means the same."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from sinkhole.cli import application, building, main, making
from sinkhole.cli.making import Asked, plainly
from tests.conftest import Site

PLAIN = [
    "",
    "-q",
    "-q -c sinkhole.yaml",
    "--config ./a/b.yaml --quiet --no-exports",
    "--exports --no-exports --exports --json",
    "--offline --refresh --dry-run --accept-change",
    "-c one.yaml -c two.yaml --offline",
]
ODD = [
    "-h",
    "--help",
    "-qc sinkhole.yaml",
    "--config=a.yaml",
    "--wait 3",
    "-c",
    "-c -q",
    "--quie",
    "a.yaml",
    "-c a b",
    "--",
]


@pytest.mark.parametrize("line", PLAIN)
def test_plain_words_mean_what_they_mean_to_what_reads_every_command_line(
    line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Asked] = []

    def make(asked: Asked) -> int:
        found.append(asked)
        return 0

    monkeypatch.setattr(building, "make", make)
    assert CliRunner().invoke(application("build"), ["build", *line.split()]).exit_code == 0
    assert found == [plainly(line.split())]


@pytest.mark.parametrize("line", ODD)
def test_all_other_words_are_left_to_it(line: str) -> None:
    assert plainly(line.split()) is None
    assert plainly(["-c", ""]) is None


def test_a_plain_build_imports_nothing_that_reads_command_lines(site: Site) -> None:
    site.write("own.txt", "0.0.0.0 ads.example.com\n")
    site.configure({"lists": {"ads": {"sources": ["./own.txt"]}}, "policy": [{"groups": ["all"], "lists": ["ads"]}]})
    site.run("build", "-c", "sinkhole.yaml")
    code = "import sys; from sinkhole.cli import main; main(); print({'typer', 'pydantic', 'rich'} & {*sys.modules})"
    said = subprocess.run(
        [sys.executable, "-c", code, "build", "-q", "--no-exports", "-c", "sinkhole.yaml"],
        cwd=site.directory, env=site.environ(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout == "set()\n"


def test_an_interrupt_ends_it_as_it_ends_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(asked: Asked) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(making, "make", make)
    monkeypatch.setattr(sys, "argv", ["sinkhole", "build", "-q"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 130

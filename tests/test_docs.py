"""Documentation that cannot drift: every command, option and format is described, and every example is a valid one."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import typer.main

from sinkhole.cli import application
from sinkhole.formats import FORMATS

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
COMMANDS = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
CLICK = typer.main.get_command(application())


def commands(command: object = CLICK, path: str = "sinkhole") -> Iterator[tuple[str, object]]:
    """(how it is called, the command) of every command that does something."""
    if subcommands := getattr(command, "commands", None):
        for name, inner in subcommands.items():
            yield from commands(inner, f"{path} {name}")
    else:
        yield path, command


ALL = list(commands())


@pytest.mark.parametrize(("path", "command"), ALL, ids=[path for path, _ in ALL])
def test_every_command_and_option_is_documented(path: str, command: object) -> None:
    section = re.search(rf"^## `{path}\b.*?(?=^## |\Z)", COMMANDS, re.M | re.S)
    assert section, f"docs/commands.md has no section for {path}"
    for parameter in command.params:  # type: ignore[attr-defined]
        for name in (*parameter.opts, *parameter.secondary_opts):
            if name.startswith("-"):
                assert f"`{name}" in section[0], f"docs/commands.md: {path} does not mention {name}"


def test_no_section_is_left_of_a_command_that_is_gone() -> None:
    assert set(re.findall(r"^## `(sinkhole [a-z ]*[a-z])", COMMANDS, re.M)) == {path for path, _ in ALL}


@pytest.mark.parametrize(("path", "command"), ALL, ids=[path for path, _ in ALL])
def test_help_is_a_manual(path: str, command: object) -> None:
    assert command.help, path  # type: ignore[attr-defined]
    for parameter in command.params:  # type: ignore[attr-defined]
        if parameter.name != "help":
            assert getattr(parameter, "help", None), f"{path}: {parameter.name} has no help"


def examples() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
            for line in block.split("\n"):
                for part in re.split(r"&&|\|", line):
                    words = part.split("#")[0].strip()
                    if words.startswith("sinkhole "):
                        yield page.name, words
    for path, command in ALL:
        for line in (command.help or "").split("\n"):  # type: ignore[attr-defined]
            if found := re.search(r"(?:^|\| )(sinkhole .*?)(?:  |$)", line.strip()):
                yield f"{path} --help", found[1]


@pytest.mark.parametrize(("where", "line"), sorted(set(examples())))
def test_every_example_is_a_valid_command(where: str, line: str) -> None:
    words = shlex.split(line)[1:]
    command: object = CLICK
    while getattr(command, "commands", None):
        command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
    command.make_context("sinkhole", words, resilient_parsing=False)  # type: ignore[attr-defined]


def test_every_format_is_documented() -> None:
    page = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([a-z0-9-]+)` .* ([a-z0-9]+) \|$", page, re.M) == [
        (format.name, format.suffix) for format in FORMATS.values()
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / target).exists(), target
    for path in re.findall(r"`((?:sinkhole|feeds|docs|tests|exports|benchmarks)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path

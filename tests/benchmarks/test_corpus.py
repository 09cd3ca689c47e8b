"""The made-up lists are the same for everyone, and the benchmarks at least start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import corpus
from sinkhole.formats import FORMATS
from sinkhole.names import parse_name

ROOT = Path(__file__).parents[2]


def test_a_seed_gives_the_same_names_everywhere() -> None:
    assert list(corpus.names(5)) == [
        "fekodowo.test",
        "click.sepiti.test",
        "fizagebo-keg.test",
        "www36.jewoju514.test",
        "dofoti.test",
    ]
    assert list(corpus.names(500)) == list(corpus.names(500))
    assert list(corpus.names(500, seed=1)) != list(corpus.names(500, seed=2))


def test_all_names_are_distinct_usable_and_nobodys() -> None:
    names = list(corpus.names(3000))
    assert len(set(names)) == 3000
    assert all(parse_name(name) == name and name.endswith(".test") for name in names)


def test_no_name_covers_another() -> None:
    names = set(corpus.names(3000))
    assert not [name for name in names if name.partition(".")[2] in names]


@pytest.mark.parametrize("form", [form for form in corpus.FORMS if form in FORMATS and form != "rpz"])
def test_our_readers_take_every_line(form: str, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    corpus.write(path, corpus.names(100), form)
    parsed = FORMATS[form].read(path.read_bytes())
    assert {rule.name for rule in parsed.rules()} == set(corpus.names(100))
    assert not parsed.skipped


@pytest.mark.parametrize("command", ["corpus", "answers", "build", "exports"])
def test_the_commands_start(command: str) -> None:
    run = [sys.executable, "-m", f"benchmarks.{command}", "--help"]
    assert "--seed" in subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_a_list_from_the_command_line_is_the_same_list() -> None:
    run = [sys.executable, "-m", "benchmarks.corpus", "--count", "3", "--form", "hosts"]
    out = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out == "".join(f"0.0.0.0 {name}\n" for name in corpus.names(3))

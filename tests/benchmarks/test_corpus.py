"""The made-up lists are the same for everyone, and the benchmarks at least start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import corpus, peers
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


def test_a_derived_list_has_the_same_syntax_and_shares_what_its_original_shares() -> None:
    one = "".join(f"0.0.0.0 {name}\n" for name in corpus.names(400)).encode() + b"# a comment of example.com\n"
    other = "".join(f"||{name}^\n" for name in corpus.names(200)).encode()
    names = [
        set(FORMATS[form].read(corpus.derive(text)).rules()) for form, text in (("hosts", one), ("adblock", other))
    ]
    assert corpus.derive(one) == corpus.derive(one)
    assert 300 < len(names[0]) < 370
    stated = [{rule.name for rule in found} for found in names]
    assert len(stated[0] & stated[1]) > 100
    assert 0.2 < len(stated[0] & set(corpus.names(400))) / len(stated[0]) < 0.5


def test_a_run_is_timed_and_weighed(tmp_path: Path) -> None:
    ran = peers.run([sys.executable, "-c", "held = bytearray(50_000_000)\nimport time; time.sleep(0.3)"])
    assert ran.seconds > 0.3
    assert ran.peak > 50e6
    assert peers.run(["sh", "-c", "exit 0"]).seconds < ran.seconds
    path = tmp_path / "list"
    path.write_bytes(b"||a.test^\n" * 200)
    peers.change(path, 0)
    assert path.read_bytes().split(b"\n").count(b"||n.test^") == 2

"""Commands after exports changed."""

from __future__ import annotations

import time
from pathlib import Path

from sinkhole.exports.hooks import run


def test_a_command_is_told_what_changed(tmp_path: Path) -> None:
    script = 'printf \'%s\\n\' "$SINKHOLE_EXPORTS" "$SINKHOLE_CHANGED" > told; cat >> told; echo noise'
    commands = [["sh", "-c", f"cd {tmp_path}; {script}"]]
    assert list(run(commands, tmp_path / "out", ["hosts/a.txt", "rpz/a.zone"])) == []
    assert (tmp_path / "told").read_text() == f"{tmp_path}/out\nhosts/a.txt\nrpz/a.zone\n"


def test_words_are_words_whatever_a_shell_would_make_of_them(tmp_path: Path) -> None:
    commands = [["sh", "-c", 'echo "$1" > "$2"', "-", "$(id) ; `id` *", str(tmp_path / "told")]]
    assert list(run(commands, tmp_path, ["a"])) == []
    assert (tmp_path / "told").read_text() == "$(id) ; `id` *\n"


def test_one_that_fails_is_told_and_the_others_run(tmp_path: Path) -> None:
    commands = [
        ["sh", "-c", "echo no such zone; exit 3"],
        [str(tmp_path / "gone")],
        ["sh", "-c", f"touch {tmp_path}/done"],
        ["sh", "-c", "yes | head -c 9000000; exit 1"],
    ]
    failures = list(run(commands, tmp_path, ["a"]))
    assert failures[:2] == [
        "sh -c 'echo no such zone; exit 3': exit code 3: no such zone",
        f"{tmp_path}/gone: No such file or directory",
    ]
    assert (tmp_path / "done").exists()
    assert len(failures[2]) < 600


def test_one_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    began = time.monotonic()
    commands = [["sh", "-c", f"(sleep 1; touch {tmp_path}/late) & wait"]]
    assert list(run(commands, tmp_path, ["a"], patience=0.2)) == [f"sh -c '{commands[0][2]}': not done after 0 seconds"]
    assert time.monotonic() - began < 1
    time.sleep(1.1)
    assert not (tmp_path / "late").exists()


def test_a_program_that_stays_in_the_background_keeps_nobody_waiting(tmp_path: Path) -> None:
    began = time.monotonic()
    assert list(run([["sh", "-c", "sleep 3 & :"]], tmp_path, ["a"])) == []
    assert time.monotonic() - began < 2


def test_many_changes_are_cut_at_a_whole_name(tmp_path: Path) -> None:
    changed = [f"hosts/list-{number:05}.txt" for number in range(10_000)]
    commands = [["sh", "-c", f'echo "$SINKHOLE_CHANGED" > {tmp_path}/told']]
    assert list(run(commands, tmp_path, changed)) == []
    told = (tmp_path / "told").read_text().split("\n")[:-1]
    assert 1000 < len(told) < len(changed)
    assert told == changed[: len(told)]

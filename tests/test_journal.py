from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sinkhole import journal
from sinkhole.errors import JournalError, SinkholeError

AT = datetime(2025, 3, 1, tzinfo=UTC)


def filled(path: Path, count: int = 3) -> Path:
    with journal.open_for_writing(path) as opened:
        for number in range(count):
            opened.add(AT, "alice", "request", f"x{number}", None, {"why": f"reason {number} ü"})
    return path


def test_what_was_added_is_read(tmp_path: Path) -> None:
    path = filled(tmp_path / "j.jsonl")
    filled(path, 1)

    records = journal.read(path)
    assert [(record.number, record.entry) for record in records] == [(1, "x0"), (2, "x1"), (3, "x2"), (4, "x0")]
    assert records[0].previous == journal.START
    assert records[3].previous == records[2].hash
    assert journal.head(records) == records[3].hash
    assert path.stat().st_mode & 0o777 == 0o600
    assert journal.read(tmp_path / "none") == ()
    assert journal.head(()) == journal.START


def test_every_edit_of_every_octet_shows(tmp_path: Path) -> None:
    path = filled(tmp_path / "j.jsonl")
    text = path.read_bytes()
    for at in range(len(text)):
        for octet in {text[at] ^ 1, ord(" "), ord("\n")} - {text[at]}:
            path.write_bytes(text[:at] + bytes((octet,)) + text[at + 1 :])
            if at == len(text) - 1:  # the end of the last line is gone: as after a power cut
                assert len(journal.read(path)) == 2
                continue
            with pytest.raises(JournalError, match=r"j\.jsonl:[123]: "):
                journal.read(path)


def test_lines_that_are_removed_doubled_swapped_or_made_up_show(tmp_path: Path) -> None:
    path = filled(tmp_path / "j.jsonl")
    one, two, three = path.read_bytes().splitlines(keepends=True)
    forged = journal.Record(3, AT.isoformat(), "mallory", "approve", "x9", None, {}, journal.START).line()
    for lines in ([two, three], [one, three], [one, one, two], [two, one, three], [one, two, forged], [b"[]\n"]):
        path.write_bytes(b"".join(lines))
        with pytest.raises(JournalError, match=r"j\.jsonl:[123]: "):
            journal.read(path)
    path.write_bytes(one + two)  # a cut end is a whole journal, with another head
    assert len(journal.read(path)) == 2


def test_a_line_that_a_power_cut_left_unfinished_does_not_count_and_is_replaced(tmp_path: Path) -> None:
    path = filled(tmp_path / "j.jsonl")
    whole = path.read_bytes()
    for cut in (1, len(whole) // 2):
        path.write_bytes(whole[:-cut])
        before = len(journal.read(path))
        filled(path, 1)
        assert len(journal.read(path)) == before + 1
        assert path.read_bytes().count(b"\n") == before + 1


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = filled(tmp_path / "j.jsonl")
    with (
        pytest.raises(SinkholeError, match="32768 are allowed"),
        journal.open_for_writing(path) as opened,
    ):
        opened.add(AT, "alice", "request", "x", None, {"why": "x" * journal.MAX_LINE})
    assert len(journal.read(path)) == 3
    monkeypatch.setattr(journal, "MAX_SIZE", 100)
    with pytest.raises(JournalError, match="larger than"):
        journal.read(path)


def test_a_disk_without_room_leaves_the_journal_as_it_was(tmp_path: Path) -> None:
    path = filled(tmp_path / "j.jsonl")
    with journal.open_for_writing(path) as opened:
        path.unlink()
        path.symlink_to("/dev/full")
        with pytest.raises(SinkholeError, match="cannot write"):
            opened.add(AT, "alice", "request", "x9", None, {})
        assert len(opened.records) == 3


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    path = filled(tmp_path / "j.jsonl")
    with journal.open_for_writing(path), pytest.raises(SinkholeError, match="locked"), journal.open_for_writing(path):
        pass


def test_a_record_is_one_line_whatever_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with journal.open_for_writing(path) as opened:
        opened.add(AT, "a\nb\u2028\x1b[31m", "request", "x1", None, {"why": "\r\n\0"})
    (line,) = path.read_bytes().split(b"\n")[:-1]
    assert json.loads(line)["who"] == "a\nb\u2028\x1b[31m"
    assert len(journal.read(path)) == 1

"""Publishing: the same lists give the same bytes, and nothing but the listed files is there."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

from sinkhole.compiler.compile import Compiled
from sinkhole.exports.publish import export, publish
from sinkhole.formats import FORMATS
from tests.bundles import made

TEXT = "lists: {a: {title: A list, license: MIT, updated: 2025-02-05, block: [a.test], sources: [./feed.txt]}}"


def lists(directory: Path, feed: str = "||b.test^\n") -> list[Compiled]:
    directory.mkdir(exist_ok=True)
    shutil.rmtree(directory / "bundles", ignore_errors=True)  # or what did not change would not be compiled
    return [compiled for compiled in made(directory, TEXT, {"feed.txt": feed}).lists if compiled.plan.id == "a"]


def test_every_format_of_every_list_is_written_and_indexed(tmp_path: Path) -> None:
    published = publish(tmp_path / "out", lists(tmp_path), FORMATS.values())
    paths = [f"{name}/a.{format.suffix}" for name, format in FORMATS.items() if format.lines]
    assert [file.path for file in published] == sorted(paths)  # the list has no rule for formats of addresses
    index = json.loads((tmp_path / "out/index.json").read_bytes())["exports"]
    for entry in index:
        body = (tmp_path / "out" / entry["path"]).read_bytes()
        assert entry["bytes"] == len(body)
        assert entry["sha256"] == hashlib.sha256(body).hexdigest()
        if FORMATS[entry["format"]].comment:
            assert f"Number of entries: {entry['rules']}\n".encode() in body
            assert f"Version: {entry['version']}\n".encode() in body
        assert b"\r" not in body
    narrowed = {entry["format"]: entry["loss"]["narrowed"] for entry in index if entry["loss"]["narrowed"]}
    assert narrowed == dict.fromkeys(("coredns", "domains", "hosts", "hosts-dual", "hosts-windows"), 2)


def test_the_same_lists_give_the_same_bytes_and_leave_the_files_alone(tmp_path: Path) -> None:
    publish(tmp_path / "out", lists(tmp_path), FORMATS.values())
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "out").rglob("*.*")}
    publish(tmp_path / "out", lists(tmp_path), FORMATS.values())
    publish(tmp_path / "again", lists(tmp_path / "other"), FORMATS.values())
    for path, (content, time) in before.items():
        assert (path.read_bytes(), path.stat().st_mtime_ns) == (content, time)
        assert (tmp_path / "again" / path.relative_to(tmp_path / "out")).read_bytes() == content


def test_a_list_that_is_gone_takes_its_files_along_and_no_others(tmp_path: Path) -> None:
    publish(tmp_path, lists(tmp_path), FORMATS.values())
    (tmp_path / "hosts/mine.txt").write_text("0.0.0.0 mine.test\n")
    publish(tmp_path, lists(tmp_path), [FORMATS["domains"]])
    assert sorted(path.name for path in tmp_path.rglob("*.txt")) == ["a.txt", "feed.txt", "mine.txt"]
    publish(tmp_path, [], FORMATS.values())
    assert (tmp_path / "hosts/mine.txt").exists()
    assert not (tmp_path / "domains/a.txt").exists()


def test_an_index_that_names_files_elsewhere_removes_nothing_there(tmp_path: Path) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("keep")
    out = tmp_path / "out"
    out.mkdir()
    paths = ["../victim.txt", str(victim), "hosts/../../victim.txt", 7]
    (out / "index.json").write_text(json.dumps({"exports": [{"path": path} for path in paths]}))
    publish(out, [], FORMATS.values())
    assert victim.read_text() == "keep"


def serial(path: Path) -> int:
    found = re.search(r"SOA \S+ \S+ (\d+) ", path.read_text())
    assert found
    return int(found[1])


def test_the_serial_of_a_zone_rises_exactly_when_its_content_changes(tmp_path: Path) -> None:
    zone = tmp_path / "rpz/a.zone"
    publish(tmp_path, lists(tmp_path), FORMATS.values())
    assert serial(zone) == 2025020500
    publish(tmp_path, lists(tmp_path), FORMATS.values())
    assert serial(zone) == 2025020500
    publish(tmp_path, lists(tmp_path, "||c.test^\n"), FORMATS.values())
    assert serial(zone) == 2025020501
    publish(tmp_path, lists(tmp_path), FORMATS.values())
    assert serial(zone) == 2025020502


def test_a_header_says_what_the_list_is(tmp_path: Path) -> None:
    (compiled,) = lists(tmp_path)
    _, pieces = export(compiled, FORMATS["adblock"])
    head, *_ = b"".join(pieces).decode().partition("||")
    assert [line.partition(":")[0] for line in head.strip().split("\n")] == [
        "! Title",
        "! License",
        "! Expires",
        "! Last modified",
        "! Version",
        "! Syntax",
        "! Usage",
        "! Number of entries",
    ]
    assert "! Last modified: 2025-02-05\n" in head


def test_a_page_says_what_there_is_and_leaves_somebody_elses_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    publish(out, lists(tmp_path), FORMATS.values())
    text = (out / "README.md").read_text()
    files = [path.relative_to(out).as_posix() for path in out.glob("*/*")]
    assert sorted(re.findall(r"\]\(([^)]+/[^)]+)\)", text)) == sorted(files)
    assert "\n## A list\n\nLicence: MIT. As of 2025-02-05.\n" in text
    assert re.search(
        r"^\| \[hosts/a.txt\]\(hosts/a.txt\) \| hosts file \| .* \| 2 \| 2 rules also cover .* \|$", text, re.M
    )
    (out / "README.md").write_text("# Mine\n")
    publish(out, lists(tmp_path), FORMATS.values())
    assert (out / "README.md").read_text() == "# Mine\n"


def test_nothing_in_a_title_becomes_markup_on_the_page(tmp_path: Path) -> None:
    (compiled,) = lists(tmp_path)
    odd = replace(compiled, plan=compiled.plan._replace(title="<b>|x|\n# y [z](w)", description="`&lt;"))
    publish(tmp_path / "out", [odd], [FORMATS["domains"]])
    text = (tmp_path / "out/README.md").read_text()
    assert r"## \<b\>\|x\| \# y \[z\](w)" in text
    assert r"\`\&lt;" in text

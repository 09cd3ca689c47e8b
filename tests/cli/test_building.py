from __future__ import annotations

import fcntl
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import NAMES, Web
from tests.conftest import CHECKOUT, Site


def listing(*sources: Any, **more: Any) -> dict[str, Any]:
    """Settings that enforce a list ``ads`` of ``sources``."""
    return {"lists": {"ads": {"sources": list(sources), **more}}, "policy": [{"groups": ["all"], "lists": ["ads"]}]}


def files(directory: Path) -> Mapping[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def explained(site: Site, name: str) -> Any:
    return site.run("explain", name, "--json", "-c", "sinkhole.yaml").data


def test_the_committed_exports_are_what_the_catalogue_gives(site: Site) -> None:
    """Byte for byte, file for file: ``exports/`` is written by this command and nothing else.

    It runs over a copy of them, because the serial of a zone follows that of the file before it.
    """
    shutil.copytree(CHECKOUT / "exports", site.directory / "exports")

    written = site.run("build", "--offline", "--json").data["exports"]

    committed, built = files(CHECKOUT / "exports"), files(site.directory / "exports")
    assert sorted(committed) == sorted(["README.md", "index.json", *(export["path"] for export in written)])
    assert [path for path in committed if committed[path] != built[path]] == []


def test_two_builds_give_the_same_bytes(site: Site) -> None:
    """No clock, no random order and no state directory gets into them."""
    site.write("own.txt", "0.0.0.0 b.example.com\n0.0.0.0 a.example.com\n")
    site.write("more.txt", "||c.example.com^\n@@||d.c.example.com^\n||a.example.com^\n")
    settings = listing("./own.txt", "./more.txt") | {"allow": ["x.example.com"], "block": ["y.example.com"]}
    results = []
    for seed in ("1", "2"):
        site.configure(settings | {"exports": {"dir": f"exports-{seed}"}})
        state = {"XDG_STATE_HOME": str(site.directory / seed), "PYTHONHASHSEED": seed, "TZ": f"UTC-{seed}"}
        name = str(site.run("build", "-c", "sinkhole.yaml", "--json", environ=state).data["bundle"])
        path = site.directory / seed / "sinkhole" / "bundles" / name
        results.append({f"{name}/{file}": data for file, data in files(path).items()})
        results[-1] |= files(site.directory / f"exports-{seed}")
    first, second = results
    assert sorted(first) == sorted(second)
    assert [path for path in first if first[path] != second[path]] == []


def test_a_build_is_told_for_people_and_as_json(site: Site) -> None:
    site.write("own.txt", NAMES + "not a rule\n0.0.0.0 localhost com\n")
    site.configure(listing("./own.txt", title="Own list"))

    told = site.run("build", "-c", "sinkhole.yaml")
    again = site.run("build", "-c", "sinkhole.yaml", "--json").data

    assert told.err == ""
    assert "ads" in told.out
    assert "Own list" in told.out
    assert told.out.splitlines()[-1] == f"bundle {again['bundle']}"
    (entry,) = [entry for entry in again["lists"] if entry["id"] == "ads"]
    assert (entry["entries"], entry["before"], entry["title"]) == (10, 10, "Own list")
    (source,) = entry["sources"]
    assert (source["format"], source["lines"], source["rules"]) == ("hosts", 12, 10)
    assert sum(source["skipped"].values()) == 2
    assert (again["changed"], again["accepted"]) == (False, [])
    assert [(feed["stale"], feed["error"]) for feed in again["feeds"]] == [(False, None)]
    assert {export["path"] for export in again["exports"]} == {
        path for path in files(site.directory / "exports") if path not in ("index.json", "README.md")
    }
    assert json.loads((site.directory / "exports" / "index.json").read_bytes())["exports"] == again["exports"]


def test_a_second_build_of_the_same_changes_no_file(site: Site) -> None:
    site.write("own.txt", NAMES)
    site.configure(listing("./own.txt"))
    site.run("build", "-c", "sinkhole.yaml")
    kept = [*(site.state / "bundles").rglob("*"), *(site.directory / "exports").rglob("*")]
    before = {path: path.lstat().st_mtime_ns for path in kept if path.is_file()}

    again = site.run("build", "-c", "sinkhole.yaml")

    assert again.out.splitlines()[-1].endswith(", unchanged")
    assert {path: path.lstat().st_mtime_ns for path in before} == before


def test_a_dry_run_says_what_would_change_and_changes_nothing(site: Site) -> None:
    site.write("own.txt", NAMES)
    site.configure(listing("./own.txt"))
    site.run("build", "-c", "sinkhole.yaml")
    bundles, exports = files(site.state / "bundles"), files(site.directory / "exports")
    site.write("own.txt", NAMES + "0.0.0.0 new.example.com\n")

    report = site.run("build", "-c", "sinkhole.yaml", "--dry-run", "--json").data

    (entry,) = [entry for entry in report["lists"] if entry["id"] == "ads"]
    assert (entry["before"], entry["entries"]) == (10, 11)
    assert report["bundle"] is None
    assert files(site.state / "bundles") == bundles
    assert files(site.directory / "exports") == exports
    assert explained(site, "new.example.com")["action"] == "forward"
    # What it says of the exports is what a build then writes, byte for byte.
    assert site.run("build", "-c", "sinkhole.yaml", "--json").data["exports"] == report["exports"]


def test_a_dry_run_says_what_each_export_could_not_state(site: Site) -> None:
    site.write("own.txt", "||a.example.com^\n@@||ok.a.example.com^\n*.b.example.com CNAME .\n/^ads?[0-9]+\\./\n")
    site.configure(listing("./own.txt"))
    run = ("build", "-c", "sinkhole.yaml", "--dry-run")

    first = site.run(*run)
    exports = {export["path"]: export["loss"] for export in site.run(*run, "--json").data["exports"]}

    assert "exports would be in place; rules that some cannot state:\n" in first.out
    assert re.search(r"^hosts/ads\.txt +1 narrowed, 1 special$", first.out, re.M)
    assert not re.search(r"^adblock/ads\.txt", first.out, re.M)
    assert exports["hosts/ads.txt"]["narrowed"] == 1
    assert not any(exports["adblock/ads.txt"].values())
    assert not (site.directory / "exports").exists()
    assert not site.state.exists()
    site.run("build", "-c", "sinkhole.yaml")
    again = site.run(*run, "--json").data["exports"]
    assert {export["path"]: export["loss"] for export in again} == exports
    assert site.run(*run, "--no-exports", "--json").data["exports"] == []


def test_a_feed_that_is_no_list_keeps_its_last_good_copy(site: Site, web: Web) -> None:
    site.configure(listing({"url": web.url, "local": True}))
    first = site.run("build", "-c", "sinkhole.yaml", "--json").data

    for status, body, why in (
        (200, b"<!DOCTYPE html><html><body>Please log in</body></html>", "an HTML or XML page, not a list"),
        (200, b"", "empty"),
        (200, b"\x7fELF\x02\x01\x01\x00", "binary, not a list"),
        (404, b"gone", "404"),
    ):
        web.status, web.body = status, body
        second = site.run("build", "-c", "sinkhole.yaml", "--json", code=3)
        assert second.data["bundle"] == first["bundle"]
        assert [(feed["id"], feed["stale"]) for feed in second.data["feeds"]] == [(web.url, True)]
        assert second.err.startswith(f"sinkhole: {web.url}: ")
        assert why in second.err
        assert "; its last good copy is " in second.err
        assert second.err.count("\n") == 1

    found = explained(site, "ads-3.example.com")
    assert (found["action"], found["source"], found["line"]) == ("block", web.url, 4)
    web.status, web.body = 200, NAMES.encode()
    assert not site.run("build", "-c", "sinkhole.yaml", "--json").data["feeds"][0]["stale"]


def test_a_feed_without_any_copy_is_left_out(site: Site, web: Web) -> None:
    web.status = 404
    site.write("own.txt", NAMES)
    site.configure(listing({"url": web.url, "local": True}, "./own.txt"))

    ran = site.run("build", "-c", "sinkhole.yaml", code=3)

    assert "it is left out" in ran.err
    assert explained(site, "ads-3.example.com")["action"] == "block"


def test_an_address_that_is_not_public_has_to_be_marked_as_local(site: Site, web: Web) -> None:
    site.configure(listing(web.url))

    assert "127.0.0.1" in site.run("build", "-c", "sinkhole.yaml", code=3).err


def test_offline_uses_what_there_is(site: Site, web: Web) -> None:
    site.configure(listing({"url": web.url, "local": True}))
    assert "no copy yet" in site.run("build", "-c", "sinkhole.yaml", "--offline", code=3).err
    site.run("build", "-c", "sinkhole.yaml")
    web.body += b"0.0.0.0 new.example.com\n"

    offline = site.run("build", "-c", "sinkhole.yaml", "--offline", "--json").data

    assert (offline["changed"], [feed["stale"] for feed in offline["feeds"]]) == (False, [False])


def test_a_guard_that_refuses_leaves_everything_as_it_was(site: Site, web: Web) -> None:
    site.configure(listing({"url": web.url, "local": True, "min-rules": 10}))
    site.run("build", "-c", "sinkhole.yaml")
    bundles, exports = files(site.state / "bundles"), files(site.directory / "exports")
    web.body = b"0.0.0.0 other.example.com\n"

    refused = site.run("build", "-c", "sinkhole.yaml", "--json", code=4)

    assert refused.data["refused"] == [f"{web.url}: 1 rules, fewer than its min-rules 10"]
    assert refused.data["changed"] is False
    assert refused.err == (
        f"sinkhole: {web.url}: 1 rules, fewer than its min-rules 10\n"
        "what was in use before stays in use; --accept-change accepts it\n"
    )
    assert files(site.state / "bundles") == bundles
    assert files(site.directory / "exports") == exports
    assert explained(site, "ads-3.example.com")["action"] == "block"

    accepted = site.run("build", "-c", "sinkhole.yaml", "--accept-change")

    assert accepted.err == f"sinkhole: accepted: {web.url}: 1 rules, fewer than its min-rules 10\n"
    manifest = json.loads((site.state / "bundles" / "current" / "manifest.json").read_bytes())
    assert manifest["accepted"] == [f"{web.url}: 1 rules, fewer than its min-rules 10"]
    assert explained(site, "ads-3.example.com")["action"] == "forward"


def test_the_report_says_what_changed_and_why_lines_were_left_out(site: Site) -> None:
    site.write("own.txt", NAMES + "0.0.0.0 x\x1b[31m.example.com\n")
    site.configure(listing("./own.txt", block=["own.example.com"]))
    first = site.run("build", "-c", "sinkhole.yaml", "--json").data
    site.write("own.txt", NAMES.replace("ads-0", "new-0").replace("ads-1.", "new-1.") + "0.0.0.0 com\n")

    dry = site.run("build", "-c", "sinkhole.yaml", "--json", "--dry-run").data
    told = site.run("build", "-c", "sinkhole.yaml").out
    again = site.run("build", "-c", "sinkhole.yaml", "--json").data

    (before,), (now,), (last,) = (
        [entry for entry in report["lists"] if entry["id"] == "ads"] for report in (first, dry, again)
    )
    assert (before["added"], before["removed"], before["before"]) == (11, 0, None)
    assert [(source["added"], source["removed"]) for source in before["sources"]] == [(10, 0)]
    assert (now["added"], now["removed"], now["before"], now["entries"]) == (2, 2, 11, 11)
    assert [(source["added"], source["removed"]) for source in now["sources"]] == [(2, 2)]
    assert (last["added"], last["removed"]) == (0, 0)
    assert "own.txt: 1 skipped: a single label; line 11: 0.0.0.0 com" in told
    assert "exports in place; rules that some could not state:" in told
    assert "\x1b" not in told


def test_quiet_is_quiet_when_nothing_changed_and_all_is_well(site: Site, web: Web) -> None:
    site.configure(listing({"url": web.url, "local": True}))
    assert site.run("build", "-q", "-c", "sinkhole.yaml").out != ""
    assert site.run("build", "-q", "-c", "sinkhole.yaml") == (0, "", "")
    web.body += b"0.0.0.0 new.example.com\n"
    assert "new" not in site.run("build", "-q", "-c", "sinkhole.yaml").err
    web.status = 404
    ran = site.run("build", "-q", "-c", "sinkhole.yaml", code=3)
    assert "stale" in ran.out
    assert ran.err.count("\n") == 1


def test_a_fresh_copy_is_not_asked_for_again(site: Site, web: Web) -> None:
    site.configure(listing({"url": web.url, "local": True, "interval": "1h"}))
    first = site.run("build", "-c", "sinkhole.yaml", "--json").data
    web.body += b"0.0.0.0 new.example.com\n"
    assert site.run("build", "-c", "sinkhole.yaml", "--json").data["bundle"] == first["bundle"]
    assert site.run("build", "--refresh", "-c", "sinkhole.yaml", "--json").data["changed"]


def test_a_dry_run_leaves_no_trace_at_all(site: Site, web: Web) -> None:
    site.configure(listing({"url": web.url, "local": True}))
    site.run("build", "--dry-run", "-c", "sinkhole.yaml")
    assert not site.state.exists()
    site.run("build", "-c", "sinkhole.yaml")
    before = files(site.state)
    web.body += b"0.0.0.0 new.example.com\n"
    report = site.run("build", "--dry-run", "-c", "sinkhole.yaml", "--json").data
    assert (report["lists"][-1]["added"], report["changed"]) == (1, False)
    assert files(site.state) == before


@pytest.mark.parametrize("damage", ["gone", "other", "index"])
def test_exports_are_put_in_place_again(site: Site, damage: str) -> None:
    site.write("own.txt", NAMES)
    site.configure(listing("./own.txt"))
    site.run("build", "-c", "sinkhole.yaml")
    exports = site.directory / "exports"
    before = files(exports)
    path = exports / ("index.json" if damage == "index" else "hosts/ads.txt")
    path.unlink() if damage == "gone" else path.write_text("{}")

    again = site.run("build", "-q", "-c", "sinkhole.yaml")

    assert files(exports) == before
    assert again.out.splitlines()[-1].endswith(", unchanged")


def test_rollback(site: Site) -> None:
    for name in ("a", "b"):
        site.configure({"block": [f"{name}.example.com"]})
        site.run("build", "-c", "sinkhole.yaml", "--json")
    left = (site.state / "bundles" / "current").resolve().name
    told = site.run("rollback", "-c", "sinkhole.yaml").out
    to = (site.state / "bundles" / "current").resolve().name
    assert told == f"{to} is in use instead of {left}, until a build finds anything new\n"
    assert explained(site, "a.example.com")["action"] == "block"

    held = site.run("build", "-c", "sinkhole.yaml", "--json")
    assert (held.data["bundle"], held.data["rolled-back"]) == (to, left)
    assert held.err == (
        f"sinkhole: {to} stays in use: {left} was rolled back, and nothing changed since; "
        f"`sinkhole rollback {left}` puts it in use again\n"
    )
    assert "- =block tree a.example.com" in site.run("lists", "diff", to, left, "-c", "sinkhole.yaml").out
    site.run("rollback", left, "-c", "sinkhole.yaml")
    assert site.run("build", "-c", "sinkhole.yaml").err == ""
    assert "no bundle 'x' in" in site.run("rollback", "x", "-c", "sinkhole.yaml", code=1).err


def test_a_file_that_is_missing_is_named(site: Site) -> None:
    site.configure(listing("./gone.txt"))

    ran = site.run("build", "-c", "sinkhole.yaml", code=3)

    assert f"{site.directory}/gone.txt" in ran.err
    assert "No such file" in ran.err


def test_exports_are_those_that_the_configuration_names(site: Site) -> None:
    site.write("own.txt", NAMES)
    settings = listing("./own.txt") | {"exports": {"dir": "out/lists", "lists": ["ads", "deepseek"], "formats": "all"}}
    site.configure(settings)
    site.run("build", "-c", "sinkhole.yaml")
    assert {path.split("/")[-1].partition(".")[0] for path in files(site.directory / "out/lists")} == {
        "ads",
        "deepseek",
        "index",
        "README",
    }

    site.configure(settings | {"exports": {"dir": "out/lists", "lists": ["ads"], "formats": ["hosts"]}})
    site.run("build", "-c", "sinkhole.yaml")

    assert sorted(files(site.directory / "out/lists")) == ["README.md", "hosts/ads.txt", "index.json"]


def test_named_accepts_the_policy_zones(site: Site, peer: Callable[[str], str]) -> None:
    """The committed ones, and one with exceptions inside blocks inside exceptions."""
    checkzone = peer("named-checkzone")
    site.write("own.txt", "||example.com^\n@@||a.example.com^\n||b.a.example.com^$important\n|_x.example.net^\n")
    site.configure(listing("./own.txt"))
    site.run("build", "-c", "sinkhole.yaml")
    zones = [*(CHECKOUT / "exports" / "rpz").iterdir(), *(site.directory / "exports" / "rpz").iterdir()]
    assert len(zones) > 1
    for zone in zones:
        done = subprocess.run(
            [checkzone, "-i", "local", "rpz.example", str(zone)],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
        assert done.returncode == 0, done
        assert "OK" in done.stdout


def test_a_build_that_runs_keeps_another_one_out(site: Site) -> None:
    (site.directory / "state").mkdir()
    site.state.mkdir()
    with (site.state / "build.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ran = site.run("build", code=1)
    assert "build.lock is locked: another sinkhole" in ran.err


def test_no_colour_and_no_progress_in_a_pipe(site: Site, web: Web) -> None:
    web.body = gzip.compress(NAMES.encode() * 5000)
    site.configure(listing({"url": web.url, "local": True}))

    ran = site.run("build", "-c", "sinkhole.yaml", environ={"TERM": "xterm-256color"})

    assert "\x1b" not in ran.out + ran.err
    assert "━" not in ran.out + ran.err
    assert ran.err == ""


def test_a_terminal_shows_progress(site: Site, web: Web) -> None:
    site.configure(listing({"url": web.url, "local": True}))
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "sinkhole", "build", "-c", "sinkhole.yaml"]
    environ = {**site.environ(), "TERM": "xterm-256color"}
    with subprocess.Popen(
        command, cwd=site.directory, env=environ, stdout=subprocess.DEVNULL, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        with open(ours, "rb", buffering=0) as terminal, suppress(OSError):  # EIO: the other end is closed
            while piece := terminal.read(4096):
                shown += piece
        assert process.wait(20) == 0
    assert web.url.encode() in shown
    assert b"compile" in shown
    assert "━".encode() in shown

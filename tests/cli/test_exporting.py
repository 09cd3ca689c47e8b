"""``sinkhole export`` for groups and reports, and what builds do around the files that they publish."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CHECKOUT, Site

OFFICE: dict[str, Any] = {
    "groups": {"office": {"clients": ["10.20.0.0/16"]}},
    "lists": {"ads": {"title": "Ads", "license": "MIT", "block": ["ads.test", "=one.test"]}},
    "policy": [
        {"groups": ["office"], "lists": ["ads"], "directives": ["kr-mofa-2025-02-05"]},
        {"groups": ["all"], "lists": ["deepseek"], "action": "observe"},
    ],
    "block": ["bad.test"],
    "allow": ["fine.bad.test"],
}


def exports(**more: Any) -> dict[str, Any]:
    return OFFICE | {"exports": {"lists": ["ads"], "formats": ["hosts", "rpz"], "groups": ["office"], **more}}


def times(site: Site) -> dict[str, int]:
    out = site.directory / "exports"
    return {path.relative_to(out).as_posix(): path.stat().st_mtime_ns for path in out.rglob("*.*") if path.is_file()}


def test_a_group_at_an_instant_as_a_file(site: Site) -> None:
    site.configure(OFFICE)
    run = ("export", "--group", "office", "--format", "rpz", "-c", "sinkhole.yaml")
    before = site.run(*run, "--at", "2025-02-04T12:00+09:00").out
    since = site.run(*run, "--at", "2025-02-06T12:00+09:00").out
    for text in (before, since):
        assert "\nads.test CNAME .\n*.ads.test CNAME .\n" in text
        assert "\none.test CNAME .\n" in text
        assert "\nfine.bad.test CNAME rpz-passthru.\n*.fine.bad.test CNAME rpz-passthru.\n" in text
        assert "\nuse-application-dns.net CNAME .\n" in text
        assert "; Title: Policy for office\n" in text
        assert "; Group: office\n" in text
        assert "; Lists: ads\n" in text
        assert "; License: MIT\n" in text
    assert "deepseek.com" not in before
    assert "\ndeepseek.com CNAME .\n" in since
    assert "; Changes at: 2025-02-04T15:00:00+00:00\n" in before
    assert "; In force from: 2025-02-04T15:00:00+00:00\n; Directives: kr-mofa-2025-02-05\n" in since
    assert "use-application-dns.net" not in site.run(*run[:4], "hosts", *run[5:]).out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ads", "--group", "office", "--format", "rpz"), "name one list, or one group"),
        (("--format", "rpz"), "name one list, or one group"),
        (("ads", "more", "--format", "rpz"), "name one list, or one group"),
        (("ads", "--at", "2025-02-04T12:00Z", "--format", "rpz"), "name one list, or one group"),
        (("ads",), "--format"),
        (("--group", "office", "--at", "yesterday", "--format", "rpz"), "is no instant"),
    ],
)
def test_what_is_not_one_thing_to_write_is_wrong_usage(site: Site, arguments: tuple[str, ...], said: str) -> None:
    site.configure(OFFICE)
    assert said in site.run("export", *arguments, "-c", "sinkhole.yaml", code=2).err


def test_a_group_that_is_none_is_named_with_those_there_are(site: Site) -> None:
    site.configure(OFFICE)
    ran = site.run("export", "--group", "ofice", "--format", "rpz", "-c", "sinkhole.yaml", code=1)
    assert ran.err == "sinkhole: no group 'ofice'; there are: all, office\n"


def test_a_report_counts_what_each_export_cannot_state(site: Site) -> None:
    site.configure(exports())
    told = site.run("export", "--report", "--format", "hosts", "-c", "sinkhole.yaml").out.splitlines()
    assert told[0].split() == [
        "export",
        "format",
        "stated",
        "narrowed",
        "dropped",
        "too",
        "long",
        "unfit",
        "special",
        "hosts",
    ]
    assert [line.split() for line in told[1:]] == [["ads", "hosts", "2", "1"]]
    data = site.run("export", "deepseek", "ads", "--report", "--json", "-c", "sinkhole.yaml").data["exports"]
    loss = {(row["name"], row["format"]): row["loss"] for row in data}
    assert loss["ads", "hosts"]["narrowed"] == 1
    assert not any(loss["ads", "adblock"].values())
    assert {name for name, _ in loss} == {"ads", "deepseek"}
    group = site.run("export", "--report", "--group", "office", "--json", "-c", "sinkhole.yaml").data["exports"]
    assert {row["name"] for row in group} == {"group_office"}


def test_groups_are_published_beside_lists(site: Site) -> None:
    site.configure(exports())
    report = site.run("build", "-c", "sinkhole.yaml", "--json").data
    index = json.loads((site.directory / "exports/index.json").read_bytes())["exports"]
    assert report["exports"] == index
    assert [entry["path"] for entry in index] == [
        "hosts/ads.txt", "hosts/group_office.txt", "rpz/ads.zone", "rpz/group_office.zone",
    ]  # fmt: skip
    entry = index[1]
    assert {key: entry[key] for key in ("group", "at", "changes-at", "lists", "directives", "exceptions")} == {
        "group": "office",
        "at": "2025-02-04T15:00:00+00:00",
        "changes-at": None,
        "lists": ["ads"],
        "directives": ["kr-mofa-2025-02-05"],
        "exceptions": [],
    }
    written = (site.directory / "exports/rpz/group_office.zone").read_text()
    assert written == site.run("export", "--group", "office", "--format", "rpz", "-c", "sinkhole.yaml").out
    page = (site.directory / "exports/README.md").read_text()
    assert "\n## Policy for office\n" in page
    assert "(rpz/group_office.zone)" in page

    before = times(site)
    again = site.run("build", "-q", "-c", "sinkhole.yaml")
    assert (again.out, again.err, times(site)) == ("", "", before)


def test_an_exception_changes_the_files_of_its_group_alone(site: Site) -> None:
    site.configure(exports())
    site.run("build", "-c", "sinkhole.yaml")
    before = times(site)
    config = ("-c", "sinkhole.yaml")
    site.run("exception", "request", "x.ads.test", "--group", "office", "--for", "30m", "--why", "work", *config)
    site.run("exception", "approve", "x1", *config)
    site.run("build", "-q", *config)
    changed = {path for path, time in times(site).items() if time != before[path]}
    assert changed == {"hosts/group_office.txt", "rpz/group_office.zone", "index.json", "README.md"}
    text = (site.directory / "exports/rpz/group_office.zone").read_text()
    assert "\nx.ads.test CNAME rpz-passthru.\n" in text
    assert "; Exceptions: x1\n" in text
    site.run("exception", "revoke", "x1", *config)
    site.run("build", "-q", *config)
    assert "x.ads.test" not in (site.directory / "exports/rpz/group_office.zone").read_text()


def test_a_dry_run_tells_of_groups_and_writes_nothing(site: Site) -> None:
    site.configure(exports())
    run = ("build", "-c", "sinkhole.yaml", "--json")
    dry = site.run(*run, "--dry-run").data["exports"]
    assert not (site.directory / "exports").exists()
    assert dry == site.run(*run).data["exports"]
    site.configure(exports() | {"block": ["worse.test"]})
    dry = site.run(*run, "--dry-run").data["exports"]
    assert dry == site.run(*run).data["exports"]


def test_a_group_that_is_no_longer_wanted_leaves_no_file(site: Site) -> None:
    site.configure(exports())
    site.run("build", "-c", "sinkhole.yaml")
    site.configure(exports(groups=[]))
    site.run("build", "-c", "sinkhole.yaml")
    assert [path for path in times(site) if "group_" in path] == []
    assert "group" not in (site.directory / "exports/README.md").read_text()


def test_signed_exports(site: Site, peer: Callable[[str], str]) -> None:
    key = site.directory / "secret"
    subprocess.run([peer("minisign"), "-G", "-W", "-p", f"{key}.pub", "-s", key], check=True, capture_output=True)
    site.configure(exports(sign="secret", gzip=True))
    site.run("build", "-c", "sinkhole.yaml")
    out = site.directory / "exports"
    for path in ("hosts/ads.txt", "rpz/group_office.zone", "index.json"):
        verify = [peer("minisign"), "-Vm", str(out / path), "-p", f"{key}.pub"]
        said = subprocess.run(verify, capture_output=True, text=True, check=True).stdout
        assert f"Trusted comment: file:{path}" in said
    index = json.loads((out / "index.json").read_bytes())
    assert index["public-key"] in Path(f"{key}.pub").read_text()
    assert index["public-key"] in (out / "README.md").read_text()

    before = times(site)
    assert site.run("build", "-q", "-c", "sinkhole.yaml").out == ""
    assert times(site) == before
    (out / "hosts/ads.txt.minisig").write_text("damaged")
    (out / "hosts/ads.txt.gz").unlink()
    site.run("build", "-q", "-c", "sinkhole.yaml")
    subprocess.run(
        [peer("minisign"), "-Vm", out / "hosts/ads.txt", "-p", f"{key}.pub"], check=True, capture_output=True
    )
    assert (out / "hosts/ads.txt.gz").exists()

    key.chmod(0o644)
    refused = site.run("build", "-c", "sinkhole.yaml", code=1).err
    assert refused.startswith("sinkhole: sinkhole.yaml:")
    assert f": exports.sign: others than its owner may use {key}; " in refused


def test_commands_run_when_a_file_changed_and_again_until_they_do_well(site: Site) -> None:
    note = site.write(
        "note", f'#!/bin/sh\necho "$SINKHOLE_CHANGED" >> {site.directory}/told\ntest ! -e {site.directory}/bad\n'
    )
    note.chmod(0o755)
    told = site.directory / "told"
    run = ("build", "-q", "-c", "sinkhole.yaml")
    site.configure(exports(after=[str(note)], groups=[], formats=["hosts"]))

    site.run(*run, "--dry-run")
    site.run(*run, "--no-exports")
    assert not told.exists()
    site.run(*run)
    assert told.read_text() == "hosts/ads.txt\n"
    site.run(*run)
    assert told.read_text() == "hosts/ads.txt\n"

    (site.directory / "bad").touch()
    site.configure(exports(after=[str(note)], groups=[], formats=["hosts", "rpz"]))
    failed = site.run(*run, code=1)
    assert failed.err == f"sinkhole: exports.after: {note}: exit code 1\n"
    assert (site.directory / "exports/rpz/ads.zone").exists()
    (site.directory / "bad").unlink()
    site.run(*run)
    assert told.read_text() == "hosts/ads.txt\n" + 2 * "rpz/ads.zone\n"
    site.run(*run)
    assert told.read_text() == "hosts/ads.txt\n" + 2 * "rpz/ads.zone\n"


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("rndc reload | logger", "'|' means something to a shell, and none reads this"),
        ("echo 'x", "is not a command: No closing quotation"),
        ("", "is not a command; write a program and its arguments"),
    ],
)
def test_a_command_that_needs_a_shell_is_refused(site: Site, command: str, why: str) -> None:
    site.configure(exports(after=["rndc reload", command]))
    told = site.run("check", "-c", "sinkhole.yaml", code=1).err
    assert ": exports.after.1: " in told or ": exports.after[1]: " in told
    assert why in told


def test_groups_alone_are_brought_up_to_date_and_lists_left_as_they_are(site: Site) -> None:
    """Also when the configuration changed since, which is not in force before a build or a reload."""
    run = ("export", "--groups", "-c", "sinkhole.yaml")
    site.configure(exports())
    assert "no bundle is in use yet" in site.run(*run, code=1).err
    site.run("build", "--no-exports", "-c", "sinkhole.yaml")
    assert site.run(*run).out == ""
    assert set(times(site)) == {"README.md", "index.json", "hosts/group_office.txt", "rpz/group_office.zone"}
    site.run("build", "-c", "sinkhole.yaml")
    before = times(site)
    assert "hosts/ads.txt" in before

    edited = exports() | {
        "block": ["worse.test"],
        "lists": {"ads": {**OFFICE["lists"]["ads"], "block": ["other.test"]}},
    }
    site.configure(edited)
    (site.directory / "exports/rpz/group_office.zone").unlink()
    site.run(*run)
    assert {path: time for path, time in times(site).items() if path != "rpz/group_office.zone"} == {
        path: time for path, time in before.items() if path != "rpz/group_office.zone"
    }
    assert "worse.test" not in (site.directory / "exports/rpz/group_office.zone").read_text()
    site.run("build", "-c", "sinkhole.yaml")
    assert "worse.test" in (site.directory / "exports/rpz/group_office.zone").read_text()
    assert "other.test" in (site.directory / "exports/hosts/ads.txt").read_text()
    assert "--group" in site.run(*run, "ads", code=2).err


@pytest.mark.parametrize("index", ["{}", "[]", '{"exports": [{"list": "../x", "path": "../../x"}]}', "\xff"])
def test_an_index_that_somebody_else_wrote_is_left_alone_by_groups_and_replaced_by_a_build(
    site: Site, index: str
) -> None:
    site.configure(exports())
    site.run("build", "-c", "sinkhole.yaml")
    path = site.directory / "exports/index.json"
    before = path.read_bytes()
    path.write_text(index)
    refused = site.run("export", "--groups", "-c", "sinkhole.yaml", code=1).err
    assert refused == f"sinkhole: {path} is not as the last build left it; run `sinkhole build` first\n"
    assert path.read_text() == index
    site.run("build", "-c", "sinkhole.yaml")
    assert path.read_bytes() == before


def test_the_policy_zone_of_the_documentation_loads_in_bind(site: Site, peer: Callable[[str], str]) -> None:
    page = (CHECKOUT / "docs/publishing.md").read_text().replace("/srv/dns", f"{site.directory}/dns")
    (settings,) = re.findall(r"```yaml\n(.*?)```", page, re.S)
    (zone,) = re.findall(r"```\n(zone .*?)```", page, re.S)
    (option,) = re.findall(r"`(response-policy .*?)`", page)
    site.write("sinkhole.yaml", settings.replace("rndc reload rpz.example", "true"))
    site.run("build", "-c", "sinkhole.yaml")
    conf = site.write("named.conf", f'options {{ directory "{site.directory}"; {option} }};\n{zone}')
    said = subprocess.run([peer("named-checkconf"), "-z", conf], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, ""), said
    assert "zone rpz.example/IN: loaded serial 20" in said.stdout

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Site

ORDER = "kr-mofa-2025-02-05"
SETTINGS: dict[str, Any] = {
    "groups": {"lab": {"clients": ["10.20.0.0/16"]}},
    "lists": {"ads": {"block": ["ads.example.org", "tracker.example.org"]}},
    "policy": [{"groups": ["lab"], "directives": [ORDER]}, {"groups": ["all"], "lists": ["ads"]}],
}
CONFIG = ("-c", "sinkhole.yaml")
FOR_ONE = ("--client", "10.20.0.7", "--for", "30m", "--why", "incident 4711")


@pytest.fixture
def site(site: Site) -> Site:
    site.configure(SETTINGS)
    return site


def listed(site: Site, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.run("exception", "list", "--json", *arguments, *CONFIG).data
    return found


def explained(site: Site, name: str, client: str = "10.20.0.7") -> dict[str, Any]:
    (found,) = site.run("explain", name, "--client", client, "--json", *CONFIG).lines
    return dict(found)


def test_from_request_to_revocation(site: Site) -> None:
    asked = site.run("exception", "request", "ads.example.org", *FOR_ONE, "--ticket", "T-1", "--by", "alice", *CONFIG)
    assert asked.out == "x1 is requested\n"
    assert explained(site, "ads.example.org")["action"] == "block"

    assert site.run("exception", "approve", "x1", "--by", "bob", *CONFIG).out.startswith("x1 is approved until 20")
    found = explained(site, "x.ads.example.org")
    assert (found["action"], found["exception"], found["list"]) == ("allow", "x1", None)
    assert [(link["won"], link["action"], link["source"]) for link in found["chain"]] == [
        (True, "allow", "exception x1"),
        (False, "block", "block names of the list (sinkhole.yaml)"),
    ]
    assert re.fullmatch(
        r"exception x1, asked for by alice, approved by bob until \S+, ticket T-1", found["chain"][0]["because"]
    )
    assert found["chain"][0]["text"] == "incident 4711"
    assert explained(site, "ads.example.org", "10.20.0.8")["action"] == "block"
    (entry,) = listed(site)
    assert (entry["id"], entry["state"], entry["requester"], entry["decider"]) == ("x1", "approved", "alice", "bob")

    assert site.run("exception", "revoke", "x1", *CONFIG).out == "x1 is revoked\n"
    assert explained(site, "ads.example.org")["action"] == "block"
    assert listed(site) == []
    assert [entry["state"] for entry in listed(site, "--all")] == ["revoked"]
    assert "incident 4711" in site.run("exception", "list", "--all", *CONFIG).out


def test_denied_and_approved_at_once(site: Site) -> None:
    site.run("exception", "request", "=ads.example.org", *FOR_ONE, *CONFIG)
    assert site.run("exception", "deny", "x1", *CONFIG).out == "x1 is denied\n"
    assert "denied already" in site.run("exception", "approve", "x1", *CONFIG, code=1).err
    site.run("exception", "request", "=ads.example.org", "tracker.example.org", *FOR_ONE, "--approve", *CONFIG)
    assert explained(site, "ads.example.org")["action"] == explained(site, "tracker.example.org")["action"] == "allow"
    assert explained(site, "x.ads.example.org")["action"] == "block"
    assert [entry["state"] for entry in listed(site, "--all")] == ["denied", "approved"]


def test_a_directive_without_exceptions_refuses_them_for_whom_it_binds(site: Site) -> None:
    refused = site.run("exception", "request", "chat.deepseek.com", *FOR_ONE, *CONFIG, code=1)
    assert refused.err == f"sinkhole: directive {ORDER} allows no exceptions\n"
    service = ("exception", "request", "--service", "deepseek:core", "--for", "7d", "--why", "evaluation")
    assert "allows no exceptions" in site.run(*service, "--group", "lab", *CONFIG, code=1).err
    site.run(*service, "--client", "192.0.2.1", *CONFIG)  # whom it does not bind
    (entry,) = listed(site)
    assert "deepseek.com" in entry["names"]
    assert entry["service"] == "deepseek:core"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["ads.example.org", "--for", "30m", "--client", "10.0.0.1"], 1, "needs a reason"),
        (["ads.example.org", "--for", "30m", "--why", "x"], 1, "name a client or a group"),
        (["ads.example.org", "--why", "x", "--client", "10.0.0.1"], 1, "has an end"),
        (["--why", "x", "--client", "10.0.0.1", "--for", "1h"], 1, "1 to 256 names, not 0"),
        (["co.uk", "--why", "x", "--client", "10.0.0.1", "--for", "1h"], 1, "co.uk is a public suffix"),
        (["a b", "--why", "x", "--client", "10.0.0.1", "--for", "1h"], 1, "'a b' is not a name"),
        (
            ["ads.example.org", "--why", "x", "--group", "lap", "--for", "1h"],
            1,
            "no group 'lap'; did you mean \"lab\"?",
        ),
        (["--service", "deepsek", "--why", "x", "--group", "lab", "--for", "1h"], 1, 'did you mean "deepseek"?'),
        (["--service", "deepseek:cor", "--why", "x", "--group", "lab", "--for", "1h"], 1, 'did you mean "core"?'),
        (["ads.example.org", "--why", "x", "--client", "10.0.0.1/8", "--for", "1h"], 2, "has host bits set"),
        (["ads.example.org", "--why", "x", "--client", "10.0.0.1", "--for", "soon"], 2, "'soon' is not a duration"),
        (
            ["ads.example.org", "--why", "x", "--client", "10.0.0.1", "--until", "2999-01-01T00:00"],
            2,
            "has no UTC offset",
        ),
        (
            ["ads.example.org", "--why", "x", "--client", "10.0.0.1", "--until", "2999-01-01T00:00Z"],
            1,
            "after a year at most",
        ),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_recorded(
    site: Site, arguments: list[str], code: int, message: str
) -> None:
    ran = site.run("exception", "request", *arguments, *CONFIG, code=code)
    assert message in re.sub(r"[\s│]+", " ", ran.err)
    assert listed(site, "--all") == []


def test_an_id_that_nobody_has(site: Site) -> None:
    site.run("exception", "request", "ads.example.org", *FOR_ONE, *CONFIG)
    for verb in ("approve", "deny", "revoke"):
        assert "no exception 'x2'; allowed: x1" in site.run("exception", verb, "x2", *CONFIG, code=1).err


def test_a_record_that_somebody_edited_is_refused_with_its_line(site: Site) -> None:
    site.run("exception", "request", "ads.example.org", *FOR_ONE, "--approve", *CONFIG)
    head = site.run("exception", "verify", *CONFIG).out.split()[-1]
    site.run("exception", "request", "ads.example.org", *FOR_ONE, *CONFIG)
    assert site.run("exception", "verify", "--head", head, *CONFIG).out.startswith("3 entries, ")
    path = site.state / "exceptions.jsonl"
    whole = path.read_bytes()

    path.write_bytes(whole.replace(b"10.20.0.7", b"10.20.0.9", 1))
    for command in (["exception", "list"], ["exception", "verify"], ["explain", "ads.example.org"]):
        assert "exceptions.jsonl:1: this line was changed" in site.run(*command, *CONFIG, code=1).err
    path.write_bytes(whole.split(b"\n")[0] + b"\n")
    assert site.run("exception", "verify", *CONFIG).out.startswith("1 entries, ")
    assert "entries were cut off" in site.run("exception", "verify", "--head", head, *CONFIG, code=1).err


def test_expectations_are_run_by_check_and_before_a_bundle_is_used(site: Site) -> None:
    expect: list[dict[str, Any]] = [
        {"client": "10.20.0.7", "name": "chat.deepseek.com", "at": "2025-02-05T00:00+09:00", "action": "block"},
        {"client": "10.20.0.7", "name": "chat.deepseek.com", "at": "2025-02-04T23:59+09:00", "action": "forward"},
        {"name": "ads.example.org", "type": "https", "action": "block"},
    ]
    site.configure({**SETTINGS, "expect": expect})
    assert "tests 3" in site.run("check", *CONFIG).out
    site.run("build", "--no-exports", *CONFIG)
    before = (site.state / "bundles/current").readlink()

    site.configure(
        {
            **SETTINGS,
            "expect": [*expect, {"name": "ads.example.org", "action": "forward"}],
            "block": ["new.example.org"],
        }
    )
    for command in (["check"], ["build", "--no-exports"]):
        ran = site.run(*command, *CONFIG, code=1)
        assert re.search(
            r"sinkhole\.yaml:\d+: ads\.example\.org A for 127\.0\.0\.1 at \S+: expected forward, is block \(ads\)",
            ran.err,
        )
    assert (site.state / "bundles/current").readlink() == before

    site.configure({**SETTINGS, "expect": [{"name": "ads.example.org", "action": "forward"}]})
    ran = site.run("build", "--no-exports", *CONFIG, code=1)  # although there is nothing new to build
    assert "expected forward, is block (ads)" in ran.err


def test_a_preview_tells_names_and_queries_that_would_change(site: Site, tmp_path: Path) -> None:
    assert "build first" in site.run("policy", "preview", *CONFIG, code=1).err
    site.run("build", "--no-exports", *CONFIG)
    assert site.run("policy", "preview", *CONFIG).out == "no name would be answered otherwise\n"
    changed = {**SETTINGS, "lists": {"ads": {"block": ["ads.example.org", "=new.example.org"]}}}
    site.configure({**changed, "policy": [*SETTINGS["policy"], {"groups": ["lab"], "lists": ["ads"]}]})
    log = site.write(
        "log.txt",
        "# a log\n10.20.0.7 new.example.org A\n10.20.0.7 new.example.org\n"
        "192.0.2.1 TRACKER.example.org. AAAA\n192.0.2.1 ok.example.org\nx\n",
    )

    found = site.run("policy", "preview", "--queries", log, "--json", *CONFIG).data
    assert [(change["group"], change["before"], change["after"], change["names"]) for change in found["changes"]] == [
        (group, before, after, names)
        for group in ("all", "lab")
        for before, after, names in (
            ("block", "forward", ["tracker.example.org", "*.tracker.example.org"]),
            ("forward", "block", ["new.example.org"]),
        )
    ]
    assert found["replay"]["total"] == 4
    assert [
        (asked["client"], asked["name"], asked["times"], asked["after"]) for asked in found["replay"]["changes"]
    ] == [
        ("10.20.0.7", "new.example.org", 2, "block"),
        ("192.0.2.1", "tracker.example.org", 1, "forward"),
    ]
    told = site.run("policy", "preview", "--queries", "-", *CONFIG, stdin=log.read_bytes())
    assert "3 of 4 queries, of 2 clients, would have been answered otherwise" in told.out
    assert "line 6: 'x' is not `client name type`" in told.err


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"days": ["mon", "funday"], "zone": "Asia/Seoul"}, "funday"),
        ({"days": [], "zone": "Asia/Seoul"}, "days"),
        ({"from": "24:00", "zone": "Asia/Seoul"}, "'24:00' is not a time of day; write one from 00:00 to 23:59"),
        ({"zone": "Asia/Soul"}, 'did you mean "Asia/Seoul"?'),
        ({"from": "22:00"}, "zone"),
    ],
)
def test_a_bad_schedule_is_refused_with_its_place(site: Site, schedule: dict[str, Any], message: str) -> None:
    site.configure({**SETTINGS, "policy": [{"groups": ["all"], "lists": ["ads"], "schedule": schedule}]})
    ran = site.run("check", *CONFIG, code=1)
    assert message in ran.err
    assert re.search(r"sinkhole\.yaml:\d+:\d+: policy\[0\]\.schedule", ran.err)

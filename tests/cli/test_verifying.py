"""``sinkhole verify exports``: what is right, what is not, and what cannot be told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sinkhole.cli import application
from sinkhole.exports.verify.engines import Engine
from tests.conftest import Site

FORMATS = ["hosts", "pihole", "adblock", "unbound"]


@pytest.fixture
def office(site: Site) -> Site:
    """A site with published exports of one list."""
    site.write("own.txt", "||b.example.com^\n@@||ok.b.example.com^\n|c.example.com^\n")
    site.configure(
        {
            "lists": {"ads": {"sources": ["./own.txt"]}},
            "policy": [{"groups": ["all"], "lists": ["ads"]}],
            "exports": {"dir": "exports", "formats": FORMATS},
        }
    )
    site.run("build", "-c", "sinkhole.yaml", "--offline")
    return site


def spoil(site: Site, path: str, change: Callable[[bytes], bytes]) -> None:
    """Change an export, and the index with it, as if it had been written so."""
    directory = site.directory / "exports"
    text = change((directory / path).read_bytes())
    (directory / path).write_bytes(text)
    index = json.loads((directory / "index.json").read_bytes())
    for entry in index["exports"]:
        if entry["path"] == path:
            entry["sha256"] = hashlib.sha256(text).hexdigest()
    (directory / "index.json").write_text(json.dumps(index))


def test_exports_that_are_right(office: Site, peer: Callable[[str], str]) -> None:
    peer("unbound")
    peer("dnsmasq")
    ran = office.run("verify", "exports", "-c", "sinkhole.yaml", "--require")
    rows = [line.split() for line in ran.out.splitlines() if line.startswith(tuple(FORMATS))]
    assert ["adblock/ads.txt", "AdGuard", "Home", "(stand-in)"] in [row[:4] for row in rows]
    assert ["unbound/ads.conf", "unbound"] in [row[:2] for row in rows]
    assert ["hosts/ads.txt", "dnsmasq"] in [row[:2] for row in rows]
    assert ran.out.splitlines()[-1].endswith("; 0 wrong")


def test_an_export_that_blocks_more_is_an_error_that_names_the_names(office: Site, peer: Callable[[str], str]) -> None:
    peer("unbound")
    spoil(office, "unbound/ads.conf", lambda text: text.replace(b'"ok.b.example.com." transparent', b'"x.y.z." static'))
    spoil(office, "adblock/ads.txt", lambda text: text.replace(b"|c.example.com^\n", b""))
    ran = office.run("verify", "exports", "-c", "sinkhole.yaml", code=1)
    assert "unbound/ads.conf in unbound: blocked, but the list lets it through: ok.b.example.com: nxdomain" in ran.out
    assert "adblock/ads.txt in AdGuard Home: passes, but the list blocks it: c.example.com\n" in ran.out
    told = office.run("verify", "exports", "-c", "sinkhole.yaml", "--json", "--list", "ads", code=1).data
    wrong = {row["path"]: row for row in told["exports"] if not row["right"]}
    assert set(wrong) == {"unbound/ads.conf", "adblock/ads.txt"}
    assert "a.ok.b.example.com: nxdomain" in wrong["unbound/ads.conf"]["wider"]
    assert told["not-installed"] == []


def test_a_file_that_the_software_refuses(office: Site, peer: Callable[[str], str]) -> None:
    peer("unbound")
    spoil(office, "unbound/ads.conf", lambda text: text + b"  no-such-option: yes\n")
    ran = office.run("verify", "exports", "-c", "sinkhole.yaml", "--format", "unbound", code=1)
    assert "no-such-option" in ran.out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--dir", "gone"], "no exports in gone: No such file or directory; run `sinkhole build` first"),
        (["--list", "gone"], "no such export in "),
        (["--format", "rpz"], "no such export in "),
        (["--format", "gone"], "no format 'gone'; there are: domains, "),
        (["--engine", "gone"], "no software 'gone'; there is: named, unbound, "),
    ],
)
def test_what_there_is_not(office: Site, arguments: list[str], why: str) -> None:
    assert why in office.run("verify", "exports", "-c", "sinkhole.yaml", *arguments, code=1).err


def test_files_that_are_not_those_of_the_index_or_of_the_list_are_not_verified(office: Site) -> None:
    path = office.directory / "exports/pihole/ads.txt"
    path.write_bytes(path.read_bytes() + b"d.example.com\n")
    run = ["verify", "exports", "-c", "sinkhole.yaml", "--format", "pihole"]
    assert "is not what index.json says that was written" in office.run(*run, code=1).err
    spoil(office, "pihole/ads.txt", lambda text: text.replace(b"d.example.com\n", b""))
    office.write("own.txt", "||other.example.com^\n")
    assert "is of another version of the list" in office.run(*run, code=1).err
    (office.directory / "exports/index.json").write_text('{"exports": [{"path": 7}]}')
    assert "is no index of exports" in office.run(*run, code=1).err
    path.unlink()


@pytest.mark.parametrize("text", ["", "[]", '{"exports": 7}', '{"exports": [7]}', "\0", '{"exports": [{}]}'])
def test_an_index_that_is_none(office: Site, text: str) -> None:
    (office.directory / "exports/index.json").write_text(text)
    assert "is no index of exports" in office.run("verify", "exports", "-c", "sinkhole.yaml", code=1).err


@pytest.mark.parametrize("path", ["../own.txt", "/etc/passwd", "hosts/../../own.txt"])
def test_an_index_leads_nowhere_else(office: Site, path: str) -> None:
    index = office.directory / "exports/index.json"
    told = json.loads(index.read_bytes())
    told["exports"][0]["path"] = path
    index.write_text(json.dumps(told))
    assert "is no index of exports" in office.run("verify", "exports", "-c", "sinkhole.yaml", code=1).err


def test_software_that_is_not_installed_is_named_and_an_error_only_when_required(
    office: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "installed", lambda self: None)
    monkeypatch.chdir(office.directory)
    monkeypatch.setenv("XDG_STATE_HOME", str(office.state.parent))
    run = ["verify", "exports", "-c", "sinkhole.yaml", "--json"]
    ran = CliRunner().invoke(application(), run)
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert told["not-installed"] == ["unbound", "dnsmasq"]
    assert all(row["standin"] for row in told["exports"])
    assert "sinkhole: not installed, so not asked: unbound, dnsmasq" in ran.stderr
    assert CliRunner().invoke(application(), [*run, "--require"]).exit_code == 1


def test_nothing_is_left_behind(office: Site, peer: Callable[[str], str]) -> None:
    peer("unbound")
    before = {path.name for path in Path("/tmp").glob("sinkhole-*")}
    office.run("verify", "exports", "-c", "sinkhole.yaml", "--format", "unbound")
    assert {path.name for path in Path("/tmp").glob("sinkhole-*")} <= before

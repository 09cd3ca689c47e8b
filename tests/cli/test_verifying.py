"""``sinkhole verify exports``: what is right, what is not, and what cannot be told."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from typer.testing import CliRunner

from sinkhole.cli import application
from sinkhole.exports.verify.engines import ENGINES, Engine
from tests.conftest import CHECKOUT, Site

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


@pytest.mark.parametrize("which", ["bypass", "generative-ai-cn"])
def test_the_exports_of_this_repository_mean_what_their_lists_say(
    which: str, site: Site, peer: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In everything that there is, real or not: one list has networks too, the other known host names."""
    for engine in ENGINES.values():
        peer(engine.program)
    monkeypatch.setenv("XDG_STATE_HOME", str(site.state.parent))
    run = ["verify", "exports", "--dir", str(CHECKOUT / "exports"), "--list", which, "--names", "700", "--json"]
    ran = CliRunner().invoke(application(), [*run, "--require"])
    rows = json.loads(ran.stdout)["exports"]
    wrong = [row for row in rows if not row["right"]]
    # Unbound 1.17 does not drop for the addresses of an answer; docs/exports.md says so.
    assert [row for row in wrong if (row["path"], row["consumer"]) != ("rpz-drop/bypass.zone", "unbound")] == []
    assert all(name.startswith("ip-") for row in wrong for name in row["undeclared"])
    assert ran.exit_code == bool(wrong)
    told = {(row["path"].partition("/")[0], row["consumer"]) for row in rows}
    assert {"rpz", "knot", "dnsdist", "squid", "pac", "routedns"} <= {format for format, _ in told}
    assert set(ENGINES) - {"nft", "ipset"} <= {consumer for _, consumer in told}
    assert sum(row["asked"] for row in rows if not row["standin"]) > 10_000


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


def test_what_is_no_line_of_an_export_is_never_given_to_a_program(office: Site, peer: Callable[[str], str]) -> None:
    """A file and its index may both have been changed; what a program would run is refused before that."""
    peer("unbound")
    spoil(office, "unbound/ads.conf", lambda text: text + b"  include: /etc/passwd\n")
    spoil(office, "hosts/ads.txt", lambda text: text + b"192.0.2.1 bank.example\n")
    ran = office.run("verify", "exports", "-c", "sinkhole.yaml", code=1)
    assert "is none that this program writes: the option include" in ran.out
    assert "is none that this program writes: not a sink address" in ran.out


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


def test_nothing_is_left_behind(office: Site, peer: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    peer("unbound")
    monkeypatch.chdir(office.directory)
    monkeypatch.setenv("XDG_STATE_HOME", str(office.state.parent))
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        monkeypatch.setattr(tempfile, "tempdir", name)
        ran = CliRunner().invoke(application(), ["verify", "exports", "-c", "sinkhole.yaml", "--format", "unbound"])
        assert ran.exit_code == 0, ran.output
        assert list(Path(name).iterdir()) == []

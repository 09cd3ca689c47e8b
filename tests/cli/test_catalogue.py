from __future__ import annotations

import re
import shutil
from datetime import datetime

import pytest

from sinkhole.cli.catalogue import _state
from tests.bundles import CATALOGUE
from tests.conftest import CHECKOUT, Site


def test_feeds_list(site: Site) -> None:
    found = {source["id"]: source for source in site.run("feeds", "list", "--json").data}
    told = site.run("feeds", "list").out.splitlines()

    assert set(found) >= {"stevenblack", "hagezi-light"}
    assert all(source["license"] and source["homepage"].startswith("https://") for source in found.values())
    assert [line.split()[0] for line in told] == ["id", *sorted(found)]
    assert not site.state.exists()


def test_feeds_show(site: Site) -> None:
    found = site.run("feeds", "show", "stevenblack", "--json").data
    told = site.run("feeds", "show", "stevenblack").out

    assert (found["url"], found["format"], found["copy"]) == (
        "https://raw.githubusercontent.com/StevenBlack/hosts/master/hosts",
        "hosts",
        None,
    )
    assert (found["category"], found["lists"]) == ("ads", ["ads"])
    assert f"url          {found['url']}\n" in told
    assert "subdomains   False\n" in told


def test_services(site: Site) -> None:
    found = {service["id"]: service for service in site.run("feeds", "list", "--services", "--json").data}
    told = site.run("feeds", "list", "--services").out.splitlines()
    one = site.run("feeds", "show", "deepseek", "--json").data
    shown = site.run("feeds", "show", "deepseek").out.splitlines()

    assert one == found["deepseek"]
    assert [line.split()[0] for line in told] == ["id", *sorted(found)]
    rows = [line.split() for line in shown if line.startswith(tuple(one["tiers"]))]
    assert [(tier, name) for tier, name, *_ in rows] == [
        (tier, entry["name"]) for tier, entries in one["tiers"].items() for entry in entries
    ]
    cited = {word for row in rows for word in row if word.startswith("[")}
    assert cited == {line.split()[0] for line in shown if line.startswith("[")}


def test_format(site: Site) -> None:
    """What is written already stays; what is not is an error with --check; comments would get lost."""
    directory = site.directory / "feeds"
    shutil.copytree(CHECKOUT / "feeds", directory)
    service = directory / "services/deepseek.yaml"
    before = service.read_text()
    assert site.run("feeds", "fmt", directory, "--check").out == ""

    service.write_text(before.replace("\n", "\n\n", 1))
    refused = site.run("feeds", "fmt", directory, "--check", code=1)
    done = site.run("feeds", "fmt", directory)
    assert refused.err == f"sinkhole: not as `sinkhole feeds fmt` writes them: {service}\n"
    assert done.out == f"wrote {service}\n"
    assert service.read_text() == before

    service.write_text(before + "# The end\n")
    lost = site.run("feeds", "fmt", directory, code=1)
    assert f"{service}:{before.count(chr(10)) + 1}:" in lost.err
    assert service.read_text() == before + "# The end\n"


def test_feeds_update(site: Site) -> None:
    """It fetches what the configuration uses, and compiles nothing."""
    site.write("own.txt", "0.0.0.0 a.example.com\n")
    policy = [{"groups": ["all"], "lists": ["ads"]}]
    site.configure({"lists": {"ads": {"sources": ["./own.txt"]}}, "policy": policy})
    fresh = site.run("feeds", "update", "-c", "sinkhole.yaml").out
    site.write("own.txt", "<html>")
    stale = site.run("feeds", "update", "-c", "sinkhole.yaml", code=3).out

    assert fresh.splitlines()[1].split()[:2] == ["own.txt", "fresh"]
    assert stale.splitlines()[1].split()[:2] == ["own.txt", "failed"]
    assert stale.splitlines()[1].split()[2] == fresh.splitlines()[1].split()[2]
    assert "an HTML or XML page, not a list" in stale
    assert not (site.state / "bundles").exists()


def test_directive_list_and_show(site: Site) -> None:
    (found,) = [entry for entry in site.run("directive", "list", "--json").data if entry["id"] == "kr-mofa-2025-02-05"]
    shown = site.run("directive", "show", "kr-mofa-2025-02-05").out

    assert found["effective-from"] == "2025-02-05T00:00:00+09:00"
    assert found["lists"] == ["deepseek"]
    (row,) = [line for line in site.run("directive", "list").out.splitlines() if line.startswith("kr-mofa-2025-02-05")]
    assert re.split("  +", row)[:4] == [
        "kr-mofa-2025-02-05",
        "block",
        "2025-02-05T00:00:00+09:00",
        "Ministry of Foreign Affairs",
    ]
    for part in ("Ministry of Foreign Affairs", "KBS World", "접속이 제한되었습니다."):
        assert part in shown
        assert part in (CHECKOUT / "feeds/directives/kr-mofa-2025-02-05.yaml").read_text()


@pytest.mark.parametrize(
    ("day", "state"),
    [
        ("2025-01-01", "not yet"),
        ("2025-01-31", "announced"),
        ("2025-02-05", "in force"),
        ("2025-03-31", "review due"),
        ("2025-06-30", "ended"),
    ],
)
def test_the_state_of_a_directive(day: str, state: str) -> None:
    directive = CATALOGUE.directives["kr-mofa-2025-02-05"]
    dates = {
        "announce_from": datetime.fromisoformat("2025-01-31T00:00:00+09:00"),
        "review_at": datetime.fromisoformat("2025-03-31T00:00:00+09:00"),
        "effective_until": datetime.fromisoformat("2025-06-30T00:00:00+09:00"),
    }

    assert _state(directive.model_copy(update=dates), datetime.fromisoformat(f"{day}T00:00:00+09:00")) == state


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["feeds", "show", "stevenblak"], "no source 'stevenblak'; there are: "),
        (["directive", "show", "kr"], "no directive 'kr'; there are: au-home-affairs-2025-02-04, "),
    ],
)
def test_what_there_is_not(site: Site, arguments: list[str], why: str) -> None:
    ran = site.run(*arguments, code=1)

    assert ran.err.startswith(f"sinkhole: {why}")
    assert ran.err.count("\n") == 1

from __future__ import annotations

import pytest

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
    assert f"url          {found['url']}\n" in told
    assert "subdomains   False\n" in told


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
    assert "kr-mofa-2025-02-05  block   2025-02-05T00:00:00+09:00  Ministry of Foreign Affairs" in (
        site.run("directive", "list").out
    )
    for part in ("Ministry of Foreign Affairs", "KBS World", "접속이 제한되었습니다."):
        assert part in shown
        assert part in (CHECKOUT / "feeds/directives/kr-mofa-2025-02-05.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["feeds", "show", "stevenblak"], "no source 'stevenblak'; there are: "),
        (["directive", "show", "kr"], "no directive 'kr'; there are: kr-mofa-2025-02-05"),
    ],
)
def test_what_there_is_not(site: Site, arguments: list[str], why: str) -> None:
    ran = site.run(*arguments, code=1)

    assert ran.err.startswith(f"sinkhole: {why}")
    assert ran.err.count("\n") == 1

from __future__ import annotations

import pytest

from tests.conftest import CHECKOUT, Site


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site with two bundles, the second with other rules on its list."""
    site = Site(tmp_path_factory.mktemp("site"))
    lists = {
        "ads": {"title": "Own ads", "sources": ["./own.txt"], "block": ["x.example.org"], "allow": ["=a.example.com"]},
        "remote": {"sources": ["stevenblack"]},
    }
    site.configure({"lists": lists, "policy": [{"groups": ["all"], "lists": ["ads"]}]})
    for name, text in (("first", "0.0.0.0 b.example.com\n"), ("second", "||b.example.com^\n0.0.0.0 c.example.com\n")):
        site.write("own.txt", text)
        bundle = site.run("build", "-c", "sinkhole.yaml", "--no-exports", "--offline", "--json", code=3).data["bundle"]
        site.write(name, str(bundle))
    return site


def test_export_writes_what_a_build_publishes(site: Site) -> None:
    """To standard output and to a file, with what the format cannot say on standard error."""
    ran = site.run("export", "deepseek", "--format", "hosts")
    site.run("export", "deepseek", "--format", "adblock", "-o", "new/deepseek.txt")

    assert ran.out.encode() == (CHECKOUT / "exports/hosts/deepseek.txt").read_bytes()
    told = ran.err.splitlines()
    assert "which this format cannot say" in told[0]
    assert all(line.startswith("sinkhole: deepseek: ") for line in told)
    written = (site.directory / "new/deepseek.txt").read_bytes()
    assert written == (CHECKOUT / "exports/adblock/deepseek.txt").read_bytes()
    assert not site.state.exists()


def test_export_of_a_list_of_the_configuration(office: Site) -> None:
    ran = office.run("export", "ads", "--format", "adblock", "-c", "sinkhole.yaml")

    assert [line for line in ran.out.splitlines() if not line.startswith("!")] == [
        "||x.example.org^",
        "||b.example.com^",
        "|c.example.com^",
    ]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["export", "deepseek", "--format", "x"], "no format 'x'; there are: domains, hosts, "),
        (["export", "deepsek", "--format", "hosts"], "no list 'deepsek'; there are: deepseek"),
        (["export", "remote", "--format", "hosts", "-c", "sinkhole.yaml"], "no copy yet; run `sinkhole build` first"),
        (["lists", "show", "deepsek"], "no list 'deepsek'; there are: deepseek"),
        (["lists", "diff", "current", "gone"], "no bundle 'gone' in "),
    ],
)
def test_what_there_is_not(office: Site, arguments: list[str], why: str) -> None:
    ran = office.run(*arguments, code=1)

    assert ran.out == ""
    assert why in ran.err
    assert ran.err.count("\n") == 1


def test_lists_list(office: Site) -> None:
    found = office.run("lists", "list", "-c", "sinkhole.yaml", "--json").data
    told = office.run("lists", "list", "-c", "sinkhole.yaml").out.splitlines()

    assert found == [
        {"id": "ads", "type": "block", "sources": 1, "services": "", "title": "Own ads"},
        {"id": "deepseek", "type": "block", "sources": 0, "services": "deepseek", "title": "DeepSeek"},
        {"id": "remote", "type": "block", "sources": 1, "services": "", "title": ""},
    ]
    assert [line.split()[0] for line in told] == ["id", "ads", "deepseek", "remote"]


def test_lists_show(office: Site) -> None:
    found = office.run("lists", "show", "ads", "-c", "sinkhole.yaml", "--json").data
    told = office.run("lists", "show", "ads", "-c", "sinkhole.yaml").out

    assert (found["id"], found["entries"]) == ("ads", 3)
    assert [(rule["rule"], rule["file"], rule["text"]) for rule in found["rules"]] == [
        ("block tree x.example.org", "sinkhole.yaml", "block: x.example.org"),
        ("allow exact a.example.com", "sinkhole.yaml", "allow: =a.example.com"),
    ]
    lines = (office.directory / "sinkhole.yaml").read_text().splitlines()
    for rule, name in zip(found["rules"], ("x.example.org", "=a.example.com"), strict=True):
        assert name in lines[rule["line"] - 1]
        assert f"sinkhole.yaml:{rule['line']}" in told
    assert "source   own.txt: 2 rules, 0 skipped" in told


def test_lists_diff(office: Site) -> None:
    first, second = ((office.directory / name).read_text() for name in ("first", "second"))
    expected = "- ads exact b.example.com\n+ ads exact c.example.com\n+ ads tree b.example.com\n"

    forward = office.run("lists", "diff", first, "current", "-c", "sinkhole.yaml").out
    back = office.run("lists", "diff", f"state/sinkhole/bundles/{second}", first, "-c", "sinkhole.yaml").out
    same = office.run("lists", "diff", second, "current", "-c", "sinkhole.yaml").out

    assert sorted(forward.splitlines()) == sorted(expected.splitlines())
    assert sorted(back.translate(str.maketrans("+-", "-+")).splitlines()) == sorted(expected.splitlines())
    assert same == ""


def test_lists_diff_as_json_and_with_special_rules(site: Site) -> None:
    site.configure({"lists": {"ads": {"sources": ["./own.txt"]}}})
    names = []
    for rules in ("||a.example.com^\n", "||a.example.com^\n@@||b.a.example.com^\n/ads[0-9]/\n"):
        site.write("own.txt", rules)
        report = site.run("build", "-c", "sinkhole.yaml", "--json").data
        names.append(report["bundle"])
    (entry,) = [entry for entry in report["lists"] if entry["id"] == "ads"]

    found = site.run("lists", "diff", *names, "--json", "-c", "sinkhole.yaml").data
    assert {(one["change"], one["says"], one["name"]) for one in found} == {
        ("removed", "tree", "a.example.com"),
        ("added", "block tree", "a.example.com"),
        ("added", "allow tree", "b.a.example.com"),
        ("added", "block pattern ads[0-9]", ""),
    }
    assert (entry["added"], entry["removed"]) == (3, 1)

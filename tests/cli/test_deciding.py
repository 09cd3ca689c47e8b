from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import CHECKOUT, Site

ORDER = "kr-mofa-2025-02-05"


def explain(site: Site, *arguments: str) -> list[Any]:
    return site.run("explain", *arguments, "--json").lines


def test_the_order_the_list_the_source_and_the_line(site: Site) -> None:
    """Before the first build too, and that leaves nothing behind."""
    (found,) = explain(site, "Chat.DeepSeek.com.")

    assert list(found) == [
        *("name", "type", "client", "groups", "at", "bundle", "action", "directive", "list", "exception"),
        *("source", "line", "rule", "chain", "answer"),
    ]
    assert (found["name"], found["type"], found["client"]) == ("chat.deepseek.com", "A", "127.0.0.1")
    assert (found["action"], found["directive"], found["list"]) == ("block", ORDER, "deepseek")
    assert found["source"] == "service deepseek, tier core (feeds/services/deepseek.yaml)"
    cited = (CHECKOUT / "feeds/services/deepseek.yaml").read_text().splitlines()[found["line"] - 1]
    assert cited.split() == ["-", "name:", "deepseek.com"]
    assert found["rule"] == "block tree deepseek.com"
    assert found["answer"] == {
        "rcode": "NOERROR",
        "records": ["chat.deepseek.com. 60 A 0.0.0.0"],
        "ede": 15,
        "text": f"{ORDER}: Access is restricted.",
    }
    assert [(link["won"], link["directive"], link["list"]) for link in found["chain"]] == [
        (True, ORDER, "deepseek"),
        (False, None, "deepseek"),
    ]
    assert list(site.directory.iterdir()) == []


def test_the_instant_decides(site: Site) -> None:
    """One second before a directive is in force, and from that instant on, wherever the clock is."""
    settings = {"policy": [{"groups": ["all"], "directives": [ORDER]}]}
    site.configure(settings)
    expected = {
        "2025-02-04T23:59:59+09:00": "forward",
        "2025-02-04T14:59:59Z": "forward",
        "2025-02-05T00:00:00+09:00": "block",
        "2025-02-04T10:00:00-05:00": "block",
    }

    for instant, action in expected.items():
        (found,) = explain(site, "chat.deepseek.com", "--at", instant, "-c", "sinkhole.yaml")
        assert found["action"] == action, instant
        assert (found["directive"], bool(found["chain"])) == ((ORDER, True) if action == "block" else (None, False))
        assert (found["answer"] is None) == (action == "forward")


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site with feeds of three formats, built."""
    site = Site(tmp_path_factory.mktemp("site"))
    site.write(
        "hosts.txt",
        "# hosts\n\n127.0.0.1 localhost\n0.0.0.0 one.example.com two.example.com\n0.0.0.0 both.example.com\n",
    )
    site.write(
        "adblock.txt",
        "[Adblock Plus]\n! a comment that names tree.example.net\n||tree.example.net^\n@@||free.tree.example.net^\n"
        "||important.free.tree.example.net^$important\n||both.example.com^\n",
    )
    site.write(
        "policy.zone",
        "$TTL 60\n@ SOA localhost. root.localhost. 1 3600 600 86400 60\n@ NS localhost.\n"
        "zone.example.org CNAME .\n*.zone.example.org CNAME .\nfree.zone.example.org CNAME rpz-passthru.\n",
    )
    site.write("allow.txt", "both.example.com\n")
    lists = {
        "hosts": {"sources": ["./hosts.txt"]},
        "adblock": {"sources": ["./adblock.txt"]},
        "zone": {"sources": ["./policy.zone"]},
        "trusted": {"type": "allow", "sources": ["./allow.txt"]},
    }
    policy: list[dict[str, Any]] = [
        {"groups": ["all"], "lists": ["hosts", "adblock"]},
        {"groups": ["all"], "lists": ["zone"], "action": "warn"},
        {"groups": ["lab"], "lists": ["trusted"]},
    ]
    groups = {"lab": {"clients": ["10.20.0.0/16", "2001:db8:20::/48"]}}
    site.configure({"lists": lists, "policy": policy, "groups": groups, "blocking": {"mode": "nxdomain"}})
    site.run("build", "-c", "sinkhole.yaml", "--no-exports")
    return site


def test_lines_of_feeds(office: Site) -> None:
    names = [
        *("two.example.com", "x.tree.example.net", "x.free.tree.example.net", "important.free.tree.example.net"),
        *(
            "zone.example.org",
            "x.zone.example.org",
            "free.zone.example.org",
            "unlisted.example.org",
            "both.example.com",
        ),
    ]
    found = {entry["name"]: entry for entry in explain(office, *names, "-c", "sinkhole.yaml")}

    assert list(found) == names
    assert {
        name: (entry["action"], entry["list"], (entry["source"] or "").rpartition("/")[2], entry["line"])
        for name, entry in found.items()
    } == {
        "two.example.com": ("block", "hosts", "hosts.txt", 4),
        "x.tree.example.net": ("block", "adblock", "adblock.txt", 3),
        "x.free.tree.example.net": ("forward", None, "", None),
        "important.free.tree.example.net": ("block", "adblock", "adblock.txt", 5),
        "zone.example.org": ("warn", "zone", "policy.zone", 4),
        "x.zone.example.org": ("warn", "zone", "policy.zone", 5),
        "free.zone.example.org": ("forward", None, "", None),
        "unlisted.example.org": ("forward", None, "", None),
        "both.example.com": ("block", "hosts", "hosts.txt", 5),
    }
    assert found["two.example.com"]["rule"] == "block exact two.example.com"
    assert found["two.example.com"]["chain"][0]["text"] == "0.0.0.0 one.example.com two.example.com"
    assert [link["line"] for link in found["both.example.com"]["chain"]] == [5, 6]
    assert found["two.example.com"]["answer"]["rcode"] == "NXDOMAIN"
    assert found["zone.example.org"]["answer"] is None


def test_an_exception_stands_in_the_chain_beside_what_it_takes_out(office: Site) -> None:
    allowed, blocked, _ = explain(
        office, "x.free.tree.example.net", "important.free.tree.example.net", "x.example.org", "-c", "sinkhole.yaml"
    )

    assert [(link["won"], link["rule"], link["line"]) for link in allowed["chain"]] == [
        (False, "allow tree free.tree.example.net", 4),
        (False, "block tree tree.example.net", 3),
    ]
    assert [(link["won"], link["rule"], link["line"]) for link in blocked["chain"]] == [
        (True, "block tree important.free.tree.example.net", 5),
        (False, "allow tree free.tree.example.net", 4),
        (False, "block tree tree.example.net", 3),
    ]


@pytest.mark.parametrize(
    ("client", "action"), [("10.20.0.7", "allow"), ("2001:db8:20::7", "allow"), ("10.21.0.7", "block")]
)
def test_the_client_decides(office: Site, client: str, action: str) -> None:
    (found,) = explain(office, "both.example.com", "--client", client, "-c", "sinkhole.yaml")

    assert (found["client"], found["action"]) == (client, action)
    assert found["groups"] == (["all", "lab"] if action == "allow" else ["all"])
    assert {link["list"] for link in found["chain"]} >= {"hosts", "adblock"}


def test_names_from_standard_input_and_a_type(office: Site) -> None:
    ran = office.run(
        *("explain", "one.example.com", "--stdin", "--type", "https", "--json", "-c", "sinkhole.yaml"),
        stdin="two.example.com\n\n  뉴스.example  \n".encode(),
    )

    assert [(found["name"], found["type"]) for found in ran.lines] == [
        ("one.example.com", "HTTPS"),
        ("two.example.com", "HTTPS"),
        ("xn--vg1b002a.example", "HTTPS"),
    ]
    assert ran.lines[0]["answer"]["records"] == []


def test_for_people(office: Site) -> None:
    ran = office.run("explain", "important.free.tree.example.net", "x.example.org", "-c", "sinkhole.yaml")

    assert ran.out.splitlines() == [
        "important.free.tree.example.net A for 127.0.0.1 (all): block",
        "  answer   NXDOMAIN no records",
        "  error    EDE 15: list adblock",
        "  decided  block tree important.free.tree.example.net, list adblock, by policy for all",
        "           adblock.txt:5: ||important.free.tree.example.net^$important",
        "  lost     allow tree free.tree.example.net, list adblock, by policy for all",
        "           adblock.txt:4: @@||free.tree.example.net^",
        "  lost     block tree tree.example.net, list adblock, by policy for all",
        "           adblock.txt:3: ||tree.example.net^",
        "x.example.org A for 127.0.0.1 (all): forward",
        "  nothing applies; it is forwarded",
    ]
    assert ran.err == ""


def test_the_bundle_in_use_is_explained_and_a_newer_configuration_is_told(site: Site) -> None:
    site.configure({"block": ["bad.example.com"]})
    site.run("build", "-c", "sinkhole.yaml", "--no-exports")
    site.configure({"block": ["other.example.com"]})

    ran = site.run("explain", "bad.example.com", "--json", "-c", "sinkhole.yaml")

    assert ran.data["action"] == "block"
    assert ran.err == "sinkhole: the configuration or a source changed since the bundle in use was built\n"


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["--at", "2025-02-05T00:00", "a.example"], 2, "'2025-02-05T00:00' has no UTC offset"),
        (["--at", "yesterday", "a.example"], 2, "'yesterday' is no instant"),
        (["--client", "10.20.0.0/16", "a.example"], 2, "'10.20.0.0/16' is no IP address"),
        (["--type", "AAAAA", "a.example"], 2, "'AAAAA' is no record type"),
        ([], 2, "at least one is needed, or --stdin"),
        (["a..example"], 1, "'a..example' is not a name: an empty label"),
    ],
)
def test_wrong_usage(site: Site, arguments: list[str], code: int, why: str) -> None:
    ran = site.run("explain", *arguments, code=code)

    assert ran.out == ""
    assert why in ran.err

from __future__ import annotations

import gzip
import json

import pytest

from tests.conftest import Site

HOSTS = b"# a hosts file\n127.0.0.1 localhost\n0.0.0.0 b.example.com a.example.com\n192.0.2.1 server.example.com\n"


def rules(text: str, comment: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith(comment)]


def test_a_file_is_converted_to_standard_output_and_the_report_goes_to_standard_error(site: Site) -> None:
    site.write("hosts.txt", HOSTS)

    ran = site.run("convert", "hosts.txt", "--from", "hosts", "--to", "adblock")

    assert rules(ran.out, "!") == ["|a.example.com^", "|b.example.com^"]
    assert ran.err.splitlines() == [
        "sinkhole: read 2 rules as hosts; wrote 2 entries",
        "sinkhole: skipped 1: not a sink address; the first is line 4: '192.0.2.1 server.example.com'",
    ]


def test_from_a_pipe_to_a_file_with_the_report_as_json(site: Site) -> None:
    ran = site.run("convert", "-", "--from", "hosts", "--to", "rpz", "-o", "out/list.zone", "--json", stdin=HOSTS)

    assert ran.out == ""
    report = json.loads(ran.err)
    assert (report["format"], report["lines"], report["rules"], report["written"]) == ("hosts", 4, 2, 2)
    assert report["skipped"] == {"not a sink address": 1}
    assert report["samples"][0]["line"] == 4
    assert not any(report["loss"].values())
    written = (site.directory / "out/list.zone").read_text()
    assert [line for line in written.splitlines() if " CNAME " in line] == [
        "a.example.com CNAME .",
        "b.example.com CNAME .",
    ]


def test_a_gzip_file(site: Site) -> None:
    site.write("hosts.txt.gz", gzip.compress(HOSTS, mtime=0))

    assert rules(site.run("convert", "hosts.txt.gz", "--from", "hosts", "--to", "domains").out, "#") == [
        "a.example.com",
        "b.example.com",
    ]


def test_what_a_format_cannot_say_is_left_out_and_told(site: Site) -> None:
    site.write("list.txt", "||tree.example.com^\n@@||free.tree.example.com^\n|exact.example.com^\n")

    ran = site.run("convert", "list.txt", "--to", "hosts")

    assert rules(ran.out, "#") == ["0.0.0.0 tree.example.com", "0.0.0.0 exact.example.com"]
    assert ran.err.splitlines() == [
        "sinkhole: read 3 rules as adblock; wrote 2 entries",
        "sinkhole: 1 rule also covers all names below its own, which this format cannot say",
    ]


@pytest.mark.parametrize(
    ("text", "detected"),
    [
        ("a.example.com\nb.example.com\n", "domains"),
        ("0.0.0.0 a.example.com\n", "hosts"),
        ("! x\n||a.example.com^\n", "adblock"),
        ("(\\.|^)a\\.example\\.com$\n", "pihole"),
        ("$TTL 60\n@ SOA a. b. 1 1 1 1 1\na.example.com CNAME .\n", "rpz"),
    ],
)
def test_the_format_is_detected(site: Site, text: str, detected: str) -> None:
    report = json.loads(site.run("convert", "-", "--to", "domains", "--json", stdin=text.encode()).err)

    assert (report["format"], report["written"] > 0) == (detected, True)


def test_a_format_that_is_named_is_not_guessed(site: Site) -> None:
    """A plain name is its tree for nobody but who says so: as domains it is exact, whatever it looks like."""
    ran = site.run("convert", "-", "--from", "domains", "--to", "adblock", stdin=b"a.example.com\n||b.example.com^\n")

    assert rules(ran.out, "!") == ["|a.example.com^"]
    assert "read 1 rules as domains" in ran.err
    assert "skipped 1: " in ran.err


@pytest.mark.parametrize(
    ("arguments", "data", "why"),
    [
        (["-", "--to", "hots"], HOSTS, "no format 'hots'; there are: domains, hosts, "),
        (
            ["-", "--to", "hosts", "--from", "x"],
            HOSTS,
            "no format 'x'; there are: domains, hosts, ",
        ),
        (["-", "--to", "hosts"], b"<html></html>", "-: an HTML or XML page, not a list"),
        (["-", "--to", "hosts"], b"", "-: empty"),
        (["-", "--to", "hosts"], b"(((\n", "no line is a rule in any known format"),
        (["gone.txt", "--to", "hosts"], b"", "gone.txt"),
        ([".", "--to", "hosts"], b"", "Is a directory"),
    ],
)
def test_what_cannot_be_converted_is_one_line(site: Site, arguments: list[str], data: bytes, why: str) -> None:
    ran = site.run("convert", *arguments, stdin=data, code=1)

    assert ran.out == ""
    assert why in ran.err
    assert ran.err.count("\n") == 1


def test_several_names_in_a_line(site: Site) -> None:
    site.write("list.txt", "a.example.com\nb.example.com\nc.example.com\n")

    out = site.run("convert", "list.txt", "--to", "hosts", "--per-line", "2").out
    assert rules(out, "#") == ["0.0.0.0 a.example.com b.example.com", "0.0.0.0 c.example.com"]
    ran = site.run("convert", "list.txt", "--to", "adblock", "--per-line", "2", code=1)
    assert ran.err == "sinkhole: 2 names in a line: adblock takes 1\n"


def test_the_files_that_a_list_includes_are_read_from_beside_it(site: Site) -> None:
    site.write("top", "full:a.example.com\ninclude:ads @ads\ninclude:none\n")
    site.write("ads", "b.example.com @ads\nc.example.com\n")

    ran = site.run("convert", "top", "--from", "v2fly", "--to", "wildcard")
    assert rules(ran.out, "#") == ["a.example.com", "*.b.example.com"]
    assert "skipped 1: includes another file: none; the first is line 3" in ran.err


def test_there_and_back_in_json_which_is_detected(site: Site) -> None:
    site.write("list.txt", "||a.example.com^\n@@||ok.a.example.com^\n")
    site.run("convert", "list.txt", "--to", "json", "-o", "list.json")

    ran = site.run("convert", "list.json", "--to", "adblock", "--json")
    assert rules(ran.out, "!") == ["||a.example.com^", "@@||ok.a.example.com^"]
    assert json.loads(ran.err)["format"] == "json"


def test_lines_of_other_formats_are_read_unless_the_format_is_named(site: Site) -> None:
    site.write("list.conf", "local=/a.example.com/\nlocal=/b.example.com/\n||c.example.com^\n")

    out = site.run("convert", "list.conf", "--to", "wildcard").out
    assert rules(out, "#") == ["*.a.example.com", "*.b.example.com", "*.c.example.com"]
    out = site.run("convert", "list.conf", "--from", "dnsmasq", "--to", "wildcard").out
    assert rules(out, "#") == ["*.a.example.com", "*.b.example.com"]


def test_gzip_on_standard_input_is_unpacked_like_a_file(site: Site) -> None:
    ran = site.run("convert", "-", "--to", "domains", stdin=gzip.compress(b"0.0.0.0 a.example.com\n", mtime=0))
    assert ran.out.endswith("\na.example.com\n")


def test_a_hosts_file_that_gives_a_server_its_address_blocks_no_server(site: Site) -> None:
    text = b"127.0.0.1 localhost\n192.0.2.1 server.example.com\n0.0.0.0 a.example.com\n"
    ran = site.run("convert", "-", "--to", "domains", stdin=text)
    assert "server" not in ran.out
    assert "not a sink address" in ran.err

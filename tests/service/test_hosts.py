from __future__ import annotations

import random
from pathlib import Path

import pytest

from sinkhole import config
from sinkhole.catalogue.loader import load
from sinkhole.errors import ConfigError
from sinkhole.service import hosts

TEXT = """\
127.0.0.1\tlocalhost localhost.localdomain  # ours
::1 localhost ip6-localhost
192.0.2.1 Router.lan router
2001:db8::1 router.lan router.lan
192.0.2.1 router.lan # again
0.0.0.0 nobody.lan

   198.51.100.7   bücher.lan.
not-an-address name.lan
192.0.2.9 bad..name good.lan
fe80::1%eth0 link.lan
192.0.2.10
"""


def test_a_hosts_file_is_read_as_hosts_5_says(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text(TEXT, encoding="utf-8")
    found = hosts.read([path])
    assert found.records == {
        "localhost.localdomain": ["A 127.0.0.1"],
        "ip6-localhost": ["AAAA ::1"],
        "router.lan": ["A 192.0.2.1", "AAAA 2001:db8::1"],
        "router": ["A 192.0.2.1"],
        "nobody.lan": ["A 0.0.0.0"],
        "xn--bcher-kva.lan": ["A 198.51.100.7"],
        "good.lan": ["A 192.0.2.9"],
    }
    assert [str(problem) for problem in found.skipped] == [
        f"{path}:9:1: 'not-an-address' is not an address",
        f"{path}:10:1: 'bad..name' is not a name: an empty label",
        f"{path}:11:1: 'fe80::1%eth0' is the address of an interface here",
    ]


def test_files_of_the_configuration_add_to_its_records(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("192.0.2.1 a.lan\n192.0.2.2 b.lan\n")
    (tmp_path / "two").write_text("192.0.2.3 b.lan\n")
    path = tmp_path / "sinkhole.yaml"
    path.write_text("records: {a.lan: [192.0.2.9]}\nlocal: {hosts: [one, ./two], zones: [lan], server-id: x}\n")
    assert hosts.local(config.load(path, load()))[0].forward == ()
    local, skipped = hosts.local(config.load(path, load()))
    assert local.records == (("a.lan", ("A 192.0.2.9",)), ("b.lan", ("A 192.0.2.2", "A 192.0.2.3")))
    assert (local.zones, local.server_id, local.version, skipped) == (("lan",), "x", "", [])


def test_a_zone_with_servers_of_its_own_is_forwarded(tmp_path: Path) -> None:
    path = tmp_path / "sinkhole.yaml"
    path.write_text("upstream: {conditional: {10.in-addr.arpa: [192.0.2.53]}}\nlocal: {forward: [home.arpa]}\n")
    assert hosts.local(config.load(path, load()))[0].forward == ("home.arpa", "10.in-addr.arpa")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"#" * (hosts.MAX_BYTES + 1), "larger than 1048576 bytes"),
        (b"".join(b"192.0.2.1 n%d.lan\n" % number for number in range(hosts.MAX_NAMES + 1)), "more than 20000 names"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: bytes | None, message: str) -> None:
    path = tmp_path / "hosts"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(ConfigError) as caught:
        hosts.read([path])
    assert str(caught.value) == f"{path}: local.hosts: {message}"


def test_one_name_with_more_addresses_than_an_answer_holds(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("".join(f"10.0.{number // 250}.{number % 250} many.lan\n" for number in range(300)))
    found = hosts.read([path])
    assert len(found.records["many.lan"]) == 256
    assert len(found.skipped) == 44


def test_garbage_is_skipped_line_by_line(tmp_path: Path) -> None:
    rng = random.Random(5)
    path = tmp_path / "hosts"
    path.write_bytes(b"192.0.2.1 first.lan\n" + rng.randbytes(50_000) + b"\n192.0.2.2 last.lan\n")
    found = hosts.read([path])
    assert found.records["first.lan"] == ["A 192.0.2.1"]
    assert found.records["last.lan"] == ["A 192.0.2.2"]
    assert found.skipped
    assert all(str(problem).isprintable() for problem in found.skipped)

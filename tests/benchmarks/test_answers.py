"""Servers are configured rightly, those that answer wrongly have no figures, and what dnsperf says is read rightly."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks import answers, corpus, dnsperf, servers
from benchmarks.answers import QUICK, Field, Queries
from benchmarks.servers import SERVERS, Place, Running, WrongAnswer
from sinkhole.exports.verify.running import free_port

SAID = """\
> NOERROR a.example A 0.000100
> NOERROR b.example A 0.000200
> NXDOMAIN c.example A 0.000300
> T d.example A
[Timeout] Query timed out: msg id 3

Statistics:

  Queries sent:         4
  Queries completed:    3 (75.00%)
  Queries lost:         1 (25.00%)

  Response codes:       NOERROR 2 (66.67%), NXDOMAIN 1 (33.33%)
  Average packet size:  request 27, response 43
  Run time (s):         1.000000
  Queries per second:   3.000000

  Average Latency (s):  0.000200 (min 0.000100, max 0.000300)
"""
LISTED = list(corpus.names(300))
CORES = ",".join(map(str, os.sched_getaffinity(0)))


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/sbin:/sbin", prepend=":")


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    if not shutil.which("unbound", path="/usr/sbin"):
        pytest.skip("unbound is not installed")
    with answers.upstream(tmp_path_factory.mktemp("upstream"), CORES) as port:
        yield port


@pytest.fixture
def open_to_all(upstream: int) -> Iterator[Running]:
    """The upstream in the place of a server: it blocks nothing."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield Running("dnsmasq", process, upstream, None, "1.0", [0.1], Path())
        process.kill()


def test_what_dnsperf_says_is_read() -> None:
    ran = dnsperf.read(SAID)
    assert ran == dnsperf.Ran(3.0, 3, 1, {"NOERROR": 2, "NXDOMAIN": 1})
    assert ran.other_than("NOERROR") == pytest.approx(1 / 3)
    assert ran.other_than("REFUSED") == 1.0
    assert dnsperf.middle_and_worst(SAID) == pytest.approx((200.0, 298.0))


def test_a_run_without_any_answer_is_all_wrong() -> None:
    silent = SAID.replace("completed:    3", "completed:    0").replace("NOERROR 2 (66.67%), NXDOMAIN 1 (33.33%)", "")
    assert dnsperf.read(silent).codes == {}
    assert dnsperf.read(silent).other_than("NOERROR") == 1.0


def test_other_words_of_dnsperf_are_an_error() -> None:
    with pytest.raises(ValueError, match="Response codes"):
        dnsperf.read("Error: cannot open")


def test_each_run_asks_for_what_it_should(tmp_path: Path) -> None:
    queries = Queries(tmp_path, LISTED, 0.01, 1)
    first, second = (queries.path("new").read_text().splitlines() for _ in range(2))
    assert len(first) == len(set(first)) == len(set(second)) == answers.NEW // 100
    assert not set(first) & set(second)
    listed = {f"{name} A" for name in LISTED}
    orders = [queries.path("random").read_text().splitlines() for _ in range(2)]
    assert orders[0] != orders[1]
    assert set(orders[0]) == set(orders[1]) == listed
    assert queries.path("again").read_text() == queries.path("again").read_text()
    assert not set(queries.path("cached").read_text().splitlines()) & listed


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_blocks_the_list_and_forwards_the_rest(
    name: str, upstream: int, tmp_path: Path, peer: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    peer(SERVERS[name].program)
    peer("openssl")
    monkeypatch.setattr(servers, "IDLE", 0.02)
    with servers.running(name, LISTED, tmp_path, CORES, upstream) as server:
        assert server.blocked in ("NOERROR", "NXDOMAIN")
        assert server.version[0].isdigit()
        assert 0 < server.ready[0] < servers.START
        weight, counted = answers.weigh(server), answers.counted(server)
    assert weight["all-bytes"] > 1e6
    assert ("worker-own-bytes" in weight) == name.startswith("sinkhole")
    assert name.startswith("sinkhole") == (counted.get("queries", 0) >= 4 * servers.SAMPLE)
    assert server.process.returncode is not None


def test_another_version_of_ours_is_started_by_its_own_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "SERVERS", dict(SERVERS))
    servers.add_other("/opt/other/bin/python")
    assert servers.SERVERS[servers.OTHER].program == "/opt/other/bin/python"
    assert servers.installed(servers.OURS)
    assert not servers.installed(servers.OTHER)


def test_a_server_that_blocks_too_little_has_no_figures(open_to_all: Running) -> None:
    with pytest.raises(WrongAnswer, match="is on the list and gets NOERROR"):
        servers.check(open_to_all, LISTED)


def test_a_server_that_blocks_too_much_has_no_figures(
    upstream: int, tmp_path: Path, peer: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    peer("openssl")

    def everything(listed: Path, place: Place) -> Sequence[str]:
        listed.write_text('local-zone: "." always_nxdomain')
        return SERVERS["unbound"].start(listed, place)

    monkeypatch.setattr(servers, "IDLE", 0.02)
    monkeypatch.setitem(SERVERS, "unbound-rpz", SERVERS["unbound"]._replace(start=everything))
    with (
        pytest.raises(WrongAnswer, match="is not on the list and gets"),
        servers.running("unbound-rpz", LISTED, tmp_path, CORES, upstream),
    ):
        pass


def test_a_server_that_answers_wrongly_under_load_is_out(
    open_to_all: Running, tmp_path: Path, peer: Callable[[str], str]
) -> None:
    peer("dnsperf")
    said: list[str] = []
    field = Field(Queries(tmp_path, LISTED, 0.1, 1), QUICK._replace(seconds=0.2), ("-e", "-t", "0.3"), said.append)
    field.running["dnsmasq"] = open_to_all._replace(blocked="NXDOMAIN")
    field.measure("random")
    assert not field.running
    assert not field.loads
    assert "under load random" in field.refused["dnsmasq"]
    field.running["dnsmasq"] = open_to_all._replace(blocked="NOERROR", port=free_port())  # nobody is there
    field.measure("random")
    assert "queries lost" in field.refused["dnsmasq"]
    field.running["dnsmasq"] = open_to_all._replace(blocked="NOERROR")
    field.measure("random")
    figures = field.loads["dnsmasq"]["random"]
    assert figures["rate"] > 0
    assert 0 < figures["half"]["p50-microseconds"] <= figures["half"]["p99-microseconds"]

from __future__ import annotations

import asyncio
import gc
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import dns.edns
import dns.flags
import dns.message
import pytest

from sinkhole.resolver.message import NOERROR, NXDOMAIN, REFUSED, SERVFAIL, Response, read_query
from sinkhole.resolver.upstream import Forwarder, Server
from sinkhole.resolver.upstream.udp import TURNS
from tests.dnsserver import Asked, DnsServer, reply
from tests.resolver.upstream.asking import about, ask, asked, closed, nobody, query, right, run, udp


def test_an_answer() -> None:
    with DnsServer(lambda asked: [right(asked)]) as server:
        (response,) = ask([udp(server)], query())
    assert response.rcode == NOERROR
    assert response.ttl == 300
    assert response.records.endswith(b"\xc0\0\2\1")


@pytest.mark.parametrize(("flags", "do"), [(0, False), (dns.flags.CD, False), (0, True), (dns.flags.CD, True)])
def test_item_10_what_goes_to_the_upstream(flags: int, do: bool) -> None:
    """Of the client's packet only name, type, RD, CD and DO; no ECS, no cookie, no case, no id."""
    with DnsServer(lambda asked: [right(asked)]) as server:
        message = dns.message.make_query("eXample.COM", "A", want_dnssec=do, id=1)
        message.flags |= flags
        message.use_edns(
            0,
            dns.flags.DO if do else 0,
            options=[dns.edns.ECSOption("192.0.2.0", 24), dns.edns.CookieOption(b"12345678", b"")],
        )
        received = read_query(message.to_wire())
        assert received
        ask([udp(server)], received)
        sent = dns.message.from_wire(server.asked[0].packet)
    assert sent.question[0].to_text().lower() == "example.com. in a"
    assert sent.flags == dns.flags.RD | dns.flags.AD | flags
    assert bool(sent.ednsflags & dns.flags.DO) == do
    assert sent.payload == 1232
    assert not sent.options


def test_item_26_ids_and_ports_are_fresh() -> None:
    """What is asked at once shares ports, as many questions each as a port has turns; ids are by chance."""
    with DnsServer(lambda asked: [right(asked)]) as server:
        ask([udp(server)], *(query(f"n{number}.example.com") for number in range(8 * TURNS)), limit=8 * TURNS)
        ids = {asked.packet[:2] for asked in server.asked}
        ports = Counter(asked.port for asked in server.asked)
    assert len(server.asked) == 8 * TURNS
    assert len(ids) > 7 * TURNS
    assert len(ports) == 8
    assert set(ports.values()) == {TURNS}
    assert max(ports) - min(ports) > 100


def _change(at: int, octet: int) -> Callable[[Asked], bytes]:
    def changed(asked: Asked) -> bytes:
        packet = bytearray(right(asked))
        packet[at] ^= octet
        return bytes(packet)

    return changed


WRONG: dict[str, Callable[[Asked], bytes]] = {
    "id": _change(1, 1),
    "QR": _change(2, 0x80),
    "opcode": _change(2, 0x20),
    "name": _change(13, 1),
    "case": _change(13, 0x20),
    "type": _change(26, 1),
    "class": _change(28, 2),
    "nothing": lambda asked: b"",
    "short": lambda asked: asked.packet[:11],
    "garbage": lambda asked: asked.packet[:2] + b"\x81\x80" + b"\xc0\x0c" * 50,
    "cut": lambda asked: right(asked)[:-3],
    "no question": lambda asked: asked.packet[:2] + b"\x81\x82" + bytes(8),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_items_25_and_27_what_does_not_match_is_ignored_and_the_wait_goes_on(wrong: Callable[[Asked], bytes]) -> None:
    """No TCP here, so the right answer can only come after the wrong one."""
    with DnsServer(lambda asked: [wrong(asked), right(asked)], tcp=False) as server:
        forwarder = Forwarder([udp(server)])
        (response,) = run(asked(forwarder, query()))
    assert response.records.endswith(b"\xc0\0\2\1")
    assert forwarder.strays == 1
    assert len(server.asked) == 1


def test_item_25_nobody_else_can_answer() -> None:
    """What comes from another address or port never reaches the query's socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.1", 0))

        def script(asked: Asked) -> Iterator[bytes]:
            stranger.sendto(reply(asked.packet, A="192.0.2.66"), ("127.0.0.1", asked.port))
            yield right(asked)

        with DnsServer(script) as server:
            forwarder = Forwarder([udp(server)])
            (response,) = run(asked(forwarder, query()))
    assert response.records.endswith(b"\xc0\0\2\1")
    assert forwarder.strays == 0


def test_item_26_the_first_mismatch_sends_the_query_over_tcp() -> None:
    """And a flood of guesses costs no second connection."""

    def script(asked: Asked) -> Iterator[bytes]:
        if asked.transport == "tcp":
            time.sleep(0.1)
            yield reply(asked.packet, A="192.0.2.2")
        else:
            yield from (WRONG["id"](asked) for _ in range(300))

    with DnsServer(script) as server:
        forwarder = Forwarder([udp(server)])
        (response,) = run(asked(forwarder, query()))
    assert response.records.endswith(b"\xc0\0\2\2")
    assert [asked.transport for asked in server.asked] == ["udp", "tcp"]
    assert forwarder.strays >= 1


@pytest.mark.parametrize("told", [lambda asked: reply(asked.packet), lambda asked: reply(asked.packet, A="192.0.2.66")])
def test_item_27_a_truncated_answer_is_asked_again_over_tcp(told: Callable[[Asked], bytes]) -> None:
    """Also when records come with it."""

    def script(asked: Asked) -> list[bytes]:
        if asked.transport == "tcp":
            return [right(asked)]
        packet = bytearray(told(asked))
        packet[2] |= 2
        return [bytes(packet)]

    with DnsServer(script) as server:
        (response,) = ask([udp(server)], query())
    assert response.records.endswith(b"\xc0\0\2\1")
    assert [asked.transport for asked in server.asked] == ["udp", "tcp"]


def test_tcp_alone() -> None:
    with DnsServer(lambda asked: [right(asked)]) as server:
        (response,) = ask([Server("tcp", "127.0.0.1", server.port)], query())
    assert response.rcode == NOERROR
    assert [asked.transport for asked in server.asked] == ["tcp"]


@pytest.mark.parametrize("wrong", [WRONG["id"], WRONG["cut"], WRONG["nothing"], WRONG["garbage"]])
def test_a_wrong_answer_over_tcp_is_a_failure(wrong: Callable[[Asked], bytes]) -> None:
    with DnsServer(lambda asked: [wrong(asked)]) as server:
        (response,) = ask([Server("tcp", "127.0.0.1", server.port)], query())
    assert (response.rcode, response.options) == (SERVFAIL, b"\0\x0f\0\2\0\x17")


def test_answers_of_64_kib() -> None:
    text = " ".join(f'"{"x" * 250}"' for _ in range(250))
    with DnsServer(lambda asked: [reply(asked.packet, TXT=text)]) as server:
        (response,) = ask([Server("tcp", "127.0.0.1", server.port)], query(qtype="TXT"))
    assert len(response.records) > 62_000


def test_item_34_failover_from_a_server_that_is_silent() -> None:
    with nobody() as silent, DnsServer(lambda asked: [right(asked)]) as server:
        started = time.monotonic()
        (response,) = ask([silent, udp(server)], query(), timeout=0.2)
    assert response.rcode == NOERROR
    assert 0.15 < time.monotonic() - started < 1


def test_item_34_failover_from_a_server_that_is_not_there_is_immediate() -> None:
    with closed() as refusing, DnsServer(lambda asked: [right(asked)]) as server:
        started = time.monotonic()
        (response,) = ask([refusing, refusing._replace(transport="tcp"), udp(server)], query())
    assert response.rcode == NOERROR
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("rcode", [1, 2, 4, 5])
def test_failover_from_a_server_that_will_not(rcode: int) -> None:
    with (
        DnsServer(lambda asked: [reply(asked.packet, rcode=rcode)]) as unwilling,
        DnsServer(lambda asked: [right(asked)]) as server,
    ):
        assert ask([udp(unwilling), udp(server)], query())[0].rcode == NOERROR
        assert ask([udp(unwilling)], query())[0].rcode == rcode
        assert len(about(unwilling)) == 2


def test_no_such_name_is_an_answer() -> None:
    with DnsServer(lambda asked: [reply(asked.packet, rcode=NXDOMAIN, SOA=". . 1 2 3 4 60")]) as server:
        (response,) = ask([udp(server), udp(server)], query())
    assert (response.rcode, response.ttl) == (NXDOMAIN, 60)
    assert len(server.asked) == 1


@pytest.mark.parametrize(("place", "code"), [(nobody, 22), (closed, 23)])
def test_item_34_when_nobody_answers_the_client_hears_why(
    place: Callable[[], AbstractContextManager[Server]], code: int
) -> None:
    """EDE 22 and 23, and a failure that is remembered (RFC 9520)."""
    with place() as server:
        (response,) = ask([server], query(), timeout=0.1)
    assert (response.rcode, response.options) == (SERVFAIL, b"\0\x0f\0\2\0" + bytes((code,)))
    assert 1 <= response.ttl <= 300


def test_item_34_a_lost_packet_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the packets are lost, and there is only one server."""
    monkeypatch.setattr("sinkhole.resolver.upstream.remote.PATIENCE", 0.1)
    lost: list[Asked] = []

    def script(asked: Asked) -> list[bytes]:
        if not lost:
            lost.append(asked)
            return []
        return [right(asked)]

    with DnsServer(script) as server:
        (response,) = ask([udp(server)], query(), timeout=1.0)
    assert response.rcode == NOERROR
    sent = about(server)
    assert len({asked.packet[:2] for asked in sent}) == len({asked.port for asked in sent}) == len(sent) == 2


def test_item_34_the_total_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timeout times servers, and never more than the budget."""
    monkeypatch.setattr("sinkhole.resolver.upstream.lookup.BUDGET", 0.3)
    with nobody() as silent:
        started = time.monotonic()
        (response,) = ask([silent] * 5, query(), timeout=0.2)
    assert response.rcode == SERVFAIL
    assert 0.25 < time.monotonic() - started < 0.5


def test_item_14_those_who_ask_the_same_at_once_share_one_query() -> None:
    """Whatever the case; but not those who ask otherwise."""
    same = [query("example.com"), query("eXample.com"), query("EXAMPLE.com")]
    others = [query(qtype="AAAA"), query(do=True), query(flags=dns.flags.CD), query("example.net")]

    def script(asked: Asked) -> list[bytes]:
        time.sleep(0.05)
        return [right(asked)]

    with DnsServer(script) as server:
        responses = ask([udp(server)], *same, *others)
    assert len(server.asked) == 1 + len(others)
    assert responses[0] is responses[1] is responses[2]


def test_item_17_those_beyond_the_limit_are_told_at_once() -> None:
    """In total; also those who only wait for another's query count."""
    with nobody() as silent:
        queries = [query(f"n{number % 6}.example.com") for number in range(12)]
        started = time.monotonic()
        times: list[float] = []
        told: list[int] = []

        def hear(response: Response) -> None:
            times.append(time.monotonic() - started)
            told.append(response.ttl)

        async def main() -> None:
            forwarder = Forwarder([silent], 0.3, limit=10)
            for each in queries:
                forwarder.ask(each, hear)
            assert forwarder.waiting == 10
            assert len(times) == 2
            assert told == [0, 0]  # not to be remembered
            await asyncio.sleep(0.35)
            assert forwarder.waiting == 0
            forwarder.close()

        asyncio.run(main())
    assert len(times) == 12


def test_closing_answers_all_who_wait() -> None:
    responses: list[Response] = []

    async def main() -> None:
        with nobody() as silent:
            forwarder = Forwarder([silent, silent._replace(transport="tcp")])
            forwarder.ask(query(), responses.append)
            forwarder.ask(query("example.net"), responses.append)
            forwarder.close()
            assert forwarder.waiting == 0

    asyncio.run(main())
    assert [response.rcode for response in responses] == [SERVFAIL, SERVFAIL]


def test_no_socket_and_no_task_is_left(recwarn: pytest.WarningsRecorder) -> None:
    """A thousand queries, answered or not, and as many descriptors as before."""
    with DnsServer(lambda asked: [right(asked)] if asked.packet[13] & 1 else []) as server:
        before = len(os.listdir("/proc/self/fd"))
        forwarder = Forwarder([udp(server)], 0.2, limit=2000)
        responses = run(asked(forwarder, *(query(f"{number}.example.com") for number in range(300))))
        assert {response.rcode for response in responses} == {NOERROR, SERVFAIL}
        assert len(os.listdir("/proc/self/fd")) <= before
    assert not recwarn.list


def test_refusals_are_relayed_when_there_is_nothing_better() -> None:
    with DnsServer(lambda asked: [reply(asked.packet, rcode=REFUSED)]) as server, closed() as gone:
        (response,) = ask([udp(server), gone], query())
    assert response.rcode == REFUSED


@pytest.mark.parametrize("answered", [True, False])
def test_lookups_leave_nothing_that_only_a_search_for_cycles_would_free(answered: bool) -> None:
    """That search stops every query, and under a flood of names without an answer there would be much to find."""
    queries = [query(f"n{number}.example.com") for number in range(100)]
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        if answered:
            with DnsServer(lambda asked: [right(asked)]) as server:
                ask([udp(server)], *queries)
        else:
            with nobody() as mute:
                ask([mute], *queries, timeout=0.2)
        gc.collect()
        kinds = Counter(type(found).__name__ for found in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert kinds["Lookup"] == kinds["_Attempt"] == 0
    assert kinds["Exchange"] < 10

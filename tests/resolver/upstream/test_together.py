"""Questions that are under way over one port: what is said to one of them is said to no other."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest

from sinkhole.resolver.message import NOERROR, SERVFAIL, Response
from sinkhole.resolver.upstream import Forwarder, Server
from sinkhole.resolver.upstream.udp import TURNS
from tests.dnsserver import Asked, DnsServer, reply
from tests.resolver.upstream.asking import asked, closed, nobody, query, responses, run, udp

NAMES = [f"n{number}.example.com" for number in range(6)]


def its_own(asked: Asked) -> bytes:
    """The answer to a question, which no other has."""
    return reply(asked.packet, A=f"192.0.2.{asked.name[1]}")


class Together:
    """A script: says nothing until ``NAMES`` were all asked for over UDP, and then what ``tell`` makes of these, in the
    order of their names; over TCP it is right."""

    def __init__(self, tell: Callable[[Sequence[Asked]], Iterable[bytes]]) -> None:
        self._tell = tell
        self._come: list[Asked] = []
        self._lock = threading.Lock()

    def __call__(self, asked: Asked) -> Iterator[bytes]:
        if asked.name not in NAMES:  # a probe
            return
        if asked.transport == "tcp":
            yield its_own(asked)
            return
        with self._lock:
            self._come.append(asked)
            last = len(self._come) == len(NAMES)
        if last:
            yield from self._tell(sorted(self._come, key=lambda each: each.name))


def told(found: Sequence[Response]) -> list[bytes]:
    return [response.records[-4:] for response in found]


RIGHT = [bytes((192, 0, 2, number)) for number in range(len(NAMES))]


def at_once(server: DnsServer, timeout: float = 2.0) -> tuple[list[Response], Forwarder]:
    """What is answered to all names, asked at once over one port."""
    forwarder = Forwarder([udp(server)], timeout)
    found = run(asked(forwarder, *map(query, NAMES)))
    over_udp = [each for each in server.asked if each.transport == "udp" and each.name in NAMES][: len(NAMES)]
    assert len({each.port for each in over_udp}) == 1
    assert len({each.packet[:2] for each in over_udp}) == len(NAMES)
    return found, forwarder


def over_tcp(server: DnsServer) -> list[str]:
    return sorted(asked.name for asked in server.asked if asked.transport == "tcp")


def test_answers_in_another_order_reach_their_askers() -> None:
    with DnsServer(Together(lambda come: [its_own(each) for each in reversed(come)])) as server:
        found, forwarder = at_once(server)
    assert told(found) == RIGHT
    assert forwarder.strays == 0
    assert not over_tcp(server)


def test_answers_under_the_ids_of_others_are_nobodys() -> None:
    """They are counted, and all that is under way over that port is asked over TCP."""

    def swapped(come: Sequence[Asked]) -> Iterator[bytes]:
        for one, other in zip(come, (*come[1:], come[0]), strict=True):
            yield other.packet[:2] + its_own(one)[2:]

    with DnsServer(Together(swapped)) as server:
        found, forwarder = at_once(server)
    assert told(found) == RIGHT
    assert forwarder.strays == len(NAMES)
    assert over_tcp(server) == NAMES


def test_a_guess_sends_what_is_still_under_way_over_tcp_and_the_port_is_used_no_more() -> None:
    def guessed(come: Sequence[Asked]) -> Iterator[bytes]:
        yield from map(its_own, come[:2])
        used = {each.packet[:2] for each in come}
        yield next(ident for number in range(len(NAMES) + 1) if (ident := number.to_bytes(2)) not in used) + bytes(20)

    with DnsServer(Together(guessed)) as server:
        forwarder = Forwarder([udp(server)])

        async def main() -> list[Response]:
            found = await responses(forwarder, *map(query, NAMES))
            forwarder.ask(query("later.example.com"), lambda response: None)
            await asyncio.sleep(0.1)
            forwarder.close()
            return found

        found = run(main())
    assert told(found) == RIGHT
    assert forwarder.strays == 1
    assert over_tcp(server) == NAMES[2:]
    (later,) = [asked.port for asked in server.asked if asked.name == "later.example.com"]
    assert later not in {asked.port for asked in server.asked if asked.name in NAMES and asked.transport == "udp"}


def test_a_truncated_answer_sends_its_own_question_over_tcp() -> None:
    def cut(come: Sequence[Asked]) -> Iterator[bytes]:
        for each in come:
            whole = bytearray(its_own(each))
            whole[2] |= 2 * (each.name == NAMES[3])
            yield bytes(whole)

    with DnsServer(Together(cut)) as server:
        found, forwarder = at_once(server)
    assert told(found) == RIGHT
    assert forwarder.strays == 0
    assert over_tcp(server) == [NAMES[3]]


def test_one_without_an_answer_is_asked_again_from_another_port_and_keeps_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sinkhole.resolver.upstream.remote.PATIENCE", 0.2)
    silent = Together(lambda come: [its_own(each) for each in come if each.name != NAMES[1]])
    come: list[Asked] = []

    def script(asked: Asked) -> Iterable[bytes]:
        come.append(asked)
        again = [each.name for each in come].count(NAMES[1]) == 2
        return [its_own(asked)] if again and asked.name == NAMES[1] else silent(asked)

    with DnsServer(script, tcp=False) as server:
        before = len(os.listdir("/proc/self/fd"))
        found, forwarder = at_once(server)
        assert len(os.listdir("/proc/self/fd")) <= before
    assert told(found) == RIGHT
    assert forwarder.strays == 0
    first, second = (asked.port for asked in come if asked.name == NAMES[1])
    assert first != second


@pytest.mark.parametrize("number", [6, 3 * TURNS + 5])
def test_when_nobody_is_there_all_hear_it_at_once(number: int) -> None:
    """An ICMP error is about the port, and so about all that is under way over it; and no address needs one."""
    for server in (Server("udp", "255.255.255.255", 53), None):
        with closed() as refusing:
            forwarder = Forwarder([server or refusing], 5.0)
            found = run(asked(forwarder, *(query(f"n{each}.example.com") for each in range(number))))
        assert {(response.rcode, response.options) for response in found} == {(SERVFAIL, b"\0\x0f\0\2\0\x17")}


def test_closing_while_questions_are_under_way_or_not_yet_sent() -> None:
    """All who wait are answered, and no socket is left."""
    heard: list[Response] = []

    async def main() -> None:
        with nobody() as silent:
            before = len(os.listdir("/proc/self/fd"))
            forwarder = Forwarder([silent])
            for name in NAMES:
                forwarder.ask(query(name), heard.append)
            await asyncio.sleep(0.05)
            assert len(os.listdir("/proc/self/fd")) == before + 1
            for name in NAMES:
                forwarder.ask(query(f"other.{name}"), heard.append)
            forwarder.close()
            await asyncio.sleep(0.05)
            assert len(os.listdir("/proc/self/fd")) == before

    run(main())
    assert [response.rcode for response in heard] == [SERVFAIL] * 2 * len(NAMES)


def test_an_answer_that_ends_the_use_of_the_forwarder() -> None:
    """Whoever hears one of several answers may close it; the others are told, and nothing is left."""
    heard: list[Response] = []

    with DnsServer(Together(lambda come: map(its_own, come))) as server:

        async def main() -> None:
            forwarder = Forwarder([udp(server)])

            def hear(response: Response) -> None:
                heard.append(response)
                if len(heard) == 2:
                    forwarder.close()

            for name in NAMES:
                forwarder.ask(query(name), hear)
            while len(heard) < len(NAMES):
                await asyncio.sleep(0.01)

        run(main())
    assert [response.rcode for response in heard] == [NOERROR] * 2 + [SERVFAIL] * 4


def test_whoever_fails_when_he_is_told_keeps_no_answer_from_the_others() -> None:
    heard: list[Response] = []
    complaints: list[dict[str, Any]] = []

    def fail(response: Response) -> None:
        raise ZeroDivisionError

    with DnsServer(Together(lambda come: map(its_own, come))) as server:

        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
            forwarder = Forwarder([udp(server)])
            for name in NAMES:
                forwarder.ask(query(name), fail if name == NAMES[0] else heard.append)
            while len(heard) < len(NAMES) - 1:
                await asyncio.sleep(0.01)
            assert forwarder.waiting == 0
            forwarder.close()

        asyncio.run(asyncio.wait_for(main(), 5))
    assert told(heard) == RIGHT[1:]
    assert [type(complaint["exception"]) for complaint in complaints] == [ZeroDivisionError]

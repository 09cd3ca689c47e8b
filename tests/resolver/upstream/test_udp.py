from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import groupby

import pytest

from sinkhole.resolver.message import NOERROR, SERVFAIL, read_response
from sinkhole.resolver.upstream import Forwarder, Server
from sinkhole.resolver.upstream.question import packet, spelled
from sinkhole.resolver.upstream.udp import TURNS
from tests.dnsserver import Asked, DnsServer, reply
from tests.resolver.upstream.asking import ADDRESS, about, ask, asked, query, responses, right, run, udp


def question(asked: Asked) -> bytes:
    """The name asked for, as it was spelled."""
    return asked.packet[12 : asked.packet.index(0, 12)]


def lowered(asked: Asked) -> bytes:
    """The right answer, with the question in lower case, as some servers give it."""
    answer = right(asked)
    end = answer.index(0, 12)
    return answer[:12] + answer[12:end].lower() + answer[end:]


@pytest.mark.parametrize("name", [b"\0", b"\1a\0", b"\3www\7example\3com\0", b"\1@\1[\1`\1{\2\xe4z\0", b"\5a-1_z\0"])
def test_only_letters_are_spelled_by_chance(name: bytes) -> None:
    """Whatever chance says: the name stays the same but for the case of its letters, and no octet else is touched."""
    seed = random.Random(1)
    seen = set()
    for _ in range(200):
        found = spelled(name, seed.randbytes(len(name)))
        assert found.lower() == name.lower()
        assert all(a == b or (97 <= b <= 122 and a == b - 32) for a, b in zip(found, name, strict=True))
        seen.add(found)
    letters = sum(97 <= octet <= 122 for octet in name)
    assert len(seen) == min(2**letters, len(seen))
    assert len(seen) > 1 or not letters


def test_each_query_is_spelled_anew() -> None:
    """40 queries for one name of 20 letters: the spelling, the id and the port all differ."""
    with DnsServer(lambda asked: [right(asked)]) as server:
        for _ in range(2):
            ask([udp(server)], *(query("abcdefghij.klmnopqrst.example", do=do) for do in (False, True)))
        spellings = {question(asked) for asked in server.asked}
    assert len(server.asked) == len(spellings) == 4
    assert len({spelling.lower() for spelling in spellings}) == 1


def test_a_server_that_does_not_keep_case_is_found_out_over_tcp_and_costs_once() -> None:
    """Its answer is never taken over UDP, where a forger may have sent it, and it is sent lower case from then on."""
    with DnsServer(lambda asked: [lowered(asked)]) as server:
        forwarder = Forwarder([udp(server)])

        async def main() -> None:
            for _ in range(3):
                (response,) = await responses(forwarder, query())
                assert response.records.endswith(ADDRESS)
            forwarder.close()

        run(main())
    assert [asked.transport for asked in server.asked] == ["udp", "tcp", "udp", "udp"]
    assert question(server.asked[0]) != question(server.asked[0]).lower()
    assert question(server.asked[2]) == question(server.asked[3]) == b"\7example\3com"
    assert forwarder.strays == 1


def test_a_forged_answer_in_lower_case_does_not_end_the_use_of_case() -> None:
    """Over UDP the id and the port may be right by luck: only what comes over the connection tells."""
    with DnsServer(lambda asked: [lowered(asked) if asked.transport == "udp" else right(asked)]) as server:
        forwarder = Forwarder([udp(server)])

        async def main() -> None:
            for _ in range(2):
                await responses(forwarder, query("abcdefghijklmnop.example"))
            forwarder.close()

        run(main())
    assert [asked.transport for asked in server.asked] == ["udp", "tcp", "udp", "tcp"]
    assert question(server.asked[2]) != question(server.asked[2]).lower()


def test_a_server_that_keeps_no_case_and_has_no_tcp_gives_nothing() -> None:
    with DnsServer(lambda asked: [lowered(asked)], tcp=False) as server:
        (response,) = ask([udp(server)], query("abcdefghijklmnop.example"), timeout=0.3)
    assert response.rcode == SERVFAIL


@pytest.mark.parametrize("tcp", [True, False])
def test_65535_answers_with_a_wrong_id_before_the_right_one(tcp: bool) -> None:
    """The right one is returned: over TCP, where no guess helps, or, without, still over UDP."""

    flooded: list[Asked] = []

    def script(asked: Asked) -> Iterator[bytes]:
        answer = right(asked)
        if asked.transport == "tcp":
            yield answer
        elif not flooded:  # whoever asks again gets nothing more: the right answer is behind the wrong ones
            flooded.append(asked)
            ident = int.from_bytes(asked.packet[:2])
            wrong = reply(asked.packet, A="192.0.2.66")
            for number in range(1, 65536):
                if not number % 100:
                    time.sleep(0.0005)  # the flood, the resolver and this script share one interpreter
                yield (ident + number & 0xFFFF).to_bytes(2) + wrong[2:]
            yield answer

    with DnsServer(script, tcp=tcp) as server:
        forwarder = Forwarder([udp(server)], 7.0)
        (response,) = run(asked(forwarder, query()))
        sent = [asked.transport for asked in about(server)]
    assert response.records.endswith(ADDRESS)
    assert forwarder.strays > (0 if tcp else 1000)
    assert set(sent) == ({"udp", "tcp"} if tcp else {"udp"})
    assert forwarder.remotes[0].up


def test_a_flood_at_an_open_port_costs_microseconds_a_packet() -> None:
    """What does not match is dropped after a look at it, which takes less than 50 µs."""
    asked = query()
    wrong = reply(packet(1, asked, asked.question), A="192.0.2.66")
    started = time.process_time()
    for _ in range(20_000):
        with pytest.raises(ValueError, match="not the answer"):
            read_response(wrong, 2, asked.question)
    assert (time.process_time() - started) / 20_000 < 50e-6


def test_a_wrong_packet_from_the_right_address_marks_nobody() -> None:
    """CVE-2023-26437: noise, then silence, then the answer. The server stays in use, and its noise is counted."""

    def script(asked: Asked) -> list[bytes]:
        return [bytes(12), b"", bytes(range(200)), right(asked)[:-3], right(asked)]

    with DnsServer(script, tcp=False) as server:
        forwarder = Forwarder([udp(server)])

        async def main() -> None:
            for _ in range(20):
                (response,) = await responses(forwarder, query())
                assert response.rcode == NOERROR
            assert forwarder.remotes[0].up
            forwarder.close()

        run(main())
    assert forwarder.strays == 80
    assert len(server.asked) == 20


def test_no_descriptor_left_is_a_failure_of_ours_and_of_no_server() -> None:
    """Every socket is in use: the query gets SERVFAIL, the loop lives, and the next one is answered."""
    code = """
import asyncio, resource, socket, sys
from sinkhole.resolver.message import Query, SERVFAIL, NOERROR, RD
from sinkhole.resolver.upstream import Forwarder, Server
name = b"\\7example\\3com\\0"
query = Query(0, RD, 0, name + b"\\0\\1\\0\\1", name, 1)
async def main():
    forwarder = Forwarder([Server("udp", "127.0.0.1", int(sys.argv[1]))])
    answer = asyncio.get_running_loop().create_future()
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        while True:
            taken.append(socket.socket())
    except OSError:
        pass
    forwarder.ask(query, answer.set_result)
    assert (await answer).rcode == SERVFAIL
    for sock in taken:
        sock.close()
    answer = asyncio.get_running_loop().create_future()
    forwarder.ask(query, answer.set_result)
    assert (await answer).rcode == NOERROR
    forwarder.close()
asyncio.run(main())
"""
    with DnsServer(lambda asked: [right(asked)]) as server:
        subprocess.run([sys.executable, "-c", code, str(server.port)], check=True, timeout=20)


def test_a_port_has_some_turns_and_then_another_is_used() -> None:
    """One question after the other: no port is used more often than it may, and the next is none of the last ones."""
    with DnsServer(lambda asked: [right(asked)]) as server:
        forwarder = Forwarder([udp(server)])

        async def main() -> None:
            for number in range(3 * TURNS):
                await responses(forwarder, query(f"{number}.example"))
            forwarder.close()

        run(main())
    turns = [(port, len(list(used))) for port, used in groupby(asked.port for asked in server.asked)]
    assert [count for _, count in turns] == [TURNS] * 3
    assert len({port for port, _ in turns}) == 3
    assert len({asked.packet[:2] for asked in server.asked}) > 3 * TURNS - 3


def test_a_port_is_never_used_again_when_something_else_came_to_it() -> None:
    """A wrong packet before the right one, or after it."""
    after = threading.Event()

    def script(asked: Asked) -> Iterator[bytes]:
        if asked.name == "before.example":
            yield bytes(12)
        yield right(asked)
        if asked.name == "after.example":
            yield bytes(12)
            after.set()

    with DnsServer(script, tcp=False) as server:
        forwarder = Forwarder([udp(server)])

        async def main() -> None:
            for name in ("before.example", "next.example", "after.example"):
                await responses(forwarder, query(name))
            await asyncio.to_thread(after.wait, 5)
            await asyncio.sleep(0.05)
            for number in range(20):
                await responses(forwarder, query(f"{number}.last.example"))
            forwarder.close()

        run(main())
    ports = {asked.name: asked.port for asked in server.asked}
    assert len({ports[f"{number}.last.example"] for number in range(20)}) == 2
    later = [ports[f"{number}.last.example"] for number in range(20)]
    assert ports["before.example"] not in [ports["next.example"], ports["after.example"], *later]
    assert ports["after.example"] not in later
    assert forwarder.strays == 2


def test_ports_wait_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty of them, as each question was asked while the others were under way."""
    monkeypatch.setattr("sinkhole.resolver.upstream.udp.MOMENT", 0.2)
    released = threading.Event()

    def script(asked: Asked) -> list[bytes]:
        released.wait(5)
        return [right(asked)]

    with DnsServer(script) as server:
        forwarder = Forwarder([udp(server)])

        async def main() -> list[int]:
            counts = [len(os.listdir("/proc/self/fd"))]
            for number in range(3):
                released.clear()
                told = []
                for other in range(30):
                    told.append(asyncio.create_task(responses(forwarder, query(f"{number}.{other}.example"))))
                    await asyncio.sleep(0.001)
                released.set()
                await asyncio.gather(*told)
                counts.append(len(os.listdir("/proc/self/fd")))
                await asyncio.sleep(0.6)
                counts.append(len(os.listdir("/proc/self/fd")))
            forwarder.close()
            return counts

        before, *counts = run(main())
    assert [count - before >= 30 for count in counts[::2]] == [True] * 3
    assert [count - before < 10 for count in counts[1::2]] == [True] * 3
    assert len({asked.port for asked in server.asked}) == 90


def test_over_ipv6() -> None:
    try:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6")
    with sock:
        sock.setblocking(False)

        async def main() -> None:
            loop = asyncio.get_running_loop()
            forwarder = Forwarder([Server("udp", "::1", sock.getsockname()[1])])
            answer = loop.create_task(responses(forwarder, query()))
            received, peer = await loop.sock_recvfrom(sock, 4096)
            await loop.sock_sendto(sock, reply(received, A="192.0.2.1"), peer)
            assert (await answer)[0].records.endswith(ADDRESS)
            forwarder.close()

        run(main())

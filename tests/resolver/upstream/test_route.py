from __future__ import annotations

import pytest

from sinkhole.names import to_wire
from sinkhole.resolver.upstream import Server, Upstreams
from sinkhole.resolver.upstream.crowd import Limits
from tests.dnsserver import DnsServer, reply
from tests.resolver.upstream.asking import nobody, query, responses, run, udp

ELSEWHERE, CORP, LAB = (Server("udp", f"192.0.2.{last}", 53) for last in (1, 2, 3))


@pytest.mark.parametrize(
    ("name", "server"),
    [
        ("corp.example", CORP),
        ("www.corp.example", CORP),
        ("a.b.c.corp.example", CORP),
        ("lab.corp.example", LAB),
        ("x.lab.corp.example", LAB),
        ("xlab.corp.example", CORP),
        ("xcorp.example", ELSEWHERE),
        ("example", ELSEWHERE),
        ("corp.example.net", ELSEWHERE),
        ("", ELSEWHERE),
        ("printer", CORP),
    ],
)
def test_the_longest_domain_that_fits_a_name_decides(name: str, server: Server) -> None:
    async def main() -> None:
        upstreams = Upstreams(
            [ELSEWHERE], conditional={"corp.example": [CORP], "lab.corp.example": [LAB], "printer": [CORP]}
        )
        assert [remote.server for remote in upstreams.route(to_wire(name)).remotes] == [server]
        assert upstreams.route(to_wire(name)) is upstreams.route(to_wire(name))
        upstreams.close()

    run(main())


def test_a_dot_in_a_label_is_no_border() -> None:
    """The one label ``lab.corp`` is not two."""

    async def main() -> None:
        upstreams = Upstreams([ELSEWHERE], conditional={"corp.example": [CORP], "lab.corp.example": [LAB]})
        assert upstreams.route(b"\x08lab.corp\x07example\0") is upstreams.default
        upstreams.close()

    run(main())


def test_names_of_a_route_are_asked_there_and_nowhere_else_even_when_it_fails() -> None:
    with DnsServer(lambda asked: [reply(asked.packet, A="192.0.2.1")]) as public, nobody() as silent:

        async def main() -> list[int]:
            upstreams = Upstreams([udp(public)], conditional={"corp.example": [silent]}, timeout=0.2)
            found = []
            for name in ("www.example.com", "secret.corp.example"):
                found += await responses(upstreams.route(to_wire(name)), query(name))
            upstreams.close()
            return [response.rcode for response in found]

        assert run(main()) == [0, 2]
        assert {asked.name for asked in public.asked} == {"www.example.com"}


def test_all_routes_share_the_room_for_those_who_wait() -> None:
    async def main() -> None:
        with nobody() as silent:
            upstreams = Upstreams([silent], conditional={"corp.example": [silent]}, limits=Limits(total=3))
            told: list[object] = []
            for name in ("a.example.com", "a.corp.example", "b.example.com", "b.corp.example"):
                upstreams.route(to_wire(name)).ask(query(name), told.append)
            assert (upstreams.waiting, len(told)) == (3, 1)
            upstreams.close()
            assert (upstreams.waiting, len(told)) == (0, 4)

    run(main())

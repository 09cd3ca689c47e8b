from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable

import dns.message
import pytest

from sinkhole.resolver.message import NOERROR, SERVFAIL, Response
from sinkhole.resolver.upstream import Forwarder, Server
from sinkhole.resolver.upstream.transports import Transports
from tests.authority import Authority
from tests.dnsserver import Asked, reply
from tests.dohserver import DohServer, Said
from tests.relay import Relay
from tests.resolver.upstream.asking import ADDRESS, asked, query, responses, right, run


def said(asked: Asked) -> Said:
    return Said(right(asked))


def doh(server: DohServer, authority: Authority, host: str = "127.0.0.1", timeout: float = 2.0) -> Forwarder:
    transports = Transports(None, str(authority.file))
    return Forwarder([Server("https", host, server.port, "/dns-query")], timeout, transports=transports)


def test_what_is_sent(authority: Authority) -> None:
    """RFC 8484: POST over HTTP/2, with id 0, padded, and nothing that tells who asks."""
    with DohServer(said, authority.issue("127.0.0.1")) as server:
        (response,) = run(asked(doh(server, authority), query()))
    assert response.records.endswith(ADDRESS)
    (got,), (sent,) = server.got, server.asked
    assert (got.method, got.path, got.version) == ("POST", "/dns-query", "2")
    assert got.headers[b"content-type"] == got.headers[b"accept"] == b"application/dns-message"
    assert got.headers.get(b"user-agent", b"") == b""
    assert b"cookie" not in got.headers
    assert sent.packet[:2] == b"\0\0"
    assert len(sent.packet) % 128 == 0
    assert dns.message.from_wire(sent.packet).question[0].to_text() == "example.com. IN A"


def test_one_connection_for_all(authority: Authority) -> None:
    """Fifty at once, and then one more: all on one connection, and a slow one holds up no other."""

    def script(asked: Asked) -> Said:
        return Said(right(asked), wait=0.8 if asked.name == "slow.example.com" else 0.0)

    with DohServer(script, authority.issue("127.0.0.1")) as server:
        forwarder = doh(server, authority)

        async def main() -> None:
            loop = asyncio.get_running_loop()
            await responses(forwarder, query("first.example.com"))
            slow = loop.create_task(responses(forwarder, query("slow.example.com")))
            await responses(forwarder, *(query(f"n{number}.example.com") for number in range(50)))
            assert not slow.done()
            await slow
            forwarder.close()

        run(main())
    assert len({asked.port for asked in server.asked}) == 1
    assert len(server.asked) >= 52


WRONG: dict[str, Callable[[Asked], Said]] = {
    "status": lambda asked: Said(right(asked), status=500),
    "redirect": lambda asked: Said(b"", status=302, headers=((b"location", b"https://127.0.0.1/elsewhere"),)),
    "page": lambda asked: Said(b"<html>log in</html>", type="text/html"),
    "type": lambda asked: Said(right(asked), type="application/dns-json"),
    "nothing": lambda asked: Said(b""),
    "id": lambda asked: Said(b"\x12\x34" + right(asked)[2:]),
    "name": lambda asked: Said(right(asked).replace(b"\7example", b"\7exbmple")),
    "cut": lambda asked: Said(right(asked)[:-3]),
    "query": lambda asked: Said(asked.packet),
    "truncated": lambda asked: Said(right(asked)[:2] + b"\x83" + right(asked)[3:]),
    "long": lambda asked: Said(right(asked) + bytes(65_536)),
    "endless": lambda asked: Said(bytes(16_384), pieces=4_000),
    "compressed": lambda asked: Said(b"\x1f\x8b" + right(asked), headers=((b"content-encoding", b"gzip"),)),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_what_is_no_answer_is_a_failure(wrong: Callable[[Asked], Said], authority: Authority) -> None:
    """At once, with EDE 23, no redirect followed and no body read beyond 64 KiB."""
    with DohServer(wrong, authority.issue("127.0.0.1")) as server:
        started = time.monotonic()
        (response,) = run(asked(doh(server, authority), query()))
        assert time.monotonic() - started < 1.5
    assert (response.rcode, response.options) == (SERVFAIL, b"\0\x0f\0\2\0\x17")
    assert {got.path for got in server.got} == {"/dns-query"}


def test_answers_of_64_kib(authority: Authority) -> None:
    text = " ".join(f'"{"x" * 250}"' for _ in range(250))
    with DohServer(lambda asked: Said(reply(asked.packet, TXT=text)), authority.issue("127.0.0.1")) as server:
        (response,) = run(asked(doh(server, authority), query(qtype="TXT")))
    assert len(response.records) > 62_000


@pytest.mark.parametrize("fault", ["name", "expired", "authority"])
def test_a_certificate_that_is_not_right_is_a_failure(fault: str, authority: Authority) -> None:
    issued = authority.issue("127.0.0.2" if fault == "name" else "127.0.0.1", days=-1 if fault == "expired" else 30)
    with DohServer(said, issued) as server:
        trusting = Transports(None, "" if fault == "authority" else str(authority.file))
        forwarder = Forwarder([Server("https", "127.0.0.1", server.port, "/dns-query")], transports=trusting)
        (response,) = run(asked(forwarder, query()))
    assert response.rcode == SERVFAIL
    assert not server.asked


def test_the_environment_has_no_say(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment is not asked."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with DohServer(said, authority.issue("127.0.0.1")) as server:
        (response,) = run(asked(doh(server, authority), query()))
    assert response.rcode == NOERROR


def test_a_connection_that_the_server_ends_is_replaced(authority: Authority) -> None:
    with DohServer(said, authority.issue("127.0.0.1")) as server:
        forwarder = doh(server, authority)

        async def main() -> list[Response]:
            found = await responses(forwarder, query())
            await asyncio.sleep(0.8)
            found += await responses(forwarder, query())
            forwarder.close()
            return found

        assert [response.rcode for response in run(main())] == [NOERROR, NOERROR]
    assert len({asked.port for asked in server.asked}) == 2


def test_a_connection_that_says_nothing_any_more_is_replaced(authority: Authority) -> None:
    """Such as behind a router that forgot it. What was asked on it is asked again on another, in time."""
    with DohServer(said, authority.issue("127.0.0.1")) as server, Relay(server.port) as relay:
        transports = Transports(None, str(authority.file))
        forwarder = Forwarder([Server("https", "127.0.0.1", relay.port, "/dns-query")], 3.0, transports=transports)

        async def main() -> list[Response]:
            found = await responses(forwarder, query())
            relay.freeze()
            found += await responses(forwarder, query("lost.example.com"))
            found += await responses(forwarder, query("next.example.com"))
            forwarder.close()
            return found

        assert [response.rcode for response in run(main())] == [NOERROR, NOERROR, NOERROR]


def test_without_such_a_server_a_worker_has_no_library_for_it() -> None:
    """Not even imported: workers stay small."""
    code = "import sys, sinkhole.service.worker; assert not {'httpx', 'h2', 'anyio', 'hypercorn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)

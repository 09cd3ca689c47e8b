"""The web as a process of the running resolver: of its own, replaced when it dies, and no burden to DNS."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import httpx
import pytest

from sinkhole.web.doh import MESSAGE
from tests.certificates import certificate
from tests.cli.test_listening import activated, free
from tests.conftest import FORWARDED, PATIENCE, Running, Site, alive

TYPE = {"Content-Type": MESSAGE}
LISTEN = {"dns": ["127.0.0.1:0"], "web": "127.0.0.1:0"}
BLOCKED, OTHER = "chat.deepseek.com", "unlisted.example.org"


def resolve(
    running: Running, name: str, token: str = "", *, trusting: Path | None = None, headers: Mapping[str, str] = {}
) -> dns.message.Message:
    """The answer over HTTP, or over HTTPS with a certificate to trust."""
    scheme, verify = ("https", ssl.create_default_context(cafile=str(trusting))) if trusting else ("http", True)
    host, port = running.endpoints[-1]
    url = f"{scheme}://{host}:{port}/dns-query{'/' * bool(token)}{token}"
    query = dns.message.make_query(name, "A", use_edns=0).to_wire()
    with httpx.Client(http2=bool(trusting), verify=verify, trust_env=False) as client:
        said = client.post(url, content=query, headers={**TYPE, **headers}, timeout=PATIENCE)
    assert said.status_code == 200, said.text
    return dns.message.from_wire(said.content)


def addresses(answer: dns.message.Message) -> list[str]:
    return [str(record) for rrset in answer.answer for record in rrset]


def test_tokens_of_groups_in_paths(site: Site) -> None:
    """The same name is blocked by one token and not by another; who has none, or one that nobody has, is in no group.
    A reload changes it. `explain`, `expect` and `check` say the same."""

    def settings(token: str, **more: Any) -> dict[str, Any]:
        return {
            "workers": 1,
            "listen": LISTEN,
            "groups": {"laptops": {"tokens": [token]}, "guests": {"tokens": ["guest"]}},
            "lists": {"own": {"block": ["example.org"]}},
            "policy": [{"groups": ["laptops"], "lists": ["own"]}],
            **more,
        }

    with site.running(settings("laptop-7f3a")) as running:
        port = running.endpoints[-1][1]
        assert f"; over HTTP on 127.0.0.1:{port}; try: dig @127.0.0.1 -p {running.port} " in running.greeting
        answers = {
            token: addresses(resolve(running, OTHER, token)) for token in ("laptop-7f3a", "guest", "made-up", "")
        }
        assert answers == {"laptop-7f3a": ["0.0.0.0"], "guest": FORWARDED, "made-up": FORWARDED, "": FORWARDED}
        for token, action in (("laptop-7f3a", "block"), ("LAPTOP-7F3A", "block"), ("guest", "forward")):
            (found,) = site.run("explain", "-c", "sinkhole.yaml", "--token", token, "--json", OTHER).lines
            assert found["action"] == action
            assert (found["answer"] is None) == (action == "forward")
        running.configure(settings("laptop-8e2b"))
        running.eventually(lambda: addresses(resolve(running, OTHER, "laptop-8e2b")) == ["0.0.0.0"])
        assert addresses(resolve(running, OTHER, "laptop-7f3a")) == FORWARDED
    expects = [{"token": "t", "name": OTHER, "action": "block"}, {"name": OTHER, "action": "forward"}]
    site.run("check", "-c", site.configure(settings("t", expect=expects)))
    expects[1]["token"] = "guest"
    expects[1]["action"] = "block"
    ran = site.run("check", "-c", site.configure(settings("t", expect=expects)), code=1)
    assert f"{OTHER} A for 127.0.0.1 by the token guest at " in ran.err


def test_https_has_the_certificate_of_tls_and_a_reload_takes_a_new_one(site: Site) -> None:
    first = certificate(site.directory)
    old = site.write("old.pem", first.cert.read_bytes())
    settings = {"workers": 1, "listen": LISTEN, "tls": {"cert": "cert.pem", "key": "key.pem"}}
    with site.running(settings) as running:
        assert addresses(resolve(running, BLOCKED, trusting=old)) == ["0.0.0.0"]
        assert addresses(resolve(running, OTHER, trusting=old)) == FORWARDED
        site.write("key.pem", "")
        assert "no certificate with its key" in site.run("reload", "-c", "sinkhole.yaml", code=1).err
        assert addresses(resolve(running, BLOCKED, trusting=old)) == ["0.0.0.0"]
        second = certificate(site.directory)
        site.run("reload", "-c", "sinkhole.yaml")
        assert addresses(resolve(running, BLOCKED, trusting=second.cert)) == ["0.0.0.0"]
        with pytest.raises(httpx.ConnectError):
            resolve(running, BLOCKED, trusting=old)
        with pytest.raises(httpx.TransportError):
            resolve(running, BLOCKED)


def test_plain_http_for_a_proxy_although_there_is_a_certificate(site: Site) -> None:
    certificate(site.directory)
    settings = {
        "workers": 1,
        "listen": {**LISTEN, "web": ["127.0.0.1:0", "127.0.0.2:0"], "web-plain-http": True},
        "tls": {"cert": "cert.pem", "key": "key.pem"},
        "access": {"allow": ["192.0.2.0/24"], "proxies": ["127.0.0.1"]},
    }
    with site.running(settings) as running:
        assert len(running.endpoints) == 3
        assert addresses(resolve(running, OTHER, headers={"X-Forwarded-For": "192.0.2.7"})) == FORWARDED
        refused = resolve(running, OTHER, headers={"X-Forwarded-For": "192.0.2.7, 198.51.100.7"})
        assert refused.rcode() == dns.rcode.REFUSED

        def recorded() -> list[tuple[str, str]]:
            if not any(path.stat().st_size for path in (site.state / "queries").glob("*")):
                return []
            lines = site.run("queries", "-c", "sinkhole.yaml", "--json").lines
            return [(line["client"], line["outcome"]) for line in lines]

        running.eventually(lambda: recorded() == [("192.0.2.7", "forwarded")])
        assert site.run("status", "-c", "sinkhole.yaml", "--json").data["counters"]["denied"] == 1


NGINX = """
daemon off; pid {directory}/nginx.pid; error_log {directory}/error.log; worker_processes 1;
events {{}}
http {{
    access_log off; client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl http2;
        ssl_certificate {directory}/cert.pem; ssl_certificate_key {directory}/key.pem;
        {location}
    }}
}}
"""


def test_nginx_as_the_page_has_it(site: Site, peer: Callable[[str], str]) -> None:
    """Its client is in his group, and cannot say that he is another."""
    page = (Path(__file__).parents[2] / "docs/resolver.md").read_text()
    location = re.search(r"^location /dns-query \{$.*?^\}$", page, re.M | re.S)
    assert location
    made = certificate(site.directory)
    settings = {
        "workers": 1,
        "listen": LISTEN,
        "access": {"proxies": ["127.0.0.1"]},
        "groups": {"guests": {"clients": ["127.0.0.2"]}, "laptops": {"tokens": ["laptop-7f3a"]}},
        "lists": {"own": {"block": ["example.org"]}, "other": {"block": ["example.net"]}},
        "policy": [{"groups": ["guests"], "lists": ["own"]}, {"groups": ["laptops"], "lists": ["other"]}],
    }
    query = dns.message.make_query(OTHER, "A").to_wire()
    with site.running(settings) as running:
        (port,) = free(1)
        inside = location[0].replace("127.0.0.1:8053", f"127.0.0.1:{running.endpoints[-1][1]}")
        config = site.write("nginx.conf", NGINX.format(directory=site.directory, port=port, location=inside))
        command = [peer("nginx"), "-c", str(config), "-e", str(site.directory / "error.log")]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as proxy:
            try:
                running.eventually(lambda: _listens(port))

                def ask(source: str, path: str = "", **headers: str) -> list[str]:
                    transport = httpx.HTTPTransport(
                        http2=True, verify=ssl.create_default_context(cafile=str(made.cert)), local_address=source
                    )
                    with httpx.Client(transport=transport, trust_env=False) as client:
                        named = {name.replace("_", "-"): value for name, value in headers.items()}
                        url = f"https://127.0.0.1:{port}/dns-query{path}"
                        said = client.post(url, content=query, headers={**TYPE, **named}, timeout=PATIENCE)
                    assert said.status_code == (400 if "forwarded" in headers else 200)
                    return addresses(dns.message.from_wire(said.content)) if said.status_code == 200 else []

                assert ask("127.0.0.2") == ["0.0.0.0"]
                assert ask("127.0.0.3") == FORWARDED
                assert ask("127.0.0.2", x_forwarded_for="127.0.0.3") == ["0.0.0.0"]
                assert ask("127.0.0.3", "/laptop-7f3a", x_forwarded_for="127.0.0.2") == FORWARDED
                assert ask("127.0.0.2", forwarded="for=127.0.0.3") == []
                query = dns.message.make_query("x.example.net", "A").to_wire()
                assert ask("127.0.0.3", "/laptop-7f3a") == ["0.0.0.0"]
                assert ask("127.0.0.3") == FORWARDED
            finally:
                proxy.terminate()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_a_killed_web_process_is_back_soon_and_dns_goes_on(site: Site) -> None:
    with site.running({"workers": 1, "listen": LISTEN}) as running:
        web, (worker,) = running.web(), running.workers()
        assert web
        assert web != worker
        assert addresses(resolve(running, BLOCKED)) == ["0.0.0.0"]
        status = site.run("status", "-c", "sinkhole.yaml", "--json").data
        assert status["web"]["pid"] == web
        assert status["web"]["ready"]
        assert [found["pid"] for found in status["workers"]] == [worker]
        asked, failed, stop = 0, 0, threading.Event()

        def keep_asking() -> None:
            nonlocal asked, failed
            while not stop.is_set():
                failed += addresses(running.ask(BLOCKED)) != ["0.0.0.0"]
                asked += 1

        thread = threading.Thread(target=keep_asking)
        thread.start()
        os.kill(web, signal.SIGKILL)
        assert addresses(resolve(running, BLOCKED)) == ["0.0.0.0"]  # it waited in the socket
        stop.set()
        thread.join()
        assert asked > 10
        assert not failed
        assert running.workers() == {worker}
        assert running.web() not in (web, None)
        status = site.run("status", "-c", "sinkhole.yaml", "--json").data
        assert status["web"]["restarts"] == 1
        assert status["counters"]["blocked"] >= asked
        assert f"web (process {web}) ended: SIGKILL; starting another" in running.log
        assert "web: process" in site.run("status", "-c", "sinkhole.yaml").out


def test_a_request_under_way_is_answered_before_the_end(site: Site) -> None:
    def script(asked: Any) -> Any:
        from tests.conftest import forwarded

        time.sleep(1)
        yield from forwarded(asked)

    with site.running({"workers": 1, "listen": LISTEN}, script) as running:
        web = running.web()
        answers: list[list[str]] = []
        thread = threading.Thread(target=lambda: answers.append(addresses(resolve(running, OTHER))))
        thread.start()
        running.eventually(lambda: running.upstream.asked)
        running.process.terminate()
        thread.join(PATIENCE)
        assert answers == [FORWARDED]
        running.process.wait(PATIENCE)
        assert web
        assert not alive(web)


#: A program that asks as fast as it can, over many connections, until it is ended.
FLOOD = """
import asyncio, ssl, sys, httpx
async def main(port, query):
    verify = ssl.create_default_context()
    verify.check_hostname, verify.verify_mode = False, ssl.CERT_NONE
    async def one():
        async with httpx.AsyncClient(verify=verify, http2=True, trust_env=False) as client:
            while True:
                try:
                    await asyncio.gather(*(client.get(f"https://127.0.0.1:{port}/dns-query", params={"dns": query}) for _ in range(20)))
                except httpx.HTTPError:
                    await asyncio.sleep(0.1)
    print("flood", flush=True)
    await asyncio.gather(*(one() for _ in range(10)))
asyncio.run(main(*sys.argv[1:]))
"""  # noqa: E501


def _latencies(running: Running, count: int) -> list[float]:
    """Sorted seconds of so many blocked queries over UDP, one after the other."""
    query = dns.message.make_query(BLOCKED, "A").to_wire()
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(running.endpoints[0])
        for _ in range(count):
            started = time.perf_counter()
            sock.send(query)
            sock.recv(2000)
            found.append(time.perf_counter() - started)
            time.sleep(0.0005)
    return sorted(found)


def test_a_flood_on_the_web_leaves_udp_alone(site: Site) -> None:
    """Each core has more to do than it can, and every query over UDP is answered, nearly all of them at once."""
    certificate(site.directory)
    settings = {"workers": 1, "listen": LISTEN, "tls": {"cert": "cert.pem", "key": "key.pem"}}
    query = urlsafe_b64encode(dns.message.make_query(BLOCKED, "A").to_wire()).rstrip(b"=").decode()
    with site.running(settings) as running:
        _latencies(running, 100)
        command = [sys.executable, "-c", FLOOD, str(running.endpoints[-1][1]), query]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as flood:
            try:
                assert flood.stdout
                assert flood.stdout.readline()
                time.sleep(1)
                found = _latencies(running, 1000)
            finally:
                flood.kill()
        counters = site.run("status", "-c", "sinkhole.yaml", "--json").data["web"]["counters"]
        assert counters["blocked"] > 100
        assert found[500] < 0.005
        assert found[990] < 0.05


def test_a_socket_of_systemd_for_the_web(site: Site, peer: Callable[[str], str]) -> None:
    """In place of `listen.web`; DNS listens where the configuration says when systemd has no socket for it."""
    port, elsewhere = free(2)
    site.configure(
        {
            "workers": 1,
            "listen": {"dns": [f"127.0.0.1:{elsewhere}"], "web": "127.0.0.1:1"},
            "upstream": {"servers": ["127.0.0.1:9"]},
        }
    )
    with activated(site, peer, [port], "--fdname=web"):
        query = dns.message.make_query(BLOCKED, "A").to_wire()
        said = httpx.post(
            f"http://127.0.0.1:{port}/dns-query", content=query, headers=TYPE, timeout=PATIENCE, trust_env=False
        )
        assert addresses(dns.message.from_wire(said.content)) == ["0.0.0.0"]
        end = time.monotonic() + PATIENCE
        while "; try: dig" not in (log := (site.directory / "serve.log").read_text()):  # DNS may be ready later
            assert time.monotonic() < end, log
            time.sleep(0.02)
    assert f"systemd listens on 127.0.0.1:{port}; listen.web does not count" in log
    assert f"answers on 127.0.0.1:{elsewhere}; over HTTP on 127.0.0.1:{port};" in log


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:8053", "10.0.0.1:8053"])
def test_plain_http_that_others_can_reach_is_refused(site: Site, address: str) -> None:
    for command in ("serve", "check"):
        config = site.configure({"listen": {"web": [address]}})
        ran = site.run(command, "-c", config, code=1)
        assert f"listen.web: {address} would be plain HTTP that others can reach; set tls.cert and tls.key" in ran.err
        assert "listen.web-plain-http: true" in ran.err
    site.run("check", "-c", site.configure({"listen": {"web": address, "web-plain-http": True}}))


@pytest.mark.parametrize(
    ("web", "why"),
    [
        ("localhost:80", "has no IP address"),
        ("127.0.0.1", "has no port"),
        (["127.0.0.1:1", 5], "expected text"),
        ({"a": 1}, "listen.web"),
        ("http://127.0.0.1:1", "has no IP address"),
    ],
)
def test_what_is_no_address_is_told_with_its_line(site: Site, web: object, why: str) -> None:
    config = site.configure({"listen": {"web": web}})
    ran = site.run("check", "-c", config, code=1)
    assert f"{config}:" in ran.err
    assert why in ran.err


def test_a_token_that_no_group_has_is_no_expectation(site: Site) -> None:
    ran = site.run(
        "check", "-c", site.configure({"expect": [{"token": "x", "name": "a.test", "action": "block"}]}), code=1
    )
    assert "expect[0].token: no group has the token x" in ran.err

"""``sinkhole serve`` to its clients: who is answered, over TLS too, and on sockets that systemd opened."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dns.edns
import dns.message
import dns.query
import dns.rcode
import pytest

from tests.certificates import certificate
from tests.conftest import FORWARDED, PATIENCE, Running, Site

NULL = ["0.0.0.0"]
NAME = "dns.example.test"


def addresses(answer: dns.message.Message) -> list[str]:
    return [str(record) for rrset in answer.answer for record in rrset]


def over_tls(running: Running, cert: Path, name: str) -> dns.message.Message:
    host, port = running.endpoints[-1]
    trusting = ssl.create_default_context(cafile=str(cert))
    query = dns.message.make_query(name, "A", use_edns=0)
    return dns.query.tls(query, host, port=port, timeout=5, ssl_context=trusting, server_hostname=NAME)


def test_who_may_not_ask_is_refused_and_a_reload_changes_that(site: Site) -> None:
    def access(*allow: str, **more: Any) -> dict[str, Any]:
        return {"workers": 1, "access": {"allow": list(allow), **more}}

    with site.running(access("127.0.0.1")) as running:
        assert addresses(running.ask("chat.deepseek.com")) == NULL
        for tcp in (False, True):
            for name in ("chat.deepseek.com", "unlisted.example.org"):
                answer = running.ask(name, source="127.0.0.2", tcp=tcp)
                assert (answer.rcode(), addresses(answer)) == (dns.rcode.REFUSED, [])
                assert [option.to_text() for option in answer.options] == ["EDE 18 (Prohibited)"]
        assert not running.upstream.asked

        running.configure(access("127.0.0.2"))
        running.eventually(lambda: addresses(running.ask("chat.deepseek.com", source="127.0.0.2")) == NULL)
        assert running.ask("chat.deepseek.com").rcode() == dns.rcode.REFUSED

        running.configure(access("127.0.0.2", denied="drop"))
        running.eventually(lambda: _silent(running))
        with pytest.raises((EOFError, ConnectionError)):
            running.ask("chat.deepseek.com", tcp=True)


def _silent(running: Running) -> bool:
    try:
        running.ask("chat.deepseek.com", wait=0.3)
    except dns.exception.Timeout:
        return True
    return False


def test_a_network_has_its_rate(site: Site) -> None:
    limit = {"queries": 20, "exempt": ["127.0.0.1"], "ipv4-prefix": 32}
    with site.running({"workers": 1, "rate-limit": limit}) as running:
        query = dns.message.make_query("chat.deepseek.com", "A").to_wire()
        heard = {}
        for client in ("127.0.0.1", "127.0.0.2"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind((client, 0))
                sock.settimeout(0.3)
                for _ in range(60):
                    sock.sendto(query, running.endpoints[0])
                heard[client] = sum(1 for _ in iter(lambda sock=sock: _heard(sock), None))  # type: ignore[misc]
        assert heard["127.0.0.1"] == 60
        assert 20 <= heard["127.0.0.2"] <= 40
        assert addresses(running.ask("chat.deepseek.com", source="127.0.0.2", tcp=True)) == NULL


def _heard(sock: socket.socket) -> bytes | None:
    try:
        return sock.recv(2000)
    except TimeoutError:
        return None


def test_it_does_not_become_an_open_resolver_by_accident(site: Site) -> None:
    config = site.configure({"listen": {"dns": ["0.0.0.0:0"]}, "access": {"allow": ["0.0.0.0/0"]}})
    ran = site.run("serve", "-c", config, code=1)
    assert ran.err.startswith(f"sinkhole: {config}:")
    assert "access.allow[0]: 0.0.0.0/0 and the address 0.0.0.0:0 make an open resolver;" in ran.err
    assert "set access.open: true" in ran.err
    assert not site.state.exists()


def test_dns_over_tls_and_a_renewed_certificate(site: Site, peer: Callable[[str], str]) -> None:
    """A reload takes the new one; what cannot be used leaves the old one in force."""
    first = certificate(site.directory, NAME)
    old = shutil.copy(first.cert, site.directory / "old.pem")
    listen = {"dns": ["127.0.0.1:0"], "dot": ["127.0.0.1:0"]}
    settings = {"workers": 2, "listen": listen, "tls": {"cert": "cert.pem", "key": "key.pem"}}
    with site.running(settings) as running:
        port = running.endpoints[-1][1]
        assert f"; over TLS on 127.0.0.1:{port}; try: dig @127.0.0.1 -p {running.port} " in running.greeting
        assert addresses(over_tls(running, first.cert, "chat.deepseek.com")) == NULL
        assert addresses(over_tls(running, first.cert, "unlisted.example.org")) == FORWARDED
        command = [peer("dig"), "@127.0.0.1", "-p", str(port), "+tls", "chat.deepseek.com"]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
        assert "chat.deepseek.com.\t60\tIN\tA\t0.0.0.0" in shown

        first.key.write_text("broken\n")
        running.configure(settings)
        running.eventually(lambda: "not reloaded, everything stays as it was" in running.log)
        assert "tls: " in running.log
        assert addresses(over_tls(running, Path(old), "chat.deepseek.com")) == NULL

        second = certificate(site.directory, NAME)
        running.configure(settings)
        running.eventually(lambda: _trusted(running, second.cert))
        running.eventually(lambda: not _trusted(running, Path(old)))


def _trusted(running: Running, cert: Path) -> bool:
    try:
        return addresses(over_tls(running, cert, "chat.deepseek.com")) == NULL
    except ssl.SSLCertVerificationError:
        return False


def test_a_certificate_that_cannot_be_used_is_one_clear_line(site: Site) -> None:
    listen = {"dns": ["127.0.0.1:0"], "dot": ["127.0.0.1:0"]}
    servers = {"upstream": {"servers": ["192.0.2.1"]}}
    config = site.configure({"listen": listen, "tls": {"cert": "cert.pem", "key": "key.pem"}, **servers})
    ran = site.run("serve", "-c", config, code=1)
    assert ran.err.endswith(f"sinkhole: tls: {site.directory}/cert.pem: cannot be read: No such file or directory\n")


@contextmanager
def activated(site: Site, peer: Callable[[str], str], ports: list[int], *options: str) -> Iterator[None]:
    """``sinkhole serve`` started by systemd's own tool when the first client comes."""
    listen = [f"--listen=127.0.0.1:{port}" for port in ports]
    command = [peer("systemd-socket-activate"), *listen, *options, "--setenv=XDG_STATE_HOME"]
    with (site.directory / "serve.log").open("w") as log:
        process = subprocess.Popen(
            [*command, sys.executable, "-m", "sinkhole", "serve", "-c", "sinkhole.yaml"],
            cwd=site.directory,
            env=site.environ(),
            stdout=log,
            stderr=log,
        )
        try:
            end = time.monotonic() + PATIENCE
            while "Listening on" not in Path(log.name).read_text():
                assert time.monotonic() < end
                time.sleep(0.02)
            yield
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            process.wait()


def free(count: int) -> list[int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return [one.getsockname()[1], other.getsockname()[1]][:count]


def test_sockets_that_systemd_opened(site: Site, peer: Callable[[str], str]) -> None:
    """TCP and TLS, in two workers: the query that starts the service is answered too."""
    made = certificate(site.directory, NAME)
    tls = {"cert": "cert.pem", "key": "key.pem"}
    site.configure({"workers": 2, "tls": tls, "upstream": {"servers": ["127.0.0.1:9"]}})
    plain, encrypted = free(2)
    query = dns.message.make_query("chat.deepseek.com", "A")
    with activated(site, peer, [plain, encrypted], "--fdname=dns:dot"):
        answer = dns.query.tcp(query, "127.0.0.1", port=plain, timeout=PATIENCE)
        assert addresses(answer) == NULL
        trusting = ssl.create_default_context(cafile=str(made.cert))
        for _ in range(10):
            answer = dns.query.tls(
                query, "127.0.0.1", port=encrypted, timeout=5, ssl_context=trusting, server_hostname=NAME
            )
            assert addresses(answer) == NULL
            assert addresses(dns.query.tcp(query, "127.0.0.1", port=plain, timeout=5)) == NULL
    log = (site.directory / "serve.log").read_text()
    assert f"systemd listens on 127.0.0.1:{plain}, 127.0.0.1:{encrypted}; listen.dns and listen.dot do not count" in log


def test_a_datagram_socket_that_systemd_opened(site: Site, peer: Callable[[str], str]) -> None:
    site.configure({"workers": 2, "upstream": {"servers": ["127.0.0.1:9"]}})
    (port,) = free(1)
    query = dns.message.make_query("chat.deepseek.com", "A")
    with activated(site, peer, [port], "--datagram"):
        answer = dns.query.udp(query, "127.0.0.1", port=port, timeout=PATIENCE)
        assert addresses(answer) == NULL
        for _ in range(50):
            assert addresses(dns.query.udp(query, "127.0.0.1", port=port, timeout=5)) == NULL


def test_sockets_of_systemd_make_no_open_resolver_by_accident(site: Site) -> None:
    everybody = {"access": {"allow": ["0.0.0.0/0"]}, "upstream": {"servers": ["127.0.0.1:9"]}}
    site.configure(everybody)
    script = (
        "import os, socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('0.0.0.0', 0));"
        "os.dup2(s.fileno(), 3); os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1');"
        "from sinkhole.cli import main; import sys; sys.argv = 'sinkhole serve -c sinkhole.yaml'.split(); main()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=site.directory, env=site.environ(), capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert ran.returncode == 1
    assert "access.allow[0]: 0.0.0.0/0 and the address 0.0.0.0:" in ran.stderr

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from sinkhole.config import Endpoint
from sinkhole.errors import ListenError
from sinkhole.exports.verify.running import free_port
from sinkhole.service.sockets import Listening, _advice, listen, listen_web
from tests.conftest import IPV6

ANY = Endpoint("127.0.0.1", 0)
ABSENT = Endpoint("192.0.2.1", 5353)


@contextmanager
def listening(
    endpoints: Sequence[Endpoint], workers: int = 1, optional: bool = False, dot: Sequence[Endpoint] = ()
) -> Iterator[list[Listening]]:
    with ExitStack() as opened:
        found = listen(endpoints, workers, dot=dot, optional=optional)
        for sock in (sock for group in found for sock in (*group.udp, *group.tcp, *group.dot)):
            opened.enter_context(sock)
        yield found


def test_each_worker_has_a_udp_and_a_tcp_socket_on_one_port() -> None:
    with listening([ANY, Endpoint("127.0.0.2", 0)], workers=3) as found:
        assert len(found) == 3
        for worker in found:
            assert worker.endpoints == found[0].endpoints
            for sockets, kind in ((worker.udp, socket.SOCK_DGRAM), (worker.tcp, socket.SOCK_STREAM)):
                assert [sock.type for sock in sockets] == [kind, kind]
                assert [Endpoint(*sock.getsockname()) for sock in sockets] == worker.endpoints
        assert [endpoint.host for endpoint in found[0].endpoints] == ["127.0.0.1", "127.0.0.2"]
        assert all(endpoint.port for endpoint in found[0].endpoints)


def test_queries_wait_for_a_worker() -> None:
    """Nobody reads yet, and nothing is refused."""
    with listening([ANY], workers=2) as found, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(found[0].endpoints[0])
        client.send(b"first")
        client.send(b"second")
        socket.create_connection(found[0].endpoints[0], timeout=1).close()
        (udp,) = [worker.udp[0] for worker in found if _readable(worker.udp[0])]
        assert udp.recv(100) == b"first"
        assert udp.recv(100) == b"second"


def _readable(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return False


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_port_in_use_is_refused_even_when_its_owner_would_share_it(kind: socket.SocketKind, workers: int) -> None:
    with socket.socket(socket.AF_INET, kind) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(ANY)
        if kind == socket.SOCK_STREAM:
            other.listen()
        taken = Endpoint(*other.getsockname())
        with pytest.raises(ListenError) as caught:
            listen([ANY, taken], workers)
    assert str(caught.value).startswith(f"{taken}: the port is in use by another program;")


def test_a_port_that_was_left_a_moment_ago_is_free() -> None:
    """A restart does not wait for TIME_WAIT."""
    with listening([ANY]) as found:
        endpoint = found[0].endpoints[0]
        with socket.create_connection(endpoint) as client:
            accepted, _ = found[0].tcp[0].accept()
            accepted.close()  # who closes first has to wait
            assert client.recv(1) == b""
    with listening([endpoint]) as again:
        assert again[0].endpoints == [endpoint]


def test_an_address_of_another_machine() -> None:
    with pytest.raises(ListenError, match=r"^192\.0\.2\.1:5353: this machine does not have that address$"):
        listen([ANY, ABSENT], 1)


def test_an_optional_address_may_be_missing_but_not_all_of_them() -> None:
    with listening([ABSENT, ANY], optional=True) as found:
        assert [endpoint.host for endpoint in found[0].endpoints] == ["127.0.0.1"]
    with pytest.raises(ListenError, match="does not have that address"):
        listen([ABSENT], 1, optional=True)


def test_an_optional_address_whose_port_is_taken_is_no_missing_address() -> None:
    with listening([ANY]) as found, pytest.raises(ListenError, match="in use"):
        listen([ANY, *found[0].endpoints], 1, optional=True)


@pytest.mark.skipif(not IPV6, reason="no IPv6")
def test_both_protocols_may_have_the_same_port() -> None:
    """:: is for IPv6 alone, or 0.0.0.0 beside it would be in use."""
    port = free_port()
    with listening([Endpoint("::", port)]) as found, listening([Endpoint("0.0.0.0", port)]) as other:
        assert found[0].endpoints[0].port == other[0].endpoints[0].port


def test_advice() -> None:
    endpoint = Endpoint("::1", 53)
    privileged = _advice(PermissionError(errno.EACCES, "Permission denied"), endpoint)

    assert privileged.startswith("[::1]:53: only a privileged process may use a port below 1024;")
    assert "CAP_NET_BIND_SERVICE" in privileged
    assert "listen.dns" in privileged
    assert (
        _advice(OSError(errno.ENOBUFS, "No buffer space available"), endpoint) == "[::1]:53: No buffer space available"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give its rights up")
def test_port_53_without_privileges() -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 53:
        pytest.skip("here everybody may use port 53")
    os.seteuid(65534)
    try:
        with pytest.raises(
            ListenError, match=r"^127\.0\.0\.1:53: only a privileged process may use a port below 1024;"
        ):
            listen([Endpoint("127.0.0.1", 53)], 1)
    finally:
        os.seteuid(0)


def test_sockets_for_tls_are_beside_the_others() -> None:
    with listening([ANY], workers=2, dot=[ANY]) as found:
        for worker in found:
            (dot,) = worker.dot
            assert dot.type == socket.SOCK_STREAM
            assert worker.encrypted == [Endpoint(*dot.getsockname())] == found[0].encrypted
            assert worker.encrypted != worker.endpoints == found[0].endpoints


def test_advice_names_the_key() -> None:
    with listening([ANY]) as found, pytest.raises(ListenError, match=r"in use .* set another port in listen\.dot$"):
        listen([ANY], 1, dot=found[0].endpoints)
    with pytest.raises(ListenError, match="does not have that address"):
        listen([ANY], 1, dot=[ABSENT], optional=True)


def test_the_web_has_one_socket_for_each_address() -> None:
    first, second = sockets = listen_web([ANY, Endpoint("127.0.0.2", 0)])
    try:
        assert [sock.getsockname()[0] for sock in sockets] == ["127.0.0.1", "127.0.0.2"]
        with pytest.raises(ListenError, match=r"in use .* set another port in listen\.web$"):
            listen_web([Endpoint("127.0.0.3", 0), Endpoint(*first.getsockname())])
    finally:
        first.close()
        second.close()


INHERIT = """
import os, sys
from sinkhole.errors import ListenError
from sinkhole.service.sockets import inherited
os.environ["LISTEN_PID"] = os.environ["LISTEN_PID"].replace("SELF", str(os.getpid()))
try:
    found = inherited(os.environ)
except ListenError as error:
    sys.exit(str(error))
print(*(len(kind) for kind in found))
print(*(str(at) for at in (*found.endpoints, *found.encrypted, *found.webs)))
print(*(name for name in os.environ if name.startswith("LISTEN")), *(os.get_inheritable(n) for n in range(3, 6)))
"""


def inherit(sockets: Sequence[socket.socket], names: str, pid: str = "SELF") -> subprocess.CompletedProcess[str]:
    """What a process says that has these sockets from number 3 on, as systemd hands them over."""
    command = [sys.executable, "-c", INHERIT]
    environ = {**os.environ, "LISTEN_PID": pid, "LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": names}
    moved = "; ".join(f"exec {number}<&{sock.fileno()}" for number, sock in enumerate(sockets, 3))
    shell = ["bash", "-c", f'{moved or ":"}; exec "$@"', "bash", *command]
    numbers = [sock.fileno() for sock in sockets]
    return subprocess.run(shell, env=environ, pass_fds=numbers, capture_output=True, text=True, timeout=20)


@contextmanager
def opened(*kinds: socket.SocketKind, listens: bool = True) -> Iterator[list[socket.socket]]:
    """Bound sockets, with numbers that are out of the way of those that they will have."""
    with ExitStack() as stack:
        found = []
        for number, kind in enumerate(kinds):
            with socket.socket(socket.AF_INET, kind) as sock:
                copy = socket.socket(fileno=fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD, 100 + number))
            stack.enter_context(copy)
            copy.bind(("127.0.0.1", 0))
            if kind == socket.SOCK_STREAM and listens:
                copy.listen()
            found.append(copy)
        yield found


UDP, TCP = socket.SOCK_DGRAM, socket.SOCK_STREAM


def test_sockets_of_systemd_go_where_their_kind_and_name_say() -> None:
    """Nobody else inherits them, nor the variables that tell of them."""
    with opened(UDP, TCP, TCP, TCP) as sockets:
        ran = inherit(sockets, "dns:dns:dot:web")
        addresses = [f"127.0.0.1:{sock.getsockname()[1]}" for sock in sockets]
    assert ran.stdout.splitlines() == ["1 1 1 1", " ".join(addresses), "False False False"], ran.stderr


def test_sockets_of_systemd_need_no_names() -> None:
    with opened(UDP, TCP) as sockets:
        ran = inherit(sockets, "")
    assert ran.stdout.splitlines()[0] == "1 1 0 0"


@pytest.mark.parametrize(("pid", "count"), [("1", 1), ("", 1), ("SELF", 0), ("x", 2)])
def test_sockets_that_were_meant_for_another_process_are_left_alone(pid: str, count: int) -> None:
    with opened(*[UDP] * count) as sockets:
        ran = inherit(sockets, "dns", pid)
    assert ran.stdout.splitlines()[0] == "0 0 0 0"


def test_a_socket_of_systemd_that_is_not_for_dns_is_an_error() -> None:
    with opened(UDP, TCP, listens=False) as sockets:
        ran = inherit(sockets, "dns:web")
    assert ran.stderr == "socket 4 of systemd (web): neither UDP nor a listening TCP socket\n"

"""Datagrams of connected sockets, by many or by one."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from sinkhole.resolver.listener.batch import CALLS, MAX_RECEIVED, Singly, Volley

COUNT = 8


@pytest.fixture(params=[Volley, Singly])
def datagrams(request: pytest.FixtureRequest) -> Volley | Singly:
    if request.param is Volley and not CALLS:
        pytest.skip("no such calls")
    made: Volley | Singly = request.param(COUNT)
    return made


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two sockets, connected to each other, that do not wait."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two,
    ):
        for sock in (one, two):
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
        one.connect(two.getsockname())
        two.connect(one.getsockname())
        yield one, two


def test_what_is_sent_arrives_whole_and_in_order(
    datagrams: Volley | Singly, pair: tuple[socket.socket, socket.socket]
) -> None:
    one, two = pair
    for count in (1, COUNT, 3):
        sent = [bytes((number,)) * (1 + 97 * number) for number in range(count)]
        datagrams.send(one, sent)
        assert list(datagrams.receive(two)) == sent
        assert list(datagrams.receive(two)) == []


def test_no_more_are_received_at_a_time_than_there_is_room_for(
    datagrams: Volley | Singly, pair: tuple[socket.socket, socket.socket]
) -> None:
    """Empty ones count, and what is too long is cut."""
    one, two = pair
    sent = [b"", bytes(2 * MAX_RECEIVED), *(b"%d" % number for number in range(COUNT))]
    for packet in sent:
        one.send(packet)
    assert list(datagrams.receive(two)) == [b"", bytes(MAX_RECEIVED), *sent[2:COUNT]]
    assert list(datagrams.receive(two)) == sent[COUNT:]


def test_errors_are_raised(datagrams: Volley | Singly, pair: tuple[socket.socket, socket.socket]) -> None:
    one, two = pair
    two.close()
    datagrams.send(one, [b"nobody is there"])
    with pytest.raises(ConnectionRefusedError):
        datagrams.receive(one)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unconnected, pytest.raises(OSError, match=r"\d"):
        datagrams.send(unconnected, [b"to whom?", b"and this?"])

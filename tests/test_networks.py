from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from sinkhole.networks import Network, Networks

_networks = st.one_of(
    [
        st.builds(lambda number, length: ip_network((number, length), strict=False), number, length)
        for number, length in (
            (st.integers(0, (1 << 32) - 1).map(lambda n: n.to_bytes(4)), st.integers(0, 32)),
            (st.integers(0, (1 << 128) - 1).map(lambda n: n.to_bytes(16)), st.integers(0, 128)),
        )
    ]
)


@given(st.lists(_networks, max_size=20), st.data())
def test_all_networks_of_an_address_are_found_the_longest_first(networks: list[Network], data: st.DataObject) -> None:
    found = Networks((network, network) for network in networks)
    assert bool(found) == bool(networks)
    sample = st.sampled_from(networks) if networks else _networks
    network = data.draw(sample)
    address = network.network_address + data.draw(st.integers(0, min(network.num_addresses - 1, 300)))
    expected = [network for network in networks if ip_address(address) in network]
    got = list(found.find(address.packed))
    assert sorted(map(str, got)) == sorted(map(str, expected))
    assert [one.prefixlen for one in got] == sorted((one.prefixlen for one in got), reverse=True)
    assert found.have(address.packed) == bool(expected)

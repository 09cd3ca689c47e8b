from __future__ import annotations

import pytest

from sinkhole.resolver.lookup import DEFAULT_HANDLING, Handling
from sinkhole.resolver.recorder import Recording
from sinkhole.resolver.zones import Local
from sinkhole.service.settings import Settings, parse


@pytest.mark.parametrize("mode", ["null-ip", ("192.0.2.1", "2001:db8::1")])
@pytest.mark.parametrize("handling", [DEFAULT_HANDLING, Handling(1, 2, False, False, ()), Handling(rebinding=("lan",))])
def test_settings_survive_the_control_channel(mode: str | tuple[str, ...], handling: Handling) -> None:
    servers = (("udp", "192.0.2.53", 53, ""), ("https", "dns.example", 443, "/dns-query"))
    local = Local((("a.lan", ("A 192.0.2.1", 'TXT "\\"뭐"')),), ("lan",), ("10.in-addr.arpa",), 7, "version", "id")
    settings = Settings(
        "/var/lib/sink hole/뭐\n",
        servers,
        0.5,
        mode,
        60,
        strategy="random",
        conditional=(("corp.example", servers[:1]), ("lan", servers)),
        bootstrap=servers[:1],
        ca="/etc/ca.pem",
        token="abcdef",
        local=local,
        cache=1 << 20,
        stale=3600.0,
        handling=handling,
        recording=Recording("decisions", "network", ("192.0.2.0/24",)),
    )

    line = settings.line()

    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert parse(line) == settings

"""Sockets to engine and back: UDP in batches, TCP and TLS with every wait and every buffer bounded.

Servers take a socket that is already bound (a supervisor opened it, perhaps as root, or systemd did) and give the
function that stops them.
"""

from sinkhole.resolver.listener.tcp import DEFAULT_LIMITS, Connections, Limits, serve_tcp
from sinkhole.resolver.listener.udp import serve_udp

__all__ = ["DEFAULT_LIMITS", "Connections", "Limits", "serve_tcp", "serve_udp"]

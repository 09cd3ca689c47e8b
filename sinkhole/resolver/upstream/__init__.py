"""Asking upstream resolvers: which of them, in which order, over what, and one answer for all who ask the same at once.

::

    Upstreams        the conditional routes and the default one                                     route.py
    └── Forwarder    the servers of one route: coalescing, caps, strategy                           forwarder.py
        ├── Wheel    the timers of its questions                                                wheel.py
        ├── Lookup   one question under way: attempts, patience, the best that was heard            lookup.py
        └── Remote   one server: its transport, how fast it is, and whether it is there             remote.py
            └── Udp, Stream (TCP, TLS), Https: one question, one answer or failure                  udp.py, stream.py, …

An answer counts only when it matches all that was random about its question (RFC 5452 9.1); what does not match is
ignored, and the wait goes on. The UDP path runs in callbacks and costs no task.
"""

from sinkhole.resolver.upstream.forwarder import Done, Forwarder
from sinkhole.resolver.upstream.lookup import BUDGET
from sinkhole.resolver.upstream.remote import Server
from sinkhole.resolver.upstream.route import Upstreams

__all__ = ["BUDGET", "Done", "Forwarder", "Server", "Upstreams"]

"""Files of CoreDNS's ``hosts`` plugin: hosts files, which the Corefile names.

Source: https://coredns.io/plugins/hosts/. A name that is in the file is never looked up elsewhere, so types other
than A and AAAA have no data.
"""

from __future__ import annotations

from sinkhole.formats import hosts
from sinkhole.formats.format import Format, Header

_USE = b"# In the Corefile: hosts FILE { fallthrough }\n"


def _start(header: Header) -> bytes:
    return _USE


FORMAT: Format = hosts.FORMAT._replace(name="coredns", title="CoreDNS hosts file", suffix="hosts", start=_start)

"""Files of CoreDNS's ``hosts`` plugin: hosts files, which the Corefile names.

Source: https://coredns.io/plugins/hosts/. A name that is in the file is never looked up elsewhere, so types other
than A and AAAA have no data.
"""

from __future__ import annotations

from sinkhole.formats import hosts
from sinkhole.formats.format import Format

FORMAT: Format = hosts.FORMAT._replace(
    name="coredns",
    title="CoreDNS hosts file",
    use="in the Corefile: hosts FILE { fallthrough }",
    suffix="hosts",
    effect="0.0.0.0 for a listed name, and nothing for the names below it",
)

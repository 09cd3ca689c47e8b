"""Proxy auto-configuration: a script that sends blocked names to a proxy that is none.

Source:
https://developer.mozilla.org/en-US/docs/Web/HTTP/Guides/Proxy_servers_and_tunneling/Proxy_Auto-Configuration_PAC_file.
The functions ``b`` (block) and ``a`` (allow) take a name and its scope: 1 the name, 2 what is below it, 3 both. Only
scripts of this form are read. Port 9 is the discard service (RFC 863), which hardly any machine runs.
"""

from __future__ import annotations

from sinkhole.formats.format import Format, Header
from sinkhole.formats.reading import bulk
from sinkhole.formats.scripts import KINDS, reader

_START = """\
var exact = {}, below = {};
function put(name, scope, blocked) {
  if (scope & 1) exact[name] = blocked;
  if (scope & 2) below[name] = blocked;
}
function b(name, scope) { put(name, scope, true); }
function a(name, scope) { put(name, scope, false); }
"""
_END = """\
function has(table, name) { return Object.prototype.hasOwnProperty.call(table, name); }
function blocked(host) {
  var name = host.toLowerCase().replace(/\\.$/, "");
  if (has(exact, name)) return exact[name];
  for (var at = name.indexOf("."); at >= 0; at = name.indexOf(".")) {
    name = name.substring(at + 1);
    if (has(below, name)) return below[name];
  }
  return false;
}
function FindProxyForURL(url, host) { return blocked(host) ? "PROXY 127.0.0.1:9" : "DIRECT"; }
"""
_CALLS = {kind: (b"a" if kind.allow else b"b", b"%d" % kind.scope) for kind in KINDS}


def _start(header: Header) -> bytes:
    return _START.encode()


FORMAT = Format(
    name="pac",
    title="proxy auto-configuration",
    use="the URL of the automatic proxy configuration in a browser or system",
    suffix="pac",
    comment="//",
    read=reader(
        _START + _END,
        "//",
        [bulk(call + rb'\("', rb'",' + scope + rb"\);", kind) for kind, (call, scope) in _CALLS.items()],
    ),
    lines={kind: call + b'("%s",' + scope + b");" for kind, (call, scope) in _CALLS.items()},
    closest=True,
    start=_start,
    end=_END.encode(),
)

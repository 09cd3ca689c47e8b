"""The TLS of DNS over TLS (RFC 7858) and over HTTPS, without a socket: octets of the wire in, what the peer says out,
and the other way round.

asyncio's own TLS keeps 256 KiB for each connection, idle ones too, and one context for all of a server's life. This
keeps what OpenSSL needs, and every connection takes the context of the moment, so certificates can change.
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sinkhole.errors import ListenError

#: Protocols (ALPN, RFC 7301), the best first.
DOT, HTTP = ("dot",), ("h2", "http/1.1")
_READ = 1 << 14  # octets of the longest TLS record


class _Named(ssl.SSLObject):
    """Remembers the name that the client called us by (SNI, RFC 6066 3)."""

    asked: str = ""


def context(cert: Path, key: Path, protocols: Sequence[str] = DOT) -> ssl.SSLContext:
    """The server side of a certificate chain and its key, in PEM files, for ``protocols`` (ALPN), the best one first.

    Raises :class:`~sinkhole.errors.ListenError` when they cannot be used.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996, RFC 9325 3.1.1
    made.options |= ssl.OP_NO_RENEGOTIATION
    made.set_alpn_protocols(protocols)
    made.sslobject_class = _Named
    made.sni_callback = _remember
    try:
        for path in (cert, key):
            path.open("rb").close()  # OpenSSL does not say which one is missing
        made.load_cert_chain(cert, key, password="")  # else it would ask for one at the terminal
    except ssl.SSLError as error:
        why = (error.reason or str(error)).lower().replace("_", " ")
        raise ListenError(f"tls: {cert} and {key} are no certificate with its key in PEM: {why}") from error
    except OSError as error:
        raise ListenError(f"tls: {error.filename}: cannot be read: {error.strerror}") from error
    return made


def _remember(connection: Any, name: str | None, _: Any) -> None:
    connection.asked = (name or "").lower()


def hush(fault: Any) -> None:
    """A ``sys.unraisablehook``: the ssl module reports a server name that is not ASCII as an error that nobody can
    catch, with a traceback for each such client. The client is refused all the same."""
    if not isinstance(fault.exc_value, UnicodeDecodeError):
        sys.__unraisablehook__(fault)


class Tls:
    """One connection's side of the server. ``established`` after the handshake, ``ended`` when nothing more comes."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self.established = False
        self.ended = False

    @property
    def asked(self) -> str:
        """The name that the client called us by, in lower case; empty without one."""
        return getattr(self._tls, "asked", "")

    @property
    def protocol(self) -> str:
        """What both sides agreed to speak (ALPN, RFC 7301); empty without an agreement."""
        return self._tls.selected_alpn_protocol() or ""

    def receive(self, data: bytes) -> bytes:
        """What the peer says by these octets; :meth:`pending` may have something for it after. Raises ssl.SSLError."""
        self._in.write(data)
        said = []
        try:
            if not self.established:
                self._tls.do_handshake()
                self.established = True
            while part := self._tls.read(_READ):
                said.append(part)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return b"".join(said)

    def send(self, data: bytes) -> bytes:
        """The octets that say ``data`` to the peer."""
        self._tls.write(data)
        return self.pending()

    def end(self) -> bytes:
        """The octets that say that nothing more will come (RFC 8446 6.1)."""
        with suppress(ssl.SSLError):  # the peer has not said so yet
            self._tls.unwrap()
        return self.pending()

    def pending(self) -> bytes:
        """Octets that TLS itself has for the peer."""
        return self._out.read()

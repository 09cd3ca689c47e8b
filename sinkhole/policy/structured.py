"""Structured DNS errors: why a name is blocked, for programs (draft-ietf-dnsop-structured-dns-error-25, section 4).

The EXTRA-TEXT of an Extended DNS Error is then a small JSON object: ``c`` whom to ask, ``j`` why, ``s`` the sub-error,
``o`` who decided, ``l`` the language of both texts.
"""

from __future__ import annotations

import json
import re

#: Sub-errors (11.4), which there are for Blocked alone: by policy of the network's operator, of the resolver's.
NETWORK_OPERATOR, DNS_OPERATOR = 5, 6
#: Octets of each text, and of the whole: an answer with it is to fit a datagram.
MAX_TEXT, MAX_TOTAL = 200, 600

_BLOCKED = 15
_URI = re.compile(r"(?:tel|mailto):[!-~]+")
_MAIL = re.compile(r"[!-~]+@[!-~]+")


def structured(
    ede: int, why: str, suberror: int, *, contact: str = "", organisation: str = "", language: str = "en"
) -> tuple[str, ...]:
    """The texts for an answer with the EDE ``ede``, the most telling first: all of it, then without ``j`` and ``o``.

    ``contact`` counts when it is a mail address or a URI of the two schemes that clients know (11.3).
    """
    uri = contact if _URI.fullmatch(contact) else f"mailto:{contact}" if _MAIL.fullmatch(contact) else ""
    short = {
        **({"c": [uri]} if uri and len(uri) <= MAX_TEXT else {}),
        **({"s": suberror} if ede == _BLOCKED else {}),
    }
    texts = {"j": cut(why), **({"o": cut(organisation)} if organisation else {}), "l": language}
    written = [_written(told) for told in ({**short, **texts}, short) if told]
    return tuple(text for text in written if len(text.encode()) <= MAX_TOTAL)


def cut(text: str) -> str:
    """``text`` of at most :data:`MAX_TEXT` octets."""
    return text.encode()[:MAX_TEXT].decode(errors="ignore")


def _written(data: dict[str, object]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))

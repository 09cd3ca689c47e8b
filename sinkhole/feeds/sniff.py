"""What came: is it a text list at all, and the same text in one encoding. Bytes in, bytes or a reason out.

What a line means is for ``formats``; here only whole bodies are judged, such as the login page of a captive portal.
"""

from __future__ import annotations

import codecs
import re

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_ARCHIVES = (
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "gzip data inside gzip data"),
    (b"BZh91AY&SY", "bzip2 data"),
    (b"\xfd7zXZ\0", "xz data"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"(\xb5/\xfd", "zstd data"),
    (b"Rar!\x1a", "a rar archive"),
)
# Tab, VT, FF, CR, ESC and the end-of-file of DOS (0x1A) do occur in text that people wrote; the readers see to them.
_CONTROL = bytes((*range(9), *range(0x0E, 0x1A), *range(0x1C, 0x20), 0x7F))
#: Octets that are looked through for those at a time, so that what is left without them never takes much memory.
_STEP = 65536
# A list in JSON is one of objects that name something, and begins with one about the list or with a name.
_JSON = re.compile(rb'(?:\[\s*)?\{(?!\s*"(?:list|name)"\s*:)|\[\s*"')
_EXPIRES = re.compile(rb"^[!#;][ \t]*Expires:[ \t]*([0-9]{1,4})(?![0-9])[ \t]*(h|d)?", re.I | re.M)
_HEAD = 4096
_CONTENT = re.compile(rb"^[ \t]*+(?![#!;\s]|//|\[Adblock|$)", re.MULTILINE)


def decode(data: bytes) -> bytes:
    """The text as UTF-8 without a byte order mark, lines ended by ``\\n`` alone.

    UTF-16 is known by its mark; what is not valid in it becomes U+FFFD. Text without a mark keeps its bytes.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            data = data[len(mark) :]
            if encoding != "utf-8":
                data = data.decode(encoding, "replace").encode()
            break
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data


def expires(text: bytes) -> float | None:
    """The seconds for which the text says that it is good (``! Expires: 4 days``), from an hour to two weeks; ``None``
    when it does not say. Without a unit it means days: https://help.adblockplus.org/hc/en-us/articles/360062733293."""
    found = _EXPIRES.search(text[:_HEAD])
    if not found:
        return None
    unit = 3600 if (found[2] or b"d").lower() == b"h" else 86400
    return float(min(max(int(found[1]) * unit, 3600), 14 * 86400))


def why_not_a_list(data: bytes) -> str | None:
    """Why this body, decoded or not, cannot be a list; ``None`` when it can."""
    text = decode(data)
    start = text[:1024].lstrip()
    for magic, what in _ARCHIVES:
        if text.startswith(magic):
            return f"{what}, not a list"
    if (at := _control(text)) is not None:
        line = text.count(b"\n", 0, at) + 1
        return f"binary, not a list: byte 0x{text[at]:02x} in line {line}"
    if start.startswith(b"<"):
        return "an HTML or XML page, not a list"
    if _JSON.match(start):
        return "JSON, not a list"
    if not text or text.isspace():
        return "empty"
    if not _CONTENT.search(text):
        return "nothing but comments"
    return None


def _control(text: bytes) -> int | None:
    """Where the first octet is that no text holds."""
    for start in range(0, len(text), _STEP):
        part = text[start : start + _STEP]
        if len(part.translate(None, _CONTROL)) < len(part):
            return start + next(at for at, octet in enumerate(part) if octet in _CONTROL)
    return None

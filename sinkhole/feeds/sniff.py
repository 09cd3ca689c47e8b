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
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x19\x1c-\x1f\x7f]")
_TEXT = bytes(octet for octet in range(256) if not _CONTROL.match(bytes((octet,))))
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
    if text.translate(None, _TEXT) and (found := _CONTROL.search(text)):
        line = text.count(b"\n", 0, found.start()) + 1
        return f"binary, not a list: byte 0x{found.group()[0]:02x} in line {line}"
    if start.startswith(b"<"):
        return "an HTML or XML page, not a list"
    if _JSON.match(start):
        return "JSON, not a list"
    if not text or text.isspace():
        return "empty"
    if not _CONTENT.search(text):
        return "nothing but comments"
    return None

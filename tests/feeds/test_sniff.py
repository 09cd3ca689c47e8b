from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import tarfile
import zipfile

import pytest

from sinkhole.feeds.sniff import decode, why_not_a_list


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("list.txt", "ads.example.com\n")
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("list.txt"))
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a\nb\n", b"a\nb\n"),
        (b"a\r\nb\rc\r\r\n", b"a\nb\nc\n\n"),
        (codecs.BOM_UTF8 + b"a\r\n", b"a\n"),
        (codecs.BOM_UTF16_LE + "faß\r\n".encode("utf-16-le"), "faß\n".encode()),
        (codecs.BOM_UTF16_BE + "\U0001f6ab.example\r".encode("utf-16-be"), "\U0001f6ab.example\n".encode()),
        (codecs.BOM_UTF16_LE + b"a\0\n\0\x00\xd8\n\0b", "a\n\ufffd\n\ufffd".encode()),  # half a pair, half a unit
        (codecs.BOM_UTF16_BE, b""),
        ("# fa\xdf\n".encode("latin-1"), b"# fa\xdf\n"),
        (b"a\x0bb\x0cc\x85d\xe2\x80\xa8e\x1cf", b"a\x0bb\x0cc\x85d\xe2\x80\xa8e\x1cf"),
        (b"", b""),
    ],
)
def test_decode_gives_one_encoding_and_one_line_end(data: bytes, text: bytes) -> None:
    assert decode(data) == text
    assert decode(text) == text


@pytest.mark.parametrize(
    "data",
    [
        b"ads.example.com",
        b"# a title\n\n0.0.0.0 ads.example.com\n",
        b"[Adblock Plus 2.0]\n! Title: t\n||ads.example.com^\n",
        b"! only\n/ads[0-9]+/\n",
        b"[a-z]+\\.ads\\.example\n",
        b"^ads[0-9]\n",
        b"; zone\n$TTL 60\n@ SOA . . 1 1 1 1 1\n",
        b"*.example.com\n",
        b'[\n{"list": {"title": "T"}}\n,{"name":"ads.example.com"}\n]\n',
        b'[\n  {\n    "name": "ads.example.com"\n  }\n]\n',
        b'{"name" : "ads.example.com"}\n',
        b"# control characters of old editors: \x0b \x0c \x1b[0m\nads.example.com\n\x1a",
        b"# fa\xdf, Latin-1\nads.example.com\n",
        b"\n" * 5000 + b"   ads.example.com",
        codecs.BOM_UTF8 + b"ads.example.com\n",
        codecs.BOM_UTF16_LE + "ads.example.com\r\n".encode("utf-16-le"),
        codecs.BOM_UTF16_BE + "ads.example.com\r\n".encode("utf-16-be"),
    ],
)
def test_lists_of_every_syntax_pass(data: bytes) -> None:
    assert why_not_a_list(data) is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b" \r\n\t\n", "empty"),
        (codecs.BOM_UTF8, "empty"),
        (b"# nothing\n\n! nothing\n; nothing\n// nothing\n  # nothing\n[Adblock Plus]\n", "nothing but comments"),
        (b"#" + b" nothing" * 999, "nothing but comments"),
        (b"<!DOCTYPE html><html>", "an HTML or XML page, not a list"),
        (b"\r\n\t <html>\nads.example.com\n", "an HTML or XML page, not a list"),
        (b"<?xml version='1.0'?>", "an HTML or XML page, not a list"),
        (codecs.BOM_UTF16_LE + "<html>".encode("utf-16-le"), "an HTML or XML page, not a list"),
        (b'{"message": "Not Found"}', "JSON, not a list"),
        (b' [\n  {"error": 1}]', "JSON, not a list"),
        (b'["ads.example.com"]', "JSON, not a list"),
        (b"ads.example.com\n\0\n", "binary, not a list: byte 0x00 in line 2"),
        (b"ads.example.com\r\ra\x7f\n", "binary, not a list: byte 0x7f in line 3"),
        (b"\x89PNG\r\n\x1a\n\x00", "binary, not a list: byte 0x00 in line 3"),
        (codecs.BOM_UTF32_LE + "ads.example.com".encode("utf-32-le"), "binary, not a list: byte 0x00 in line 1"),
        (gzip.compress(b"ads.example.com\n", mtime=0), "gzip data inside gzip data, not a list"),
        (zipped(), "a zip archive, not a list"),
        (tarred(), "binary, not a list: byte 0x00 in line 1"),
        (bz2.compress(b"ads.example.com\n"), "bzip2 data, not a list"),
        (lzma.compress(b"ads.example.com\n"), "xz data, not a list"),
    ],
)
def test_what_is_no_list_is_told_why(data: bytes, why: str) -> None:
    assert why_not_a_list(data) == why


@pytest.mark.parametrize("octet", range(256))
def test_octets_that_no_text_holds_are_found_wherever_they_are(octet: int) -> None:
    wrong = (octet < 0x20 and octet not in b"\t\n\v\f\r\x1a\x1b") or octet == 0x7F
    for place in (16, 65535, 65536, 200000):
        text = b"ads.example.com\n".ljust(place, b"a") + bytes((octet,)) + b"a" * 9
        assert why_not_a_list(text) == (f"binary, not a list: byte 0x{octet:02x} in line 2" if wrong else None)

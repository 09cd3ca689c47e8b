"""Nothing that stands in a list gets into an output but names: any text in, safe characters and real syntax out."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinkhole.compiler.blocklist import resolve
from sinkhole.exports.fit import fit
from sinkhole.exports.render import render
from sinkhole.formats import FORMATS
from sinkhole.formats.format import Format, Header
from sinkhole.rules import Kind, Rule, Scope
from tests.compiler.test_blocklist import merged

NAMED = [format for format in FORMATS.values() if format.lines]
#: What a name could carry into an output, if it were let through.
NASTY = [
    'a.test" always_transparent',
    "a.test/192.0.2.1",
    "a.test\nserver=/b.test/192.0.2.1",
    "a.test;b.test",
    "$INCLUDE /etc/passwd",
    "include: /etc/passwd",
    "server:\n",
    "a\\.test",
    "a.test\\",
    "*.a.test",
    "=cmd|'/C calc'!A0.test",
    "a.test]]os.exit()--",
    'a.test");alert(1);//',
    "a.test',",
    "a test.test",
    "a.test\x00.test",
    "a.test\u2028.test",
    "-a.test",
    "_a.-b.test",
    "１２７.0.0.1",
    "a\u200db.test",
    "faß.test",
    "xn--a.test",
    "a..test",
    ".".join(["a" * 63] * 3) + ".test",
    "r3---sn-x.test",
    "0.0.0.0",
    "localhost",
]
BEFORE = [
    "",
    "0.0.0.0 ",
    "||",
    "*.",
    ".",
    "=",
    "domain:",
    "local=/",
    'local-zone: "',
    "block tree ",
    'b("',
    '{"name":"',
]
AFTER = ["", "^", "/", '." always_null', " CNAME .", '",3);', '"}', ",tree,block"]

names = st.one_of(
    st.sampled_from(NASTY), st.text(max_size=20), st.from_regex(r"[a-z0-9_-]{1,5}(\.[a-z0-9_-]{1,5}){1,3}")
)
lines = st.builds("{}{}{}".format, st.sampled_from(BEFORE), names, st.sampled_from(AFTER))


def exported(names: dict[Kind, list[bytes]], format: Format) -> bytes:
    stated = [Rule(name.decode(), kind) for kind, found in names.items() for name in found]
    fitted = fit(resolve(merged(stated).masks), (), format)
    return b"".join(render(fitted, format, Header(title='T"\n;\\x')))


def sound(line: str, format: Format) -> bool:
    """Whether a line is one that the format has for a name, or belongs to its frame or header."""
    frame = format.start(Header(title='T"\n;\\x')) + format.end
    if line.encode() in frame.split(b"\n") or (format.comment and line.startswith(format.comment)):
        return True
    if format.name == "json" and line.startswith('{"list": '):
        return bool(json.loads(line))
    dot = re.escape(format.dot.decode())
    name = rf"[a-z0-9_-]{{1,63}}(?:{dot}[a-z0-9_-]{{1,63}})+"
    if format.per_line > 1:
        name = rf"{name}(?: {name})*"
    stated = [text.decode().removesuffix(format.comma.decode()) for text in format.lines.values()]
    lines = [line for text in stated for line in text.split("\n")]
    return any(re.fullmatch(re.escape(text).replace("%s", name) + format.comma.decode() + "?", line) for text in lines)


@settings(max_examples=300)
@given(text=st.lists(lines, max_size=8).map("\n".join))
def test_item_60_whatever_is_read_by_any_reader_is_written_safely_by_every_writer(text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    for source in FORMATS.values():
        names = source.read(data).names
        if names:
            for target in NAMED:
                for line in exported(names, target).decode("ascii").split("\n"):
                    assert sound(line, target), (source.name, target.name, line)


def adversarial() -> dict[Kind, list[bytes]]:
    """Everything that any reader makes of the nasty names in any dress."""
    found: dict[Kind, list[bytes]] = {}
    for source in FORMATS.values():
        for before in BEFORE:
            for after in AFTER:
                text = "\n".join(f"{before}{name}{after}" for name in NASTY)
                for kind, names in source.read(text.encode()).names.items():
                    found.setdefault(kind, []).extend(names)
    for kind in (Kind(Scope.TREE), Kind(Scope.EXACT), Kind(Scope.SUBDOMAINS), Kind(Scope.EXACT, allow=True)):
        found.setdefault(kind, []).extend(
            b"%s%d.x-.-y_.test" % (scope, kind.mask) for scope in (b"_", b"-", b"0", b"a--b")
        )
    return found


CHECKS = {
    "dnsmasq": ["dnsmasq", "--test", "-C", "FILE"],
    "dnsmasq-address": ["dnsmasq", "--test", "-C", "FILE"],
    "dnsmasq-server": ["dnsmasq", "--test", "-C", "FILE"],
    "unbound": ["unbound-checkconf", "FILE"],
    "unbound-null": ["unbound-checkconf", "FILE"],
    "rpz": ["named-checkzone", "-q", "-k", "fail", "rpz.test", "FILE"],
    "knot": ["named-checkzone", "-q", "-k", "fail", "rpz.test", "FILE"],
    "pac": ["node", "--check", "FILE"],
}


@pytest.mark.parametrize("name", CHECKS)
def test_real_programs_accept_every_adversarial_name(name: str, tmp_path: Path, peer: Callable[[str], str]) -> None:
    file = tmp_path / "list.js"
    file.write_bytes(exported(adversarial(), FORMATS[name]))
    program, *arguments = CHECKS[name]
    command = [peer(program), *(str(file) if argument == "FILE" else argument for argument in arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_json_of_every_adversarial_name_parses() -> None:
    assert len(json.loads(exported(adversarial(), FORMATS["json"]))) > 5

"""Scripts: read back line by line, and run by the engines that they are for."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sinkhole.compiler.blocklist import resolve
from sinkhole.exports.fit import fit
from sinkhole.exports.render import render
from sinkhole.formats import FORMATS
from sinkhole.formats.format import Header
from sinkhole.rules import Rule
from tests.compiler.test_blocklist import merged
from tests.formats.lines import Line, check
from tests.lists import NAMES, blocked, strongest
from tests.samples import sample

PAC: list[Line] = [
    ('b("a.test",3);', ["block tree a.test"], []),
    ('b("a.test",1);', ["block exact a.test"], []),
    ('b("a.test",2);', ["block subdomains a.test"], []),
    ('a("a.test",3);', ["allow tree a.test"], []),
    ("// comment", [], []),
    ("  if (scope & 1) exact[name] = blocked;", [], []),
    ('b("a.test",4);', [], ["not a line of such a script"]),
    ('b("a.test",3); alert(1)', [], ["not a line of such a script"]),
    ("function FindProxyForURL(url, host) {", [], ["not a line of such a script"]),
]
LUA: list[Line] = [
    ("block tree a.test", ["block tree a.test"], []),
    ("block exact a.test", ["block exact a.test"], []),
    ("allow subdomains a.test", ["allow subdomains a.test"], []),
    ("-- comment", [], []),
    ("local rules = [[", [], []),
    ("]] os.exit()", [], ["not a line of such a script"]),
]


@pytest.mark.parametrize(("line", "rules", "reasons"), PAC)
def test_lines_of_pac(line: str, rules: list[str], reasons: list[str]) -> None:
    check("pac", line, rules, reasons)


@pytest.mark.parametrize(("line", "rules", "reasons"), LUA)
def test_lines_of_lua(line: str, rules: list[str], reasons: list[str]) -> None:
    check("powerdns", line, rules, reasons)


def script(name: str, stated: list[Rule]) -> str:
    fitted = fit(resolve(merged(stated).masks), (), FORMATS[name])
    assert not fitted.loss
    return b"".join(render(fitted, FORMATS[name], Header(title="T'\"\\"))).decode()


CASES = [sample(random.Random(seed), 6) for seed in range(60)]


def test_a_browser_sends_exactly_the_blocked_names_to_the_proxy(tmp_path: Path, peer: Callable[[str], str]) -> None:
    for number, stated in enumerate(CASES):
        (tmp_path / f"{number}.pac").write_text(script("pac", stated))
    (tmp_path / "run.js").write_text(
        "const fs = require('fs'), out = [];"
        f"for (let n = 0; n < {len(CASES)}; n++) {{"
        "  const ask = new Function(fs.readFileSync(`${n}.pac`, 'utf8') + ';return FindProxyForURL;')();"
        f"  out.push({json.dumps(NAMES)}.filter(name => ask('', name.toUpperCase() + '.') !== 'DIRECT'));"
        "  if (['constructor', '__proto__', '', 'toString.example'].some(name => ask('', name) !== 'DIRECT')) throw n;"
        "}"
        "console.log(JSON.stringify(out));"
    )
    ran = subprocess.run([peer("node"), "run.js"], cwd=tmp_path, capture_output=True, check=True, timeout=60)
    assert [set(found) for found in json.loads(ran.stdout)] == [blocked(strongest, stated) for stated in CASES]


LUA_HARNESS = """
local dn = {}
dn.__index = dn
function newDN(text) return setmetatable({text = text}, dn) end
function dn:toString() return self.text .. "." end
function dn:toStringNoDot() return (self.text:gsub("%.$", "")) end
function dn:chopOff()
  if self.text == "" then return false end
  local label = self.text:match("^[^.\\\\]*\\\\.[^.]*") or self.text:match("^[^.]*")
  self.text = self.text:sub(#label + 2)
  return true
end
pdns = {NXDOMAIN = 3}
dofile(arg[1])
for name in io.lines() do
  local dq = {qname = newDN(name)}
  if preresolve(dq) then assert(dq.rcode == 3); print(name) end
end
"""


def test_the_recursor_blocks_exactly_the_blocked_names(tmp_path: Path, peer: Callable[[str], str]) -> None:
    (tmp_path / "run.lua").write_text(LUA_HARNESS)
    for stated in CASES:
        (tmp_path / "rules.lua").write_text(script("powerdns", stated))
        asked = "\n".join([*NAMES, "x\\.z.test", "com", ""])
        ran = subprocess.run(
            [peer("lua5.1"), "run.lua", "rules.lua"],
            cwd=tmp_path,
            input=asked,
            capture_output=True,
            check=True,
            text=True,
        )
        found = set(ran.stdout.split())
        assert found - {"x\\.z.test"} == blocked(strongest, stated)
        assert not any(rule.name == "x.z.test" for rule in stated)

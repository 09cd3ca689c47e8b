"""Made-up lists of any size, the same for the same seed: ``python -m benchmarks.corpus --count N --form FORM``.

The names look like those of real lists (two to four labels, words, digits, hyphens) and are all below ``test``, which
is reserved (RFC 6761 6.2), so that no benchmark can name or reach anybody.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from zlib import crc32

COUNT = 1_100_000
SEED = 20250205

#: What a tree rule for a name is called elsewhere (``hosts`` and ``domains``: the name alone).
FORMS = {
    "domains": "{0}\n",
    "hosts": "0.0.0.0 {0}\n",
    "adblock": "||{0}^\n",
    "dnsmasq": "address=/{0}/#\n",
    "unbound": 'local-zone: "{0}." always_null\n',
    "rpz": "{0} CNAME .\n*.{0} CNAME .\n",
}
#: What stands before the lines: the least that makes a zone of them.
HEADS = {
    "rpz": "$ORIGIN rpz.invalid.\n$TTL 60\n@ SOA localhost. nobody.invalid. 1 3600 600 86400 60\n@ NS localhost.\n"
}
#: A name of two labels or more in a line of any syntax: all but its top label, and that.
_NAME = re.compile(rb"((?:[A-Za-z0-9_-]{1,63}\.)+)([A-Za-z][A-Za-z0-9-]*[A-Za-z0-9])(?![\w.-])")
_LETTERS = b"abcdefghijklmnopqrstuvwxyz"
_LATER = _LETTERS[13:] + _LETTERS[:13]
_TURNED = bytes.maketrans(_LETTERS + _LETTERS.upper(), _LATER + _LATER.upper())
#: Of a hundred lines, how many a derived list keeps; of how many names, one stays as it is.
_KEPT, _SAME = 84, 3
_CONSONANTS, _VOWELS = "bcdfghjklmnprstvwxz", "aeiou"
_HOSTS = ("ads", "track", "pixel", "cdn", "stats", "click", "www", "m", "api", "go")


def names(count: int = COUNT, seed: int = SEED) -> Iterator[str]:
    """``count`` distinct names, none of them below another that was drawn as a whole domain.

    Half of them are a domain, a third a host of one, the rest one deeper; no domain is drawn twice.
    """
    draw = random.Random(seed)
    seen: set[str] = set()
    while len(seen) < count:
        domain = _word(draw)
        if domain in seen:
            continue
        seen.add(domain)
        depth = draw.random()
        above = "" if depth < 0.5 else f"{_host(draw)}." if depth < 0.85 else f"{_word(draw)}.{_host(draw)}."
        yield f"{above}{domain}.test"


def _word(draw: random.Random) -> str:
    """A label of 4 to 23 characters."""
    syllables = draw.choice((2, 3, 3, 4, 4, 4, 5, 5, 6))
    word = "".join(draw.choice(_CONSONANTS) + draw.choice(_VOWELS) for _ in range(syllables))
    kind = draw.random()
    if kind < 0.2:
        return f"{word}-{_CONSONANTS[int(kind * 90)]}{draw.choice(_VOWELS)}{draw.choice(_CONSONANTS)}"
    return f"{word}{draw.randrange(10_000)}" if kind < 0.5 else word


def _host(draw: random.Random) -> str:
    host = draw.choice(_HOSTS)
    return f"{host}{draw.randrange(100)}" if draw.random() < 0.4 else host


def derive(text: bytes) -> bytes:
    """A list of the same syntax as ``text``, and of like names: most lines, with most names rotated by 13 letters below
    their top label. Names that two lists share are shared by what is derived from them."""
    lines = (line for line in text.split(b"\n") if crc32(line) % 100 < _KEPT)
    return b"\n".join(rotated(line, _SAME) for line in lines)


def rotated(line: bytes, same: int = 0) -> bytes:
    """A line with another name in it, but for one name of ``same``; a comment stays."""
    return line if line.startswith((b"#", b"!", b";")) else _NAME.sub(partial(_rotated, same), line, count=1)


def _rotated(same: int, match: re.Match[bytes]) -> bytes:
    below, top = match.groups()
    return match[0] if same and crc32(below) % same == 0 else below.translate(_TURNED) + top


def write(path: Path, found: Iterable[str], form: str) -> None:
    """A list file of ``found`` in one of :data:`FORMS`."""
    line = FORMS[form].format
    with path.open("w", encoding="ascii") as file:
        file.write(HEADS.get(form, ""))
        file.writelines(map(line, found))


def main() -> None:
    parser = argparse.ArgumentParser(description="Print a made-up list.")
    parser.add_argument("--count", type=int, default=COUNT, help=f"how many names (default: {COUNT})")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--form", choices=FORMS, default="domains")
    arguments = parser.parse_args()
    sys.stdout.writelines(map(FORMS[arguments.form].format, names(arguments.count, arguments.seed)))


if __name__ == "__main__":
    main()

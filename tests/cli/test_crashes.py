"""A build that is killed at any point, or that the disk has no room for, leaves what was there before or what is new.

``SINKHOLE_KILLS=200`` kills more often than a quick run of the tests does.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from sinkhole import bundle
from sinkhole.feeds.store import Store
from tests.conftest import PATIENCE, Site

KILLS = int(os.environ.get("SINKHOLE_KILLS", "25"))

SETTINGS = {
    "lists": {"ads": {"sources": ["./own.txt", "./more.txt"]}},
    "policy": [{"groups": ["all"], "lists": ["ads"]}],
    "exports": {"lists": ["ads", "deepseek"], "formats": ["hosts", "adblock", "domains"]},
}

#: Builds in forked copies of one process, each ordered by a line of JSON: to be killed before a change to the file
#: system (``step``), or after some time (``seconds``). Answers with the status of the process and its number of steps.
BUILDER = """
import json, os, signal, sys, time
import sinkhole.cli
from sinkhole.compiler.tool import tool
tool()  # of the code that was loaded, whatever becomes of the files

def build(step, seconds, limit):
    count = 0
    def hook(event, args):
        nonlocal count
        changes = event in ("os.rename", "os.link", "os.symlink", "os.mkdir", "os.remove", "os.rmdir", "os.utime")
        if changes or (event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR)):
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    if seconds:
        signal.setitimer(signal.ITIMER_REAL, seconds)  # nobody handles SIGALRM, so it kills too
    if limit:
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.argv = ["sinkhole", "build", "-c", "sinkhole.yaml"]
    try:
        sinkhole.cli.main()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    print(count, file=sys.stderr)
    sys.stderr.flush()
    os._exit(code)

for line in sys.stdin:
    order = json.loads(line)
    if not (child := os.fork()):
        for number, name in enumerate(("out", "err"), 1):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        build(**order)
    begun = time.monotonic()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps([status, time.monotonic() - begun]), flush=True)
"""


class Builder:
    """Builds of one site, killed or limited as asked."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.process = subprocess.Popen(
            [sys.executable, "-c", BUILDER], cwd=site.directory, env=site.environ(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def build(self, step: int = 0, seconds: float = 0, limit: int = 0) -> tuple[int, float]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"step": step, "seconds": seconds, "limit": limit}) + "\n")
        self.process.stdin.flush()
        status, took = json.loads(self.process.stdout.readline())
        return status, took

    @property
    def told(self) -> str:
        return (self.site.directory / "err").read_text()

    def close(self) -> None:
        self.process.communicate(timeout=PATIENCE)


@pytest.fixture
def builder(site: Site) -> Iterator[Builder]:
    site.configure(SETTINGS)
    builder = Builder(site)
    yield builder
    builder.close()


def text(version: int) -> str:
    return "".join(f"0.0.0.0 v{version}-{number}.example.com\n" for number in range(40))


def published(site: Site) -> Mapping[str, bytes]:
    exports = site.directory / "exports"
    return {str(path.relative_to(exports)): path.read_bytes() for path in exports.rglob("*") if path.is_file()}


def in_use(site: Site) -> str:
    path = bundle.current(site.state / "bundles")
    assert path
    return bundle.load(path).name


def test_item_83_a_build_that_is_killed_at_any_point_leaves_the_old_or_the_new(builder: Builder) -> None:
    site = builder.site
    chance = random.Random(83)
    known: list[tuple[str, Mapping[str, bytes]]] = []
    site.write("more.txt", "||tree.example.org^\n@@||ok.tree.example.org^\n")
    for version in (0, 1, 0, 1):
        site.write("own.txt", text(version))
        status, took = builder.build()
        assert status == 0, builder.told
        steps = int(builder.told.split()[-1])
        known.append((in_use(site), published(site)))
    assert known[0] == known[2] != known[1] == known[3]
    assert steps > 30

    killed = 0
    for number in range(KILLS):
        site.write("own.txt", text(number % 2))
        if number % 2:
            status, _ = builder.build(step=chance.randint(1, steps))
        else:
            status, _ = builder.build(seconds=chance.uniform(0.001, took))
        killed += status in (-signal.SIGKILL, -signal.SIGALRM)

        assert in_use(site) in (known[0][0], known[1][0])
        for path, content in published(site).items():
            if not Path(path).name.startswith(".tmp-"):
                assert content in (known[0][1][path], known[1][1][path]), path
        for source in ("own.txt", "more.txt"):
            location = str(site.directory / source)
            state = Store(site.state / "feeds").state(location)
            assert hashlib.sha256((site.state / "feeds/blobs" / state.sha256).read_bytes()).hexdigest() == state.sha256
    assert killed > KILLS / 2

    site.write("own.txt", text(1))
    assert builder.build()[0] == 0, builder.told
    site.write("own.txt", text(0))
    assert builder.build()[0] == 0, builder.told
    assert (in_use(site), published(site)) == known[0]
    leftovers = [path.name for path in site.state.rglob(".*")]
    assert leftovers == []


@pytest.mark.parametrize("limit", [300, 700, 3000, 20000, 60000])
def test_item_82_a_full_disk_leaves_what_is_in_use(builder: Builder, limit: int) -> None:
    """The largest file that can be written is ``limit`` octets long: a write beyond it fails as on a full disk."""
    site = builder.site
    site.write("more.txt", "||tree.example.org^\n")
    site.write("own.txt", text(0))
    assert builder.build()[0] == 0, builder.told
    before = in_use(site), published(site)
    new = "".join(f"0.0.0.0 {random.Random(number).randbytes(12).hex()}.example.com\n" for number in range(1500))
    site.write("own.txt", text(0) + new)

    status, _ = builder.build(limit=limit)
    assert status == 1, builder.told
    assert "File too large" in builder.told
    assert "Traceback" not in builder.told
    assert (in_use(site), {path: data for path, data in published(site).items() if ".tmp-" not in path}) == before

    (site.directory / "sinkhole.yaml").touch()
    again = site.run("build", "-c", "sinkhole.yaml", "--accept-change", "--json").data  # there is room again
    assert again["changed"]
    assert in_use(site) != before[0]

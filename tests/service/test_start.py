"""Starts that answer by what was kept: sooner, and never otherwise than a start that works everything out."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import dns.exception
import dns.message
import dns.query
import pytest

from sinkhole import kept
from sinkhole.cli import context
from sinkhole.exports.verify.running import free_port
from sinkhole.files import Lock
from sinkhole.service import configured, start
from tests.certificates import certificate
from tests.cli.conftest import NAMES, Web
from tests.conftest import PATIENCE, Site, children, forwarded
from tests.dnsserver import DnsServer

#: The command, which says whether it has begun, and reads nothing else before there is a file ``go``.
HELD = """
import pathlib, sys, time
from sinkhole.cli import main
from sinkhole.service import start
class Gate:
    def find_spec(self, name, *_):
        while name == "sinkhole.cli.serving" and not pathlib.Path("go").exists():
            time.sleep(0.01)
begin = start.begin
def held(config):
    begun = begin(config)
    print("begun" if begun else "the long way", file=sys.stderr, flush=True)
    if begun:
        sys.meta_path.insert(0, Gate())
    return begun
start.begin = held
main()
"""
OWN = {"lists": {"own": {"sources": ["./own.txt"]}}, "policy": [{"groups": ["all"], "lists": ["own", "deepseek"]}]}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "nothing said": {},
    "a list": OWN,
    "groups and orders": {
        "groups": {"lab": {"clients": ["127.0.0.2"]}},
        "lists": {"own": {"sources": ["./own.txt"]}},
        "policy": [
            {"groups": ["lab"], "lists": ["own"]},
            {"groups": ["all"], "directives": ["kr-mofa-2025-02-05"], "lists": ["deepseek"]},
        ],
        "block": ["bad.test"],
        "allow": ["ads-1.example.com"],
    },
    "answers of its own": {
        **OWN,
        "blocking": {"mode": ["192.0.2.80", "2001:db8::80"], "ttl": 7},
        "records": {"printer.example.com": ["192.0.2.10"]},
        "local": {"hosts": ["./hosts"]},
        "answers": {"rebinding": {"block": True, "allow": ["inside.example"]}},
    },
    "refused clients": {**OWN, "access": {"allow": ["127.0.0.1/32"]}, "blocking": {"mode": "nxdomain"}},
    "two workers and encryption": {**OWN, "workers": 2, "tls": {"cert": "cert.pem", "key": "key.pem"}},
    "no log": {**OWN, "query-log": {"record": "none"}, "cache": {"size": "1MB", "stale": "1h"}},
}
ASKED = (
    ("ads-0.example.com", "A"), ("x.ads-1.example.com", "A"), ("chat.deepseek.com", "AAAA"), ("bad.test", "HTTPS"),
    ("printer.example.com", "A"), ("desk.example.com", "A"), ("unlisted.example.org", "A"),
    ("use-application-dns.net", "A"),
)  # fmt: skip


class Held(NamedTuple):
    """A start that reads no configuration before :meth:`release`."""

    site: Site
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def ask(self, name: str, rtype: str = "A", source: str = "127.0.0.1") -> dns.message.Message | None:
        query = dns.message.make_query(name, rtype, use_edns=0, id=7)
        with suppress(dns.exception.Timeout):
            return dns.query.udp(query, "127.0.0.1", port=self.port, source=source, timeout=1)
        return None

    def answers(self) -> list[str]:
        """What some clients are told of some names, as if nothing that is remembered had aged."""
        clients = ("127.0.0.1", "127.0.0.2")
        told = (str(self.ask(*asked, source=client)) for client in clients for asked in ASKED)
        return [re.sub(r" 2\d\d IN ", " 300 IN ", text) for text in told]

    def wait_for(self, text: str, within: float = PATIENCE) -> None:
        end = time.monotonic() + within
        while text not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.01)

    def release(self) -> None:
        """Let it read all, and wait until what came of that is in force."""
        (self.site.directory / "go").touch()
        self.wait_for("answers on")


@contextmanager
def place(site: Site, settings: Mapping[str, Any]) -> Iterator[int]:
    """The port of a configuration, with an upstream for it."""
    with DnsServer(forwarded) as upstream:
        port = free_port()
        listen: dict[str, Any] = {"dns": [f"127.0.0.1:{port}"]}
        if "tls" in settings:
            listen["dot"] = [f"127.0.0.1:{free_port()}"]
        servers = {"servers": [f"127.0.0.1:{upstream.port}"]}
        site.configure({"workers": 1, "listen": listen, "upstream": servers, **settings})
        yield port


@contextmanager
def held(site: Site, settings: Mapping[str, Any]) -> Iterator[Held]:
    """A start of the command with a configuration."""
    with place(site, settings) as port, started(site, port) as found:
        yield found


@contextmanager
def started(site: Site, port: int, program: str = HELD) -> Iterator[Held]:
    """One more start with the configuration that is there."""
    (site.directory / "go").unlink(missing_ok=True)
    path = site.directory / "held.log"
    with path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", program, "serve", "-c", "sinkhole.yaml"],
            cwd=site.directory, env=site.environ(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        found = Held(site, process, port, path)
        found.wait_for("begun" if program is HELD and (site.state / start.NAME).exists() else "")
        yield found
    finally:
        process.terminate()
        process.wait(PATIENCE)


def prepare(site: Site) -> None:
    site.write("own.txt", NAMES)
    site.write("hosts", "192.0.2.11 desk.example.com\n")
    certificate(site.directory)


def left(site: Site) -> int:
    """Have a start with one list leave what the next one is to begin with; the port of both."""
    prepare(site)
    with held(site, OWN) as begun:
        begun.release()
        return begun.port


@pytest.mark.parametrize("settings", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_the_first_answers_are_those_of_a_start_that_reads_all(site: Site, settings: dict[str, Any]) -> None:
    """Before the configuration is read, after that, and in a start to which nothing was kept, each answer is the same
    to the letter."""
    prepare(site)
    with held(site, settings) as long:
        long.release()
        assert "begun" not in long.log.read_text()
        expected = long.answers()
        assert any("0.0.0.0" in text or "NXDOMAIN" in text for text in expected)
        time.sleep(0.1)  # so that no file counts as changed just now
        long.process.send_signal(signal.SIGTERM)
        long.process.wait(PATIENCE)
        with started(site, long.port) as quick:
            first = quick.answers()
            assert "answers on" not in quick.log.read_text()
            workers = children(quick.process.pid)
            quick.release()
            assert (first, quick.answers()) == (expected, expected)
            assert children(quick.process.pid) == workers  # nobody was replaced
            status = site.run("status", "-c", "sinkhole.yaml", "--json").data
            assert [worker["restarts"] for worker in status["workers"]] == [0] * len(workers)


@pytest.mark.parametrize("settings", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_what_a_build_keeps_is_what_a_start_works_out(
    site: Site, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(site)
    path = site.configure({"state-dir": str(site.state), "upstream": {"servers": ["192.0.2.53"]}, **settings})
    time.sleep(0.05)
    site.run("build", "--no-exports", "-c", path)
    monkeypatch.chdir(site.directory)
    monkeypatch.setenv("XDG_STATE_HOME", str(site.directory / "state"))
    found = start._read(path)
    ctx = context.load(path)
    assert found.places == configured.places(ctx.config)
    made = configured.settings(ctx.config, "", found.places.where)
    assert json.loads(json.dumps(found.settings)) == json.loads(made.line())
    assert oct((site.state / start.NAME).stat().st_mode & 0o777) == "0o600"


@pytest.fixture
def path(site: Site, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with a bundle, in the working directory, to which a start may begin at once."""
    prepare(site)
    settings = {
        **CONFIGURATIONS["answers of its own"],
        "workers": 1,
        "state-dir": str(site.state),
        "listen": {"dns": [f"127.0.0.1:{free_port()}"], "dot": [f"127.0.0.1:{free_port()}"]},
        "tls": {"cert": "cert.pem", "key": "key.pem"},
        "upstream": {"servers": ["192.0.2.53"]},
    }
    path = site.configure(settings)
    resolvers = site.write("resolv.conf", "nameserver 192.0.2.53\n")
    monkeypatch.setattr(start, "RESOLVERS", resolvers)
    time.sleep(0.05)  # a file that changed just now may change again unseen
    site.run("build", "--no-exports", "-c", path)
    monkeypatch.chdir(site.directory)
    for name, value in site.environ().items():
        monkeypatch.setenv(name, value)
    ctx = context.load(path)
    configured.keep(path, start.digest(path), ctx.config, ctx.plan)
    return path


def begins(path: Path | None) -> bool:
    """Whether a start begins at once; it is ended again, and whatever it says, nothing of it is left."""
    before = children(os.getpid())
    begun = start.begin(path)
    if begun:
        with begun:
            assert len(children(os.getpid()) - before) == begun.places.workers
    assert children(os.getpid()) == before
    assert path
    (port,) = re.findall(r'"dns": \[\s*"127.0.0.1:(\d+)', path.read_text())
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", int(port)))
    return begun is not None


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def kept_file(path: Path) -> Path:
    return kept.directory(path.read_bytes()) / start.NAME


def _another_plan(path: Path) -> None:
    """The bundle in use is one that somebody made of another configuration."""
    other = path.with_name("other.yaml")
    other.write_text(json.dumps({**json.loads(path.read_text()), "block": ["other.test"]}))
    from tests.conftest import COMMANDS

    assert COMMANDS.run(["build", "--no-exports", "-c", str(other)], path.parent, dict(os.environ), b"")[0] == 0


def _foreign(path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a file away")
    os.chown(kept_file(path), 12345, -1)


def _linked(path: Path) -> None:
    file = kept_file(path)
    file.rename(file.with_suffix(".old"))
    file.symlink_to(file.with_suffix(".old"))


def _piped(path: Path) -> None:
    file = kept_file(path)
    file.unlink()
    os.mkfifo(file, 0o600)


#: What becomes of the machine between two starts, so that the second one has to read all.
CHANGES: dict[str, Callable[[Path], object]] = {
    "a value of the configuration": lambda path: rewrite(path, '"ttl": 7', '"ttl": 8'),
    "a hosts file": lambda path: rewrite(path.with_name("hosts"), "192.0.2.11", "192.0.2.12"),
    "no hosts file": lambda path: path.with_name("hosts").unlink(),
    "another certificate": lambda path: certificate(path.parent, "other.example.test"),
    "a key that others may read": lambda path: path.with_name("key.pem").chmod(0o644),
    "the system's resolvers": lambda path: rewrite(path.with_name("resolv.conf"), ".53", ".54"),
    "nothing was kept": lambda path: kept_file(path).unlink(),
    "an octet of what was kept": lambda path: rewrite(kept_file(path), "192.0.2.53", "192.0.2.66"),
    "half of what was kept": lambda path: os.truncate(kept_file(path), kept_file(path).stat().st_size // 2),
    "others may read what was kept": lambda path: kept_file(path).chmod(0o640),
    "it belongs to somebody else": _foreign,
    "it is a link": _linked,
    "it is a pipe": _piped,
    "it is no object of ours": lambda path: kept.write(kept_file(path), {"digest": 1}),
    "no bundle": lambda path: (kept_file(path).parent / "bundles" / "current").unlink(),
    "a bundle of another plan": _another_plan,
    "no catalogue": lambda path: os.environ.__setitem__("XDG_STATE_HOME", "/nonexistent"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_changed_a_start_reads_all(path: Path, change: Callable[[Path], object]) -> None:
    assert begins(path)
    change(path)
    assert not begins(path)


def test_another_program_or_catalogue_reads_all(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sys, "version", "another")
        assert not begins(path)
    feeds = tmp_path / "feeds"
    feeds.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(start, "catalogue_directory", lambda: feeds)
        assert not begins(path)
    with monkeypatch.context() as patched:
        patched.chdir(tmp_path / "feeds")
        assert not begins(path)
    assert begins(path)


def test_a_text_of_a_list_that_changed_is_for_later(path: Path) -> None:
    """As ever: what the bundle was made of is compiled anew while it serves."""
    path.with_name("own.txt").write_text(NAMES + "0.0.0.0 more.example.com\n")
    assert begins(path)


def test_a_bundle_that_no_worker_can_read_leaves_nothing_begun(path: Path) -> None:
    current = (kept_file(path).parent / "bundles" / "current").resolve()
    keys = current / "index.keys"
    keys.write_bytes(keys.read_bytes().replace(b"sda", b"sdb"))
    assert not begins(path)
    with Lock(kept_file(path).parent / start.LOCK):
        pass


def test_a_place_that_is_taken_leaves_nothing_begun(path: Path) -> None:
    with Lock(kept_file(path).parent / start.LOCK):
        assert not begins(path)
    (port,) = re.findall(r'"dot": \[\s*"127.0.0.1:(\d+)', path.read_text())
    with socket.create_server(("127.0.0.1", int(port))):
        assert not begins(path)
    assert begins(path)


def test_sockets_of_systemd_are_judged_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert not begins(path)


def test_fail_closed_without_a_feed_keeps_nothing(site: Site) -> None:
    """It is ready at once when the texts are those of the bundle, which takes reading."""
    prepare(site)
    path = site.configure({**OWN, "startup": "fail-closed", "upstream": {"servers": ["192.0.2.53"]}})
    time.sleep(0.05)
    site.run("build", "--no-exports", "-c", path)
    assert not (site.state / start.NAME).exists()


@pytest.mark.parametrize(("mode", "first"), [("fail-closed", "SERVFAIL"), ("open", "192.0.2.99")])
def test_feeds_that_are_not_fetched_yet_count_from_the_first_answer(
    site: Site, web: Web, mode: str, first: str
) -> None:
    settings = {
        "lists": {"own": {"sources": [{"url": web.url, "local": True}]}},
        "policy": [{"groups": ["all"], "lists": ["own"]}],
        "startup": mode,
    }
    with place(site, settings) as port:
        time.sleep(0.05)
        site.run("build", "--no-exports", "-c", "sinkhole.yaml")
        with started(site, port) as quick:
            assert first in str(quick.ask("ads-0.example.com"))
            quick.release()
            quick.wait_for("ready: all lists are in force", 3 * PATIENCE)  # after a build that gives way to all else
            assert "0.0.0.0" in str(quick.ask("ads-0.example.com"))


def test_an_exception_holds_from_the_first_answer_and_a_revoked_one_does_not(site: Site) -> None:
    prepare(site)
    name = "ads-0.example.com"

    def told(*words: str) -> None:
        site.run("exception", *words, "-c", "sinkhole.yaml")

    def first() -> str:
        with started(site, port) as quick:
            assert "answers on" not in quick.log.read_text()
            return str(quick.ask(name))

    with held(site, OWN) as begun:
        begun.release()
        port = begun.port
    asked = ("request", name, "--client", "127.0.0.0/8", "--why", "a test", "--approve", "--for", "1h")
    assert "0.0.0.0" in first()
    told(*asked)
    assert "0.0.0.0" not in first()  # it is forwarded, though the upstream is gone by now
    told("revoke", "x1")
    assert "0.0.0.0" in first()
    told(*asked)
    journal = site.state / "exceptions.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b"a test", b"a rest"))
    with started(site, port, HELD.replace('"begun"', '"began"')) as long:
        long.wait_for("the long way")
        long.wait_for("answers on")
        assert "exceptions stay as they were" in long.log.read_text()
        assert "0.0.0.0" in str(long.ask(name))


def test_a_configuration_that_turns_out_to_be_bad_ends_it_as_ever(site: Site) -> None:
    """The error is the one of any start, and nobody answers afterwards."""
    port = left(site)
    bad = HELD.replace("main()", """
from sinkhole.cli import context
from sinkhole.errors import ConfigError, Problem
def load(path):
    raise ConfigError([Problem("sinkhole.yaml", 3, 5, "policy", "is wrong after all")])
context.load = load
main()
""")  # fmt: skip
    with started(site, port, bad) as quick:
        quick.wait_for("begun")
        assert "0.0.0.0" in str(quick.ask("ads-0.example.com"))
        workers = children(quick.process.pid)
        (site.directory / "go").touch()
        assert quick.process.wait(PATIENCE) == 1
        assert quick.log.read_text() == "begun\nsinkhole: sinkhole.yaml:3:5: policy: is wrong after all\n"
        assert workers
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", port))


def test_a_configuration_that_turns_out_to_want_other_places_gets_them(site: Site) -> None:
    prepare(site)
    with held(site, {**OWN, "workers": 2}) as begun:
        begun.release()
        port = begun.port
    path = site.state / start.NAME
    known = kept.read(path)
    where, _, optional = known[3]
    kept.write(path, [*known[:3], [where, 1, optional], *known[4:]])
    with started(site, port) as quick:
        assert len(children(quick.process.pid)) == 1
        quick.release()
        assert len(children(quick.process.pid)) == 2
        assert "0.0.0.0" in str(quick.ask("ads-0.example.com"))


def test_settings_that_turn_out_to_be_others_take_their_place(site: Site) -> None:
    port = left(site)
    path = site.state / start.NAME
    known = kept.read(path)
    known[-1]["mode"] = "nxdomain"
    kept.write(path, known)
    with started(site, port) as quick:
        assert "NXDOMAIN" in str(quick.ask("ads-0.example.com"))
        quick.release()
        assert "0.0.0.0" in str(quick.ask("ads-0.example.com"))


def test_a_worker_that_dies_before_all_is_read_is_replaced_after(site: Site) -> None:
    port = left(site)
    with started(site, port) as quick:
        (worker,) = children(quick.process.pid)
        os.kill(worker, signal.SIGKILL)
        quick.release()
        assert "0.0.0.0" in str(quick.ask("ads-0.example.com"))


def test_an_order_to_stop_before_all_is_read_leaves_nobody(site: Site) -> None:
    """Not even for a moment: the next start finds its ports free."""
    port = left(site)
    with started(site, port) as quick:
        assert (workers := children(quick.process.pid))
        quick.process.terminate()
        assert quick.process.wait(PATIENCE) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    with started(site, port) as again:
        assert "0.0.0.0" in str(again.ask("ads-0.example.com"))


def modules(code: str, directory: Path, environ: Mapping[str, str]) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        cwd=directory, env=environ, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(done.stdout.split())


def test_a_start_imports_only_what_answers_need(site: Site, path: Path) -> None:
    code = (
        "import pathlib; from sinkhole import cli; from sinkhole.service import start\n"
        f"start.RESOLVERS = pathlib.Path({str(start.RESOLVERS)!r})\n"
        f"begun = start.begin(pathlib.Path({str(path)!r})); assert begun; begun.__exit__(None, None, None)"
    )
    heavy = {"asyncio", "logging", "pydantic", "yaml", "typer", "dns", "dnslib", "ssl", "requests", "sinkhole.config"}
    assert not heavy & modules(code, site.directory, dict(os.environ))


def test_a_worker_imports_only_what_answers_need(site: Site) -> None:
    heavy = {"idna", "re2", "zoneinfo", "dnslib", "shutil", "tempfile", "httpx", "yaml", "pydantic", "sinkhole.config"}
    assert not heavy & modules("import sinkhole.service.worker", site.directory, dict(os.environ))

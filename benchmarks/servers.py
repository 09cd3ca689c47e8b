"""The servers that are compared: how each is given the list, started on one core, and asked whether it answers rightly.

Each runs with one thread and with what its documentation recommends for much load; none writes a log of queries but
ours, which has everything on that an installation has. A server blocks a name when it answers NXDOMAIN, or with the
address 0.0.0.0; each does what it is fastest at. All forward to one upstream, an Unbound of its own that has an
address for every name.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import dns.message
import dns.query
import dns.rcode
from dns.exception import DNSException

from benchmarks import corpus
from benchmarks.running import family, processor, wait_blocked
from sinkhole.config import Config
from sinkhole.exports.verify.running import free_port

OURS, BARE, OTHER = "sinkhole", "sinkhole-bare", "sinkhole-other"
#: Seconds: until a server has read the list, until one has ended, and for one answer when it is checked.
START, STOP, PATIENCE = 180.0, 10.0, 5.0
#: Seconds of which a server that has nothing to do uses at most a tenth.
IDLE = 0.5
#: The address that the upstream has for every name.
ADDRESS = "192.0.2.1"
#: Names of the list, and names beside it, that a server is asked for before it is measured.
SAMPLE = 50


class WrongAnswer(Exception):
    """A server that answers wrongly is not measured."""


class Place(NamedTuple):
    """Where a server runs: its directory for files, its ports for DNS and for DNS over TLS, the port of the upstream,
    and how many processes of ours answer."""

    directory: Path
    port: int
    tls: int
    upstream: int
    workers: int = 1

    @property
    def cert(self) -> Path:
        return self.directory / "cert.pem"

    @property
    def key(self) -> Path:
        return self.directory / "key.pem"


class Server(NamedTuple):
    """How to run a server: the program, what makes it print its version, the form of its list, what ``start`` makes of
    the list and the place (files, and the command that stays in the foreground), and whether it offers DNS over TLS."""

    program: str
    version: str
    form: str
    start: Callable[[Path, Place], Sequence[str]]
    dot: bool = False


class Running(NamedTuple):
    """A server that answers; the seconds from each start of it to the first right answer; what it was found to answer
    for blocked names."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    tls: int | None
    version: str
    ready: Sequence[float]
    directory: Path
    blocked: str = ""


_OURS = """\
state-dir: {place.directory}/state
workers: {place.workers}
listen: {{dns: ["127.0.0.1:{place.port}"], dot: ["127.0.0.1:{place.tls}"]}}
tls: {{cert: {place.cert}, key: {place.key}}}
upstream: {{servers: ["127.0.0.1:{place.upstream}"]}}
local: {{forward: [test]}}
exports: {{dir: {place.directory}/exports}}
lists: {{bench: {{sources: ["{listed}"]}}}}
"""
_POLICY = """\
groups:
  staff: {clients: [127.0.0.0/8, 10.20.0.0/16]}
  pupils: {clients: [10.30.0.0/16, "2001:db8:30::/48"]}
  guests: {clients: [10.40.0.0/16]}
policy:
  - {groups: [staff], directives: [kr-mofa-2025-02-05]}
  - {groups: [pupils], lists: [deepseek, bench]}
  - {groups: [guests], lists: [deepseek], action: observe}
  - {groups: [all], lists: [bench]}
"""
#: What can be turned off is, and one list is for everyone.
_BARE = "policy: [{groups: [all], lists: [bench]}]\naccess: {open: true}\nrate-limit: {queries: 0}\n"
_NO_LOG = "query-log: {record: none}\n"


def _sinkhole(policy: str, python: str, listed: Path, place: Place) -> Sequence[str]:
    config = place.directory / "sinkhole.yaml"
    config.write_text(_OURS.format(place=place, listed=listed) + policy)
    command = (python, "-m", "sinkhole")
    build = [*command, "build", "-c", str(config), "--no-exports"]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL, cwd=place.directory)
    return (*command, "serve", "-c", str(config))


def _ours(policy: str, python: str = sys.executable) -> Server:
    return Server(python, "-m sinkhole version", "adblock", partial(_sinkhole, policy, python), True)


def _dnsmasq(listed: Path, place: Place) -> Sequence[str]:
    return (
        "dnsmasq", "--keep-in-foreground", f"--conf-file={listed}", "--pid-file=", "--user=", "--group=", "--no-resolv",
        "--no-hosts", f"--port={place.port}", "--listen-address=127.0.0.1", "--bind-interfaces", "--cache-size=10000",
        f"--server=127.0.0.1#{place.upstream}", "--dns-forward-max=10000",
    )  # fmt: skip


_UNBOUND = """\
server:
  interface: 127.0.0.1@{place.port}
  interface: 127.0.0.1@{place.tls}
  tls-port: {place.tls}
  tls-service-pem: "{place.cert}"
  tls-service-key: "{place.key}"
  num-threads: 1
  username: ""
  chroot: ""
  directory: "{place.directory}"
  pidfile: ""
  use-syslog: no
  do-not-query-localhost: no
  incoming-num-tcp: 1000
  outgoing-range: 8192
  num-queries-per-thread: 4096
  msg-cache-size: 50m
  rrset-cache-size: 100m
  so-rcvbuf: 4m
  so-sndbuf: 4m
  local-zone: "test." nodefault
  {rules}
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@{place.upstream}
"""


def _unbound(rules: str, listed: Path, place: Place) -> Sequence[str]:
    config = place.directory / "unbound.conf"
    config.write_text(_UNBOUND.format(place=place, rules=rules.format(listed=listed)))
    return "unbound", "-d", "-c", str(config)


_UNBOUND_ZONES = 'module-config: "iterator"\n  include: "{listed}"'
_UNBOUND_RPZ = 'module-config: "respip iterator"\nrpz:\n  name: "rpz.invalid"\n  zonefile: "{listed}"'

_NAMED = """\
options {{
  directory "{place.directory}"; pid-file none; session-keyfile none;
  listen-on port {place.port} {{ 127.0.0.1; }};
  listen-on port {place.tls} tls local {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  forward only; forwarders {{ 127.0.0.1 port {place.upstream}; }}; dnssec-validation no;
  recursive-clients 10000; tcp-clients 1000; minimal-responses yes;
  response-policy {{ zone "rpz.invalid"; }} qname-wait-recurse no nsip-enable no nsdname-enable no;
}};
tls local {{ cert-file "{place.cert}"; key-file "{place.key}"; }};
controls {{ }};
logging {{ category rpz {{ null; }}; }};
zone "rpz.invalid" {{ type primary; file "{listed}"; }};
"""


def _named(listed: Path, place: Place) -> Sequence[str]:
    config = place.directory / "named.conf"
    config.write_text(_NAMED.format(place=place, listed=listed))
    return "named", "-g", "-n", "1", "-c", str(config)


_KRESD = """\
log_target('stderr')
net.listen('127.0.0.1', {place.port}, {{ kind = 'dns' }})
net.listen('127.0.0.1', {place.tls}, {{ kind = 'tls' }})
net.tls('{place.cert}', '{place.key}')
net.ipv6 = false
cache.open(200 * MB, 'lmdb://{place.directory}')
trust_anchors.remove('.')
modules.unload('ta_update')
modules.unload('ta_signal_query')
modules.unload('priming')
modules.unload('detect_time_skew')
policy.add(policy.rpz(policy.DENY, '{listed}', false))
policy.add(policy.all(policy.STUB('127.0.0.1@{place.upstream}')))
"""


def _kresd(listed: Path, place: Place) -> Sequence[str]:
    config = place.directory / "kresd.conf"
    config.write_text(_KRESD.format(place=place, listed=listed))
    return "kresd", "-n", "-c", str(config), str(place.directory)


def _recursor(listed: Path, place: Place) -> Sequence[str]:
    rules = place.directory / "rpz.lua"
    rules.write_text(f'rpzFile("{listed}", {{policyName="bench", ignoreDuplicates=true}})\n')
    return (
        "pdns_recursor", f"--config-dir={place.directory}", "--socket-dir=.", "--daemon=no",
        "--write-pid=no", "--local-address=127.0.0.1", f"--local-port={place.port}", f"--lua-config-file={rules}",
        f"--forward-zones-recurse=.=127.0.0.1:{place.upstream}", "--dont-query=", "--dnssec=off", "--threads=1",
        "--pdns-distributes-queries=no", "--security-poll-suffix=", "--quiet=yes", "--loglevel=3",
        "--max-tcp-per-client=0", "--max-tcp-clients=1000", "--hint-file=no",
    )  # fmt: skip


_DNSDIST = """\
setLocal("127.0.0.1:{place.port}", {{reusePort=true}})
addTLSLocal("127.0.0.1:{place.tls}", "{place.cert}", "{place.key}", {{reusePort=true}})
setSecurityPollSuffix("")
newServer({{address="127.0.0.1:{place.upstream}"}}):setUp()
getPool(""):setCache(newPacketCache(100000))
local blocked = newSuffixMatchNode()
for name in io.lines("{listed}") do blocked:add(newDNSName(name)) end
addAction(SuffixMatchNodeRule(blocked, true), RCodeAction(DNSRCode.NXDOMAIN, {{ra=true}}))
"""


def _dnsdist(listed: Path, place: Place) -> Sequence[str]:
    config = place.directory / "dnsdist.conf"
    config.write_text(_DNSDIST.format(place=place, listed=listed))
    return "dnsdist", "--supervised", "--disable-syslog", "-C", str(config)


_OFF = _BARE + (_NO_LOG if "query_log" in Config.model_fields else "")

SERVERS = {
    OURS: _ours(_POLICY),
    BARE: _ours(_OFF),
    "dnsmasq": Server("dnsmasq", "--version", "dnsmasq", _dnsmasq),
    "unbound": Server("unbound", "-V", "unbound", partial(_unbound, _UNBOUND_ZONES), True),
    "unbound-rpz": Server("unbound", "-V", "rpz", partial(_unbound, _UNBOUND_RPZ), True),
    "kresd": Server("kresd", "-V", "rpz", _kresd, True),
    "pdns-recursor": Server("pdns_recursor", "--version", "rpz", _recursor),
    "dnsdist": Server("dnsdist", "-V", "domains", _dnsdist, True),
    "named": Server("named", "-v", "rpz", _named, True),
}
PEERS = [name for name in SERVERS if name not in (OURS, BARE)]


def add_other(python: str) -> None:
    """Another version of ours, which the interpreter ``python`` finds."""
    SERVERS[OTHER] = _ours(_POLICY, python)


def installed(name: str) -> bool:
    return has(SERVERS[name].program)


def has(program: str) -> bool:
    return shutil.which(program) is not None


@contextmanager
def running(
    name: str, listed: Sequence[str], directory: Path, core: str, forward: int, starts: int = 1, workers: int = 1
) -> Iterator[Running]:
    """Start a server on ``core``, as taskset(1) understands it, and wait until it blocks the last name of the list."""
    server = SERVERS[name]
    place = Place(directory / name, free_port(), free_port(), forward, workers)
    place.directory.mkdir()
    path = place.directory / "list.txt"
    corpus.write(path, listed, server.form)
    certificate(place)
    command = ["taskset", "-c", core, *server.start(path, place)]
    ready: list[float] = []
    with (place.directory / "log").open("wb") as log, ExitStack() as stack:
        for count in range(starts):
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=place.directory)
            stopping = stack.enter_context(ExitStack())
            stopping.callback(stop, process)
            try:
                names = (listed[-1], *sample(listed))
                ready.append(wait_blocked(place.port, START, *names, going=partial(alive, process)))
            except TimeoutError as error:
                raise WrongAnswer(f"{error}\n{(place.directory / 'log').read_text()[-2000:]}") from None
            if count < starts - 1:
                stopping.close()
        tls = place.tls if server.dot else None
        found = Running(name, process, place.port, tls, version(name), ready, place.directory)
        settle(process.pid)
        yield found._replace(blocked=check(found, listed))


def settle(pid: int) -> None:
    """Wait until a server has done what it does after its start, so that it does not disturb the others."""
    before, end = -1.0, time.monotonic() + START
    while (now := processor(pid)) > before + IDLE / 10 and time.monotonic() < end:
        before = now
        time.sleep(IDLE)


def alive(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is None


def workers(pid: int) -> list[int]:
    """The processes of ours below ``pid`` that answer; none for any other server."""
    return [each for each in family(pid) if b"sinkhole.service.worker" in _command(each)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # ended just now
        return b""


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP)
    except subprocess.TimeoutExpired:
        for pid in family(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()


def version(name: str) -> str:
    """The first number with a dot that the program prints of itself, on whatever output."""
    server = SERVERS[name]
    done = subprocess.run(
        [server.program, *server.version.split()], capture_output=True, text=True, check=False, cwd="/"
    )
    match = re.search(r"\d+\.\d+[\w.+-]*", done.stdout + done.stderr)
    return match[0] if match else "of unknown version"


def certificate(place: Place) -> None:
    """A certificate of its own for DNS over TLS."""
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    names = ["-keyout", str(place.key), "-out", str(place.cert)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)


def sample(listed: Sequence[str]) -> list[str]:
    """Some names of the list, always the same."""
    return random.Random(0).sample(listed, min(SAMPLE, len(listed)))


def check(server: Running, listed: Sequence[str]) -> str:
    """The RCODE that names of the list get, and all below them, over UDP, TCP and TLS; names beside them have to get
    the upstream's address. Raises WrongAnswer."""
    chosen = sample(listed)
    known, rcodes = set(listed), set()
    for name in chosen:
        above = name.partition(".")[2]
        for asked in (name, f"below.{name}", name.upper(), f"two.Labels.{name}"):
            rcodes.add(_blocked(asked, _answer(server, asked)))
        for asked in (f"x{name}", f"{name}.example", *([above] if above.count(".") and above not in known else ())):
            _forwarded(asked, _answer(server, asked))
    rcodes.add(_blocked(chosen[0], _answer(server, chosen[0], dns.query.tcp)))
    if server.tls:
        rcodes.add(_blocked(chosen[0], _answer(server, chosen[0], dns.query.tls)))
    if len(rcodes) != 1:
        raise WrongAnswer(f"names of the list get {sorted(rcodes)}")
    return rcodes.pop()


def _answer(server: Running, name: str, ask: Callable[..., dns.message.Message] = dns.query.udp) -> dns.message.Message:
    query = dns.message.make_query(name, "A", use_edns=0)
    tls = {"verify": False} if ask is dns.query.tls else {}
    try:
        return ask(query, "127.0.0.1", PATIENCE, server.tls if tls else server.port, **tls)
    except (DNSException, OSError) as error:
        raise WrongAnswer(f"{name} over {ask.__name__}: {error!r}") from None


def _blocked(name: str, answer: dns.message.Message) -> str:
    rcode = dns.rcode.to_text(answer.rcode())
    addresses = _addresses(answer)
    if (rcode, addresses) not in (("NXDOMAIN", []), ("NOERROR", ["0.0.0.0"])):
        raise WrongAnswer(f"{name} is on the list and gets {rcode} {addresses}")
    return rcode


def _forwarded(name: str, answer: dns.message.Message) -> None:
    if answer.rcode() or _addresses(answer) != [ADDRESS]:
        raise WrongAnswer(f"{name} is not on the list and gets {answer}")


def _addresses(answer: dns.message.Message) -> list[str]:
    return [str(record) for found in answer.answer for record in found]

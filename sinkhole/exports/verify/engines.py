"""Real software that loads an export, and what it makes of questions then.

Each engine runs alone, as nobody, on a free port of 127.0.0.1 and in a directory of its own. What it does not take is
an :class:`~sinkhole.exports.verify.running.EngineError` with its own words. What it blocks by itself (RFC 6761) is
switched off, so that only the file decides.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from string import Template
from typing import BinaryIO, NamedTuple

from sinkhole.exports.verify import packets, running
from sinkhole.exports.verify.asking import PASSED, A, Question, Upstream, ask
from sinkhole.exports.verify.running import EngineError, Ran

#: Seconds until an engine must answer with its list loaded.
PATIENCE = 120
_UP = Question("engine-is-up.example")
ZONE = "sinkhole-rpz.example"

_DNSMASQ = """\
no-resolv
no-hosts
no-poll
bind-interfaces
listen-address=127.0.0.1
port=$port
server=127.0.0.1#$upstream
dns-forward-max=4096
cache-size=0
user=
pid-file=
"""
_UNBOUND = """\
server:
  do-daemonize: no
  interface: 127.0.0.1
  port: $port
  username: ""
  chroot: ""
  directory: "$directory"
  pidfile: ""
  use-syslog: no
  num-threads: 1
  do-not-query-localhost: no
  module-config: "$modules"
  unblock-lan-zones: yes
  insecure-lan-zones: yes
  local-zone: "test." nodefault
  local-zone: "invalid." nodefault
  local-zone: "onion." nodefault
  local-zone: "home.arpa." nodefault
  num-queries-per-thread: 512
remote-control:
  control-enable: no
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@$upstream
"""
_NAMED = f"""\
options {{
  directory "$directory";
  listen-on port $port {{ 127.0.0.1; }};
  listen-on-v6 {{ none; }};
  pid-file none;
  session-keyfile none;
  lock-file none;
  recursion yes;
  recursive-clients 10000;
  forwarders port $upstream {{ 127.0.0.1; }};
  forward only;
  dnssec-validation no;
  empty-zones-enable no;
  qname-minimization off;
  max-cache-size 64m;
  fetches-per-server 0;
  fetches-per-zone 0;
  max-clients-per-query 0;
  response-policy {{ zone "{ZONE}"; }} qname-wait-recurse no min-ns-dots 0;
}};
controls {{ }};
zone "{ZONE}" {{ type primary; file "$file"; notify no; }};
"""
_KRESD = """\
net.listen('127.0.0.1', $port, {kind = 'dns'})
cache.size = 20 * MB
trust_anchors.remove('.')
policy.special_names = {}
local list = policy.rpz(policy.DENY, '$file', false)
policy.add(function (request, query)
  local action = list(request, query)
  if action ~= policy.PASS then return action end -- which would end the rules before the one that forwards
end)
policy.add(policy.all(policy.STUB('127.0.0.1@$upstream')))
"""
_RECURSOR = """\
local-address=127.0.0.1
local-port=$port
forward-zones-recurse=.=127.0.0.1:$upstream
dont-query=
allow-from=127.0.0.0/8
socket-dir=$directory
daemon=no
disable-syslog=yes
write-pid=no
setuid=
setgid=
threads=1
dnssec=off
export-etc-hosts=no
serve-rfc1918=no
any-to-tcp=no
security-poll-suffix=
qname-minimization=no
max-mthreads=512
"""
_DNSDIST = """\
setLocal('127.0.0.1:$port')
setACL({'127.0.0.0/8'})
setSecurityPollSuffix('')
newServer({address = '127.0.0.1:$upstream', sockets = 1}):setUp()
dofile('$file')
"""
_SQUID = """\
http_port 127.0.0.1:$port
acl blocked dstdomain "$file"
deny_info 410:ERR_ACCESS_DENIED blocked
http_access deny blocked
http_access deny all
cache deny all
cache_mem 8 MB
pid_filename none
access_log none
cache_log /dev/stderr
cache_store_log none
netdb_filename none
coredump_dir $directory
dns_nameservers 127.0.0.1
pinger_enable off
workers 1
max_filedescriptors 1024
shutdown_lifetime 0 seconds
"""
_PAC = """\
const text = require('fs').readFileSync(0, 'utf8').split('\\n');
const scope = {};
require('vm').createContext(scope);
require('vm').runInContext(require('fs').readFileSync(process.argv[1], 'utf8'), scope);
const found = text.map(name => scope.FindProxyForURL('https://' + name + '/', name));
console.log(JSON.stringify(found));
"""


class Setting(NamedTuple):
    """Where an engine is to run: its directory with the file in it, the format of that, and the engine's port."""

    directory: Path
    file: Path
    format: str
    port: int


#: A setting and questions to a word for each.
Judge = Callable[[Setting, Sequence[Question]], list[str]]


class Engine(NamedTuple):
    """A program, the arguments that make it tell its version, and how it takes each format that it reads.

    ``asked`` tells which questions it can be asked. It is ``blind`` where it does not tell one kind of block from
    another, and says ``drop`` with the word in ``dropping``.
    """

    name: str
    program: str
    version: tuple[str, ...]
    judges: Mapping[str, Judge]
    asked: Callable[[str, Question], bool] = lambda format, question: True
    blind: bool = False
    dropping: str = "drop"

    def installed(self) -> str | None:
        """Its version, or nothing when it is not installed."""
        if not (path := running.find(self.program)):
            return None
        with suppress(OSError, subprocess.TimeoutExpired):
            ran = subprocess.run([path, *self.version], capture_output=True, text=True, timeout=30, check=False)
            if found := re.search(r"\d+\.\d+[\w.]*", ran.stdout + ran.stderr):
                return found[0]
        return "?"


def _serve(
    command: Sequence[str], setting: Setting, config: str, complaint: str, asked: Callable[[Ran], list[str]]
) -> list[str]:
    """Run a server with a configuration, and ask it when it is up. What it says that fits ``complaint`` is a
    refusal."""
    path = setting.directory / "config"
    path.write_text(config)
    running.give(setting.directory)
    program, *arguments = command
    words = [running.find(program) or program, *(part.replace("CONFIG", str(path)) for part in arguments)]
    with running.running(words, setting.directory) as ran:
        found = asked(ran)
        told = ran.told()
    if match := re.search(complaint, told, re.M | re.I):
        raise EngineError(f"{program} says: {_line(told, match.start())}")
    return found


def _line(text: str, at: int) -> str:
    start = text.rfind("\n", 0, at) + 1
    return text[start:].partition("\n")[0].strip()[:300]


def wait(ran: Ran, up: Callable[[], bool]) -> None:
    """Wait until a program is up."""
    end = time.monotonic() + PATIENCE
    while True:
        if ran.process.poll() is not None:
            raise EngineError(f"it ended with {ran.process.returncode}: {' / '.join(ran.told().split(chr(10))[-6:])}")
        if time.monotonic() > end:
            raise EngineError(f"it did not answer within {PATIENCE} seconds: {ran.told()[-300:]}")
        if up():
            return
        time.sleep(0.05)


def _dns(template: str, command: Sequence[str], complaint: str = r"\berror:", **more: str) -> Judge:
    """A server of names with the configuration ``template`` in its file."""

    def judge(setting: Setting, questions: Sequence[Question]) -> list[str]:
        with Upstream() as upstream:

            def asked(ran: Ran) -> list[str]:
                wait(ran, lambda: ask(setting.port, [_UP], [0.1]) != ["drop"])
                return ask(setting.port, questions)

            places = {"port": str(setting.port), "upstream": str(upstream.port)}
            places |= {"file": str(setting.file), "directory": str(setting.directory)}
            for name, text in more.items():
                (setting.directory / name).write_text(Template(text).substitute(places))
            return _serve(command, setting, Template(template).substitute(places), complaint, asked)

    return judge


def _dnsmasq(line: str) -> Judge:
    command = ["dnsmasq", "--keep-in-foreground", "--log-facility=-", "--conf-file=CONFIG"]
    return _dns(_DNSMASQ + line + "\n", command, r"\bbad (?:name|address|option)|\berror\b")


def _unbound(more: str, modules: str = "iterator") -> Judge:
    return _dns(_UNBOUND.replace("$modules", modules) + more + "\n", ["unbound", "-d", "-c", "CONFIG"], r"\berror:")


def _recursor(line: str, **more: str) -> Judge:
    arguments = ["pdns_recursor", "--config-dir=.", "--config-name="]
    return _dns("", arguments, r"unable to (load|parse)|error|exception", **{"recursor.conf": _RECURSOR + line, **more})


def _proxy(setting: Setting, questions: Sequence[Question]) -> list[str]:
    """Squid is asked for pages: 410 is what its list forbids, 403 what is forbidden here anyway."""

    def up() -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", setting.port), 1):
            return True
        return False

    def asked(ran: Ran) -> list[str]:
        wait(ran, up)
        with socket.create_connection(("127.0.0.1", setting.port), 60) as client, client.makefile("rb") as answers:
            return [_page(client, answers, question.name) for question in questions]

    config = Template(_SQUID).substitute(port=setting.port, file=setting.file, directory=setting.directory)
    return _serve(["squid", "-N", "-f", "CONFIG"], setting, config, r"\b(error|warning|fatal):.*(subdomain|acl)", asked)


def _page(client: socket.socket, answers: BinaryIO, name: str) -> str:
    client.sendall(f"HEAD http://{name}/ HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    status = answers.readline()[9:12].decode("latin-1")
    while answers.readline().strip():
        pass
    return {"410": "refused", "403": PASSED}.get(status, f"status {status}")


def _script(setting: Setting, questions: Sequence[Question]) -> list[str]:
    """A browser's script, run by node in a context of its own."""
    names = "\n".join(question.name for question in questions)
    program = running.find("node") or "node"
    running.give(setting.directory)
    ran = subprocess.run(
        [*running.unprivileged(), program, "-e", _PAC, str(setting.file)], input=names, capture_output=True, text=True,
        timeout=PATIENCE, env=running.environment(setting.directory), check=False,
    )  # fmt: skip
    if ran.returncode:
        raise EngineError(f"node says: {ran.stderr.strip()[-300:]}")
    return [PASSED if found == "DIRECT" else "refused" for found in json.loads(ran.stdout)]


def _is_name(format: str, question: Question) -> bool:
    return question.type == A and not question.name.startswith("ip-")


def _dnsmasq_asked(format: str, question: Question) -> bool:
    """A hosts file says nothing about types that are no addresses, and of one family nothing about the other."""
    return format not in ("hosts", "coredns", "hosts-windows") or question.type == A


def _is_address(format: str, question: Question) -> bool:
    return bool(question.addresses()) and question.name.startswith("ip-")


_ZONES = ("rpz", "rpz-nodata", "rpz-drop", "rpz-tcp-only")
_RPZ = "rpz:\n  name: {zone}\n  zonefile: $file\n"
_LOG = r"zone {zone}/IN: .*(?:error|fail|bad|ignor|not loaded)|/list:\d+:|invalid rpz|rpz .* bad"
ENGINES = {
    engine.name: engine
    for engine in (
        Engine(
            "named", "named", ("-v",),
            dict.fromkeys(
                _ZONES, _dns(_NAMED, ["named", "-f", "-g", "-n", "1", "-c", "CONFIG"], _LOG.format(zone=ZONE))
            ),
        ),
        Engine(
            "unbound", "unbound", ("-V",),
            {
                "unbound": _unbound('include: "$file"'),
                "unbound-null": _unbound('include: "$file"'),
                **dict.fromkeys(_ZONES, _unbound(_RPZ.format(zone=ZONE), "respip iterator")),
            },
        ),
        Engine(
            "kresd", "kresd", ("--version",),
            {"knot": _dns(_KRESD, ["kresd", "-n", "-c", "CONFIG", "."], r"RPZ \S+:\d+|error")},
            dropping="servfail",
        ),
        Engine(
            "pdns_recursor", "pdns_recursor", ("--version",),
            {
                **dict.fromkeys(
                    _ZONES, _recursor("lua-config-file=rpz.lua\n", **{"rpz.lua": "rpzFile('$file')\n"})
                ),
                "powerdns": _recursor("lua-dns-script=$file\n"),
            },
        ),
        Engine(
            "dnsmasq", "dnsmasq", ("-v",),
            {
                **dict.fromkeys(("dnsmasq", "dnsmasq-address", "dnsmasq-server"), _dnsmasq("conf-file=$file")),
                **dict.fromkeys(("hosts", "hosts-dual", "hosts-windows", "coredns"), _dnsmasq("addn-hosts=$file")),
            },
            _dnsmasq_asked,
        ),
        Engine(
            "dnsdist", "dnsdist", ("--version",),
            {"dnsdist": _dns(_DNSDIST, ["dnsdist", "--supervised", "-C", "CONFIG"], r"error|fatal")},
        ),
        Engine("squid", "squid", ("-v",), {"squid": _proxy}, _is_name, True),
        Engine("node", "node", ("--version",), {"pac": _script}, _is_name, True),
        Engine("nft", "nft", ("--version",), {"nftables": packets.through_nft}, _is_address, True),
        Engine("ipset", "ipset", ("--version",), {"ipset": packets.in_ipset}, _is_address, True),
    )
}  # fmt: skip

import json
import os
import random
import re
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import get_args

import certifi
import pytest
from pydantic import BaseModel

from sinkhole import config
from sinkhole.catalogue.loader import Catalogue
from sinkhole.catalogue.loader import load as load_catalogue
from sinkhole.catalogue.model import ListSource, ServiceRef, Target
from sinkhole.config import Config, Endpoint, Server, commented_example, parse_endpoint, parse_server, schema
from sinkhole.errors import ConfigError
from sinkhole.formats import FORMATS
from sinkhole.policy.verdict import Action
from sinkhole.resolver.access import PRIVATE
from sinkhole.rules import Scope

HERE = Path(__file__).parent
CERTIFICATE = (
    Path(certifi.where()).read_text().partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
)
DOCS = HERE.parent / "docs" / "configuration.md"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


@pytest.fixture
def load(tmp_path: Path, catalogue: Catalogue) -> "Load":
    (tmp_path / "own-ca.pem").write_text(CERTIFICATE)  # which the example names
    return Load(tmp_path / "sinkhole.yaml", catalogue)


class Load:
    """Loads a text as the file ``path``."""

    def __init__(self, path: Path, catalogue: Catalogue) -> None:
        self.path = path
        self.catalogue = catalogue

    def __call__(self, text: str) -> Config:
        self.path.write_text(text)
        return config.load(self.path, self.catalogue)


def uncommented(text: str) -> str:
    """An example file with its commented settings in force."""
    return re.sub(r"(?m)^(\s*)#(?! \S)", r"\1", text)


def test_no_file_is_the_defaults(catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    found = config.load(None, catalogue)
    assert found.listen.dns == (Endpoint("127.0.0.1", 5353), Endpoint("::1", 5353))
    assert found.workers == os.cpu_count()
    assert found.upstream.servers == ()
    assert found.upstream.timeout == 2.0
    assert found.blocking == config.Blocking(mode="null-ip", ttl=60)
    assert [*map(int, (found.cache.size, found.cache.stale, found.cache.max_ttl))] == [4 << 20, 86_400, 86_400]
    assert (found.answers.cloaking, found.answers.rebinding.block) == (True, False)
    assert found.policy == catalogue.policy
    assert found.state_dir == tmp_path / "sinkhole"
    assert found.exports.dir == tmp_path / "exports"
    assert found.exports.formats == tuple(FORMATS)
    assert found.all_lists(catalogue) == catalogue.lists
    assert found.where("block", 0) == ("", 0)


@pytest.mark.parametrize("home", ["", "relative/is/ignored"])
def test_without_a_state_home_state_is_below_the_home(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", home)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Config().state_dir == tmp_path / ".local" / "state" / "sinkhole"


def test_an_empty_file_is_the_defaults(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(load.path.parent)
    assert load("# nothing\n").model_dump() == config.load(None, load.catalogue).model_dump()


def test_every_key_becomes_its_type(load: Load) -> None:
    found = load(
        """
state-dir: state
workers: 3
listen: {dns: ["192.0.2.1:0", "[2001:db8::1]:53"]}
upstream: {servers: [192.0.2.53, "tcp://[2001:db8::53]:853"], timeout: 500ms}
cache: {size: 512KB, min-ttl: 10, max-ttl: 600, stale: off, prefetch: false}
answers: {cloaking: false, rebinding: {block: true, allow: [Corp.example, =lan, 10.0.0.0/8, "fd00::/8"]}}
blocking: {mode: [192.0.2.80, "2001:db8::80"], ttl: 0}
groups: {office: {clients: [192.0.2.0/25, "2001:db8::/64", 192.0.2.200]}}
lists:
  ads:
    type: allow
    sources: [stevenblack, ./own.txt, "https://example.org/l.txt", {path: /abs.txt, format: hosts, subdomains: true}]
    services: [deepseek, "deepseek:core,api"]
    block: [Example.COM., "=bücher.example"]
    allow: [ok.example.com]
    updated: 2026-01-31
    canary: canary.example.com
policy: [{groups: [office, all], lists: [ads, deepseek], directives: [kr-mofa-2025-02-05], action: warn}]
block: [bad.example]
allow: [=good.bad.example]
exports: {dir: out, lists: [ads], formats: [hosts, rpz]}
"""
    )
    here = load.path.parent
    assert list(found.cache.model_dump(mode="json").values()) == ["512KB", 10, 600, "off", False]
    assert [*map(int, (found.cache.size, found.cache.stale))] == [512 << 10, 0]
    assert not found.answers.cloaking
    assert list(map(str, found.answers.rebinding.allow)) == ["corp.example", "=lan", "10.0.0.0/8", "fd00::/8"]
    assert found.state_dir == here / "state"
    assert found.workers == 3
    assert found.listen.dns == (Endpoint("192.0.2.1", 0), Endpoint("2001:db8::1", 53))
    assert found.upstream.servers == (Server("udp", "192.0.2.53", 53), Server("tcp", "2001:db8::53", 853))
    assert found.upstream.timeout == 0.5
    assert found.blocking.mode == (ip_address("192.0.2.80"), ip_address("2001:db8::80"))
    assert found.groups["office"].clients == tuple(map(ip_network, ("192.0.2.0/25", "2001:db8::/64", "192.0.2.200/32")))
    ads = found.lists["ads"]
    assert ads.id == "ads"
    assert ads.type == "allow"
    assert ads.sources == (
        ListSource(source="stevenblack"),
        ListSource(path=here / "own.txt"),
        ListSource(url="https://example.org/l.txt"),
        ListSource(path=Path("/abs.txt"), format="hosts", subdomains=True),
    )
    assert ads.services == (ServiceRef("deepseek"), ServiceRef("deepseek", ("core", "api")))
    assert ads.block == (Target("example.com", Scope.TREE), Target("xn--bcher-kva.example", Scope.EXACT))
    [entry] = found.policy
    assert entry.groups == ("office", "all")
    assert entry.action is Action.WARN
    assert found.block == (Target("bad.example", Scope.TREE),)
    assert found.allow == (Target("good.bad.example", Scope.EXACT),)
    assert found.exports.dir == here / "out"
    assert found.exports.formats == ("hosts", "rpz")


def test_lines_of_names_can_be_cited(load: Load) -> None:
    found = load("block:\n  - a.example\n  - b.example\nlists:\n  mine:\n    block: [c.example,\n      d.example]\n")
    assert found.where("block", 1) == (str(load.path), 3)
    assert found.where("lists", "mine", "block", 1) == (str(load.path), 7)


def test_an_own_list_takes_the_place_of_the_catalogues(load: Load) -> None:
    found = load("lists: {deepseek: {block: [example.com]}}")
    assert found.all_lists(load.catalogue)["deepseek"] is found.lists["deepseek"]


def test_an_empty_policy_is_not_the_default_one(load: Load) -> None:
    assert load("policy: []").policy == ()


@pytest.mark.parametrize("path", sorted((HERE / "data" / "config").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_bad_file_gives_every_problem_that_it_lists(path: Path, catalogue: Catalogue) -> None:
    expected = [f"{path}:{line[3:]}" for line in path.read_text().splitlines() if line.startswith("#! ")]
    with pytest.raises(ConfigError) as caught:
        config.load(path, catalogue)
    assert list(map(str, caught.value.problems)) == expected
    assert expected


def test_a_file_that_is_not_there_is_one_problem(tmp_path: Path, catalogue: Catalogue) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path / "none.yaml", catalogue)
    assert str(caught.value) == f"{tmp_path / 'none.yaml'}: cannot be read: No such file or directory"


@pytest.mark.parametrize("text", ["192.0.2.1:53", "[2001:db8::1]:0", "0.0.0.0:65535"])
def test_endpoints_print_as_they_are_written(text: str) -> None:
    assert str(parse_endpoint(text)) == text


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("192.0.2.1", Server("udp", "192.0.2.1", 53)),
        ("2001:db8::1", Server("udp", "2001:db8::1", 53)),
        ("[2001:db8::1]", Server("udp", "2001:db8::1", 53)),
        ("[2001:0db8::0001]:5300", Server("udp", "2001:db8::1", 5300)),
        ("tcp://192.0.2.1", Server("tcp", "192.0.2.1", 53)),
        ("tcp://[2001:db8::1]:853", Server("tcp", "2001:db8::1", 853)),
        ("tls://192.0.2.1", Server("tls", "192.0.2.1", 853)),
        ("tls://[2001:db8::1]:8853", Server("tls", "2001:db8::1", 8853)),
        ("tls://2001:db8::1", Server("tls", "2001:db8::1", 853)),
        ("tls://DNS.Example.net.", Server("tls", "dns.example.net", 853)),
        ("tls://dns.example.net:8853", Server("tls", "dns.example.net", 8853)),
        ("https://dns.example.net/dns-query", Server("https", "dns.example.net", 443, "/dns-query")),
        ("https://dns.example.net", Server("https", "dns.example.net", 443, "/dns-query")),
        ("https://dns.example.net:8443/a/b%20c?d=e", Server("https", "dns.example.net", 8443, "/a/b%20c?d=e")),
        ("https://[2001:db8::1]/q", Server("https", "2001:db8::1", 443, "/q")),
        ("https://router", Server("https", "router", 443, "/dns-query")),
    ],
)
def test_servers_are_addresses_or_for_some_host_names(text: str, server: Server) -> None:
    assert parse_server(text) == server
    assert parse_server(str(server)) == server


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tls://dns.example/path", "only https:// has a path"),
        ("tcp://dns.example", "has no IP address"),
        ("tls://", "neither an address nor a host name"),
        ("https:///dns-query", "neither an address nor a host name"),
        ("https://user:secret@dns.example/", "has no port from 0 to 65535"),
        ("https://dns.example:99999/", "has no port from 0 to 65535"),
        ("tls://dns.example:0", "port 0 is not a server"),
        ("https://dns.example/dns-query{?dns}", "is not a path"),
        ("https://dns.example/a b", "is not a path"),
        ("tls://dns..example", "an empty label"),
        ("0.0.0.0", "is not the address of a server"),
        ("tcp://[ff02::1]:53", "is not the address of a server"),
    ],
)
def test_servers_that_make_no_sense_say_why(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_server(text)


def test_upstreams_of_every_kind(load: Load) -> None:
    found = load(
        """
upstream:
  servers: ["tls://dns.example.net"]
  strategy: random
  conditional: {Corp.Example.: [192.0.2.53], 2.0.192.in-addr.arpa: ["tcp://192.0.2.54"], lan: [192.0.2.1]}
  bootstrap: ["192.0.2.1", "tcp://192.0.2.2"]
  ca: own-ca.pem
"""
    ).upstream
    assert found.strategy == "random"
    assert dict(found.conditional) == {
        "corp.example": (Server("udp", "192.0.2.53", 53),),
        "2.0.192.in-addr.arpa": (Server("tcp", "192.0.2.54", 53),),
        "lan": (Server("udp", "192.0.2.1", 53),),
    }
    assert found.bootstrap == (Server("udp", "192.0.2.1", 53), Server("tcp", "192.0.2.2", 53))
    assert found.ca == load.path.parent / "own-ca.pem"


@pytest.mark.parametrize(
    ("listen", "upstream", "path"),
    [
        ("192.0.2.1:53", "servers: [192.0.2.9, 192.0.2.1]", "servers[1]"),
        ("192.0.2.1:53", "servers: ['tcp://192.0.2.1']", "servers[0]"),
        ("192.0.2.1:53", "conditional: {corp.example: [192.0.2.1]}", "conditional.corp.example[0]"),
        ("192.0.2.1:53", "bootstrap: [192.0.2.1]", "bootstrap[0]"),
        ("[2001:db8::1]:5300", "servers: ['[2001:db8:0::1]:5300']", "servers[0]"),
        ("0.0.0.0:53", "servers: [127.0.0.53]", "servers[0]"),
        ("[::]:53", "servers: ['::1']", "servers[0]"),
        ("127.0.0.1:53", "servers: ['::ffff:127.0.0.1']", "servers[0]"),
    ],
)
def test_forwarding_to_ourselves_is_refused(load: Load, listen: str, upstream: str, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(f'listen: {{dns: ["{listen}"]}}\nupstream: {{{upstream}}}\n')
    (problem,) = caught.value.problems
    assert problem.path == f"upstream.{path}"
    assert (problem.file, problem.line) == (str(load.path), 2)
    assert problem.message.endswith(" is this resolver itself: queries would go round for ever")


def test_another_port_of_our_own_host_is_somebody_else(load: Load) -> None:
    text = 'listen: {dns: ["127.0.0.1:53", "0.0.0.0:5353"]}\nupstream: {servers: ["127.0.0.1:5300", 192.0.2.1]}\n'
    assert len(load(text).upstream.servers) == 2


@pytest.mark.parametrize(("content", "said"), [(None, "cannot be read: No such file"), ("hello", "is not a PEM file")])
def test_certificates_that_cannot_be_used_are_a_problem(load: Load, content: str | None, said: str) -> None:
    (load.path.parent / "own-ca.pem").unlink()
    if content:
        (load.path.parent / "own-ca.pem").write_text(content)
    with pytest.raises(ConfigError, match=rf":1:12: upstream.ca: .*own-ca.pem {said}"):
        load("upstream: {ca: own-ca.pem}")


def test_host_names_are_asked_from_plain_servers_or_from_those_of_the_system(load: Load, tmp_path: Path) -> None:
    system = tmp_path / "resolv.conf"
    named = 'servers: ["tls://dns.example", "tls://192.0.2.7", "192.0.2.8", "tcp://192.0.2.9"]'

    def asked(upstream: str) -> list[str]:
        return list(map(str, config.bootstrap(load(f"upstream: {{{upstream}}}"), system)))

    assert asked(named) == ["192.0.2.8:53", "tcp://192.0.2.9:53"]
    assert asked(f"{named}, bootstrap: [192.0.2.1]") == ["192.0.2.1:53"]
    assert asked('servers: ["tls://192.0.2.7"]') == []
    for only in ('servers: ["https://dns.example"]', 'conditional: {corp.example: ["tls://dns.corp.example"]}'):
        system.write_text("")
        with pytest.raises(ConfigError, match=r"there is none to forward to; set upstream.bootstrap"):
            asked(only)
        system.write_text("nameserver 192.0.2.33\n")
        assert asked(only) == ["192.0.2.33:53"]


def test_system_resolvers_are_those_of_resolv_conf_but_ourselves(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(
        "# nameserver 192.0.2.9\nnameserver 127.0.0.1\nnameserver\nnameserver bad\n"
        "search example.com\nnameserver 192.0.2.1 # x\nnameserver\t2001:db8::1\n"
    )
    found = config.system_resolvers(path, own=[Endpoint("127.0.0.1", 53)])
    assert found == (Server("udp", "192.0.2.1", 53), Server("udp", "2001:db8::1", 53))


def test_no_system_resolver_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"resolv.conf: nameserver: .* set upstream.servers"):
        config.system_resolvers(tmp_path / "resolv.conf")


def test_the_example_is_the_defaults(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(load.path.parent)
    assert load(commented_example()).model_dump() == config.load(None, load.catalogue).model_dump()


def test_the_example_is_valid_with_every_setting_in_force(load: Load) -> None:
    text = uncommented(commented_example())
    found = load(text)
    assert found.groups
    assert found.lists
    assert found.policy
    for model in models():
        for info in model.model_fields.values():
            if model in (config.Config, config.Listen, config.Upstream, config.Blocking, config.Exports):
                assert re.search(rf"(?m)^ *{info.alias}:", text), info.alias


def test_each_single_typo_in_a_key_of_the_example_is_reported_at_its_path(load: Load) -> None:
    seed = random.Random(7)
    text = uncommented(commented_example())
    keys = [
        match for match in re.finditer(r"(?m)(?<![#\w.-])[a-z][a-z-]*(?=:(?: |$))", text) if not in_comment(text, match)
    ]
    own = {"office", "ads", "ai", "lan"}  # ids that the example chooses itself
    keys = [match for match in keys if match[0] not in own]
    assert len(keys) > 25
    for _ in range(300):
        match = seed.choice(keys)
        at = seed.randrange(match.start() + 1, match.end())
        typo = match[0][: at - match.start()] + "q" + match[0][at - match.start() :]
        with pytest.raises(ConfigError) as caught:
            load(text[: match.start()] + typo + text[match.end() :])
        line = text.count("\n", 0, match.start()) + 1
        column = match.start() - text.rfind("\n", 0, match.start())
        named = [problem for problem in caught.value.problems if (problem.line, problem.column) == (line, column)]
        assert any(
            problem.path.endswith(typo) and problem.message == f'unknown key; did you mean "{match[0]}"?'
            for problem in named
        ), caught.value


def in_comment(text: str, match: re.Match[str]) -> bool:
    return "#" in text[text.rfind("\n", 0, match.start()) + 1 : match.start()]


def test_mutations_of_the_example_are_configurations_or_config_errors(load: Load) -> None:
    seed = random.Random(3)
    text = uncommented(re.sub(r"(?m)^ *# \S.*\n", "", commented_example()))
    refused = 0
    for _ in range(400):
        at = seed.randrange(len(text))
        piece = seed.choice(["", ":", "[", "}", "\n", "  ", "'", "-", "é", "\t", "!", "{a: 1}", "null"])
        try:
            load(text[:at] + piece + text[at + seed.randint(0, 3) :])
        except ConfigError:
            refused += 1
    assert 100 < refused < 400


def test_the_schema_allows_what_the_example_says() -> None:
    found = schema()
    assert json.loads(json.dumps(found)) == found
    assert found["additionalProperties"] is False
    assert set(found["properties"]) == {info.alias for info in Config.model_fields.values()}
    assert found["$defs"]["Listen"]["properties"]["dns"]["default"] == ["127.0.0.1:5353", "[::1]:5353"]
    assert found["$defs"]["Upstream"]["properties"]["timeout"]["default"] == "2s"
    assert found["$defs"]["PolicyEntry"]["properties"]["action"]["anyOf"][0]["enum"] == ["block", "warn", "observe"]
    assert "id" not in found["$defs"]["ListSpec"]["properties"]


def models() -> Iterator[type[BaseModel]]:
    """Every model that a configuration is made of."""
    kinds: list[object] = [Config]
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield kind
            kinds += [info.annotation for info in kind.model_fields.values() if info.annotation not in kinds]
        else:
            kinds += [argument for argument in get_args(kind) if argument not in kinds]


@pytest.mark.parametrize("model", list(models()), ids=lambda model: model.__name__)
def test_every_key_is_documented(model: type[BaseModel]) -> None:
    text = DOCS.read_text()
    for info in model.model_fields.values():
        if info.alias != "id":
            assert f"| `{info.alias}` | {info.description} |" in text


@pytest.mark.parametrize(("page", "least"), [("configuration", 3), ("publishing", 1), ("policy", 1)])
def test_every_example_in_the_documentation_is_valid(load: Load, page: str, least: int) -> None:
    examples = re.findall(r"(?ms)^```yaml\n(.*?)^```", DOCS.with_name(f"{page}.md").read_text())
    assert len(examples) >= least
    for example in examples:
        load(example)


def test_private_networks_and_those_of_groups_may_ask_unless_others_are_named(load: Load) -> None:
    groups = "groups: {lab: {clients: [192.0.2.0/24]}}\n"
    default = load(groups).clients()
    assert default
    assert set(map(str, default.values())) == {*PRIVATE, "192.0.2.0/24"}
    named = load(groups + "access: {allow: [198.51.100.0/24], proxies: [10.0.0.1]}").clients()
    assert named
    assert set(map(str, named.values())) == {"198.51.100.0/24", "10.0.0.1/32"}


@pytest.mark.parametrize(
    "text",
    [
        'listen: {dns: ["0.0.0.0:53"]}',
        'listen: {dns: ["0.0.0.0:53"]}\naccess: {allow: [8.0.0.0/8, "2001::/16"]}',
        'listen: {dns: ["10.0.0.1:53", "[fe80::1]:53", "127.0.0.1:0"]}\naccess: {allow: [0.0.0.0/0]}',
        'listen: {dns: ["0.0.0.0:53"]}\naccess: {allow: [0.0.0.0/0], open: true}',
        'listen: {dns: ["0.0.0.0:53"]}\naccess: {open: true}',
    ],
)
def test_what_is_no_open_resolver_or_says_that_it_is_one(load: Load, text: str) -> None:
    assert (load(text).clients() is None) == ("open" in text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("records: {A.lan: [192.0.2.1], a.lan: [192.0.2.2]}", "'a.lan' is there twice, in different spellings"),
        ("records: {a.lan: [CNAME b.lan], b.lan: [CNAME a.lan]}", "the aliases behind a.lan end nowhere"),
        ("records: {a.lan: [CNAME a.lan]}", "the aliases behind a.lan end nowhere"),
        ("local: {zones: [lan], forward: [LAN.]}", "lan is in `zones` and in `forward`"),
        (
            f"records: {{a.lan: [{', '.join(f'10.0.{n // 200}.{n % 200}' for n in range(257))}]}}",
            "more than 256 records",
        ),
    ],
)
def test_records_that_do_not_go_together(load: Load, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(text)


def test_records_have_one_spelling(load: Load) -> None:
    found = load(
        "records:\n"
        "  Printer.LAN.: [192.0.2.1, '2001:DB8::1', ' a 192.0.2.2']\n"
        "  '*.Bücher.lan': ['cname WWW.Example.com.']\n"
        "  host: ['txt one \"two words\"', 'https 1 . alpn=h2']\n"
    )
    assert found.records == {
        "printer.lan": ("A 192.0.2.1", "AAAA 2001:db8::1", "A 192.0.2.2"),
        "*.xn--bcher-kva.lan": ("CNAME www.example.com",),
        "host": ('TXT "one" "two words"', "HTTPS 1 . alpn=h2"),
    }
    assert found.where("records", "host") == (str(load.path), 4)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            "{a: {clients: [10.0.0.0/8], exclusive: true}, b: {clients: [10.1.0.0/16], exclusive: true}}",
            "groups.b.clients[0]: 10.1.0.0/16 is in a (10.0.0.0/8), and both are exclusive",
        ),
        ("{a: {tokens: [x]}, b: {tokens: [y, x]}}", "groups.b.tokens[1]: x is a token of a already"),
        ("{a: {}}", "a group needs clients or tokens"),
        ("{a: {tokens: [A.b]}}", "'A.b' is not a token"),
    ],
)
def test_groups_that_cannot_be(load: Load, groups: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(f"groups: {groups}")


def test_groups_that_may_overlap(load: Load) -> None:
    found = load(
        "groups: {a: {clients: [10.0.0.0/8], exclusive: true}, b: {clients: [10.1.0.0/16, '::/0'], tokens: [b]}}"
    )
    assert found.groups["a"].exclusive

import re
import shutil
import time
from pathlib import Path

import pytest

from sinkhole import names, places
from sinkhole.catalogue.loader import load
from sinkhole.catalogue.model import ServiceRef, Target
from sinkhole.errors import ConfigError
from sinkhole.rules import Scope

DOCS = Path(__file__).parents[2] / "docs" / "catalogue.md"


@pytest.fixture
def feeds(tmp_path: Path) -> Path:
    """The catalogue that the examples of the documentation are."""
    for name, text in re.findall(r"(?ms)^```yaml\n# (\S+)\n(.*?)^```", DOCS.read_text()):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"# {name}\n{text}")
    return tmp_path


def problems(directory: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(directory)
    return list(map(str, caught.value.problems))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_catalogue_of_the_documentation_loads(feeds: Path) -> None:
    found = load(feeds)
    assert found.directory == feeds
    assert found.sources["example-ads"].id == "example-ads"
    assert found.services["chatty"].tiers["shared"][0].target == Target("cdn.example", Scope.SUBDOMAINS)
    assert found.directives["gb-example-2026-02-01"].services == (ServiceRef("chatty", ("core",)),)
    assert found.lists["chatty"].canary == "canary-chatty.example.com"
    assert [never.target for never in found.never] == [Target("time.example.net", Scope.EXACT)]
    assert [(entry.name, entry.answer) for entry in found.protected] == [("canary.example.net", "nxdomain")]
    assert found.policy[0].lists == ("chatty",)
    assert found.exports == ("chatty",)
    assert found.reports["example-labs"].publisher == "Example Labs"
    [evidence] = found.services["chatty"].tiers["core"][0].evidence
    assert evidence == found.reports["example-labs"] == found.resolvers["example-dns"].evidence[0]
    assert found.resolvers["example-dns"].names == (Target("dns.example", Scope.TREE),)


def test_every_entry_can_be_cited_by_file_and_line(feeds: Path) -> None:
    found = load(feeds)
    assert found.where("service", "chatty", "tiers", "core", 0, "name") == ("services/chatty.yaml", 10)
    assert found.where("service", "chatty", "tiers", "core", 0, "hosts", 0) == ("services/chatty.yaml", 11)
    assert found.where("list", "chatty", "canary") == ("lists.yaml", 7)
    assert found.where("source", "example-ads") == ("sources/example.yaml", 2)
    assert found.where("directive", "gb-example-2026-02-01", "action") == ("directives/gb-example-2026-02-01.yaml", 1)
    assert found.where("never", "time.example.net") == ("never.yaml", 3)
    assert found.where("protected", "canary.example.net") == ("bypass.yaml", 3)
    assert found.where("resolver", "example-dns", "names", 0) == ("bypass.yaml", 10)
    assert found.where("report", "example-labs") == ("reports/example.yaml", 2)


def test_problems_of_all_files_are_reported_at_once(feeds: Path) -> None:
    edit(feeds / "sources/example.yaml", "format: hosts", "format: host")
    edit(feeds / "services/chatty.yaml", "country: GB", "contry: GB")
    edit(feeds / "directives/gb-example-2026-02-01.yaml", '["chatty:core"]', "[chaty]")
    edit(feeds / "lists.yaml", "[chatty]", "[chatty]\n  sources: [example-add]")
    edit(feeds / "lists.yaml", "updated: 2026-02-01", "updated: yesterday")
    edit(feeds / "default.yaml", "lists: [chatty]", "lists: [chattie]")
    (feeds / "sources" / "torn.yaml").write_text("a: [")
    assert problems(feeds) == [
        "default.yaml:3:66: policy[0].lists[0]: unknown list 'chattie'; did you mean \"chatty\"?",
        "directives/gb-example-2026-02-01.yaml:10:12: services[0]: unknown service 'chaty'; did you mean \"chatty\"?",
        "lists.yaml:5:3: chatty.updated: 'yesterday' is not a date; write 2025-02-05",
        "lists.yaml:7:13: chatty.sources[0].source: unknown source 'example-add'; did you mean \"example-ads\"?",
        "services/chatty.yaml:1:1: country: required, and not there",
        'services/chatty.yaml:5:1: contry: unknown key; did you mean "country"?',
        "sources/example.yaml:5:3: example-ads.format: unknown format 'host'; did you mean \"hosts\"?",
        "sources/torn.yaml:2:1: not YAML: did not find expected node content",
    ]


def test_evidence_that_is_no_report_is_reported_where_it_stands(feeds: Path) -> None:
    edit(feeds / "services/chatty.yaml", "[example-labs]", "[example-lab]")
    [problem] = problems(feeds)
    assert problem.startswith("services/chatty.yaml:12:18: tiers.core[0].evidence[0]: unknown report 'example-lab'; ")
    assert problem.endswith('did you mean "example-labs"?')


def test_a_report_with_a_fault_is_one_problem_however_many_names_give_it(feeds: Path) -> None:
    edit(feeds / "reports/example.yaml", "date: 2026-01-31", "date: soon")
    assert problems(feeds) == ["reports/example.yaml:6:3: example-labs.date: 'soon' is not a date; write 2025-02-05"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("github.io", "github.io is a public suffix: everyone's names are below it"),
        ("example.net", "example.net covers time.example.net, which is never blocked"),
    ],
)
def test_encrypted_dns_of_others_is_blocked_as_carefully_as_everything(feeds: Path, name: str, why: str) -> None:
    edit(feeds / "bypass.yaml", "[dns.example]", f"[dns.example, {name}]")
    assert problems(feeds) == [f"bypass.yaml:10:26: resolvers[0].names[1]: {why}"]


def test_an_id_in_two_files_names_the_first(feeds: Path) -> None:
    shutil.copy(feeds / "sources/example.yaml", feeds / "sources/other.yaml")
    assert problems(feeds) == ["sources/other.yaml:2:1: example-ads: example-ads is already in sources/example.yaml:2"]


def test_a_service_is_called_after_its_file(feeds: Path) -> None:
    (feeds / "services/chatty.yaml").rename(feeds / "services/chatty2.yaml")
    found = problems(feeds)
    assert "services/chatty2.yaml:2:1: id: 'chatty' is not the name of the file, 'chatty2'" in found
    assert any("unknown service 'chatty'; did you mean \"chatty2\"?" in problem for problem in found)


def test_an_entry_of_a_mapping_has_its_id_as_key_only(feeds: Path) -> None:
    edit(feeds / "lists.yaml", "  title: Chatty", "  title: Chatty\n  id: other")
    assert problems(feeds) == ["lists.yaml:1:1: chatty says that its id is 'other'; leave the id out"]


@pytest.mark.parametrize("tier", ["core", "api", "shared"])
def test_a_name_is_in_one_tier_once(feeds: Path, tier: str) -> None:
    entry = "\n    - {name: CHATTY.example, evidence: [{publisher: X, title: X, date: 2026-01-01}]}"
    path = feeds / "services/chatty.yaml"
    text = path.read_text()
    path.write_text(
        text.replace(f"  {tier}:", f"  {tier}:{entry}") if f"  {tier}:" in text else f"{text}  {tier}:{entry}\n"
    )
    [problem] = problems(feeds)
    assert problem.endswith("chatty.example is already in the tier 'core'")


@pytest.mark.parametrize("name", ["co.uk", "github.io"])
def test_nobody_blocks_a_public_suffix_with_all_below_it(feeds: Path, name: str) -> None:
    edit(feeds / "services/chatty.yaml", "name: chatty.example\n      hosts: [www.chatty.example]", f"name: {name}")
    edit(feeds / "lists.yaml", "services:", f"block: [ok.{name}, {name}, ={name}]\n  services:")
    assert problems(feeds) == [
        f"lists.yaml:6:{16 + len(name)}: chatty.block[1]: {name} is a public suffix: everyone's names are below it",
        f"services/chatty.yaml:10:7: tiers.core[0].name: {name} is a public suffix: everyone's names are below it",
    ]


@pytest.mark.parametrize("name", ["time.example.net", "example.net", "=time.example.net"])
def test_nobody_blocks_what_is_never_blocked(feeds: Path, name: str) -> None:
    edit(feeds / "lists.yaml", "services:", f"block: [{name}]\n  services:")
    plain = name.removeprefix("=")
    assert problems(feeds) == [
        f"lists.yaml:6:11: chatty.block[0]: {plain} covers time.example.net, which is never blocked"
    ]


def test_shared_names_and_names_beside_never_blocked_ones_are_fine(feeds: Path) -> None:
    edit(feeds / "services/chatty.yaml", "name: cdn.example", "name: example.net")
    edit(feeds / "lists.yaml", "services:", "block: [x.time.example.net, =example.net]\n  services:")
    assert load(feeds).lists["chatty"].block[0].name == "x.time.example.net"


def test_a_file_that_is_missing_is_a_problem(feeds: Path) -> None:
    (feeds / "never.yaml").unlink()
    assert problems(feeds) == [f"{feeds / 'never.yaml'}: the catalogue has no such file"]


def test_the_catalogue_is_beside_the_checkout_or_inside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "sinkhole"
    monkeypatch.setattr(places, "_PACKAGE", package)
    assert places.catalogue_directory() == package / "catalogue" / "data"
    (tmp_path / "pyproject.toml").touch()
    assert places.catalogue_directory() == tmp_path / "feeds"


def test_loading_is_fast() -> None:
    load()
    names.public_suffixes([b"moc.elpmaxe."])
    best = min(_timed() for _ in range(3))
    assert best < 0.25  # about 5,000 lines


def _timed() -> float:
    started = time.process_time()
    load()
    return time.process_time() - started

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sinkhole.cli import context, job
from tests.cli.conftest import NAMES
from tests.conftest import Site

SETTINGS: dict[str, Any] = {
    "lists": {"ads": {"sources": ["./own.txt", "./more.txt"], "block": ["a.test"], "resolvers": True}},
    "groups": {"office": {"clients": ["192.0.2.0/24"]}},
    "policy": [
        {
            "groups": ["office"],
            "lists": ["ads"],
            "schedule": {"days": ["mon"], "from": "08:00", "to": "17:00", "zone": "Asia/Seoul"},
        },
        {"groups": ["all"], "lists": ["ads", "deepseek"], "directives": ["kr-mofa-2025-02-05"]},
    ],
    "upstream": {"servers": ["192.0.2.53", "tls://192.0.2.54:853"]},
    "allow": ["=b.test"],
    "expect": [{"client": "192.0.2.7", "name": "ads-1.example.com", "at": "2025-03-01T12:00:00Z", "action": "block"}],
}


def described(found: job.Job) -> str:
    """All of a job; sets in order."""
    fence = found.plan.fence
    return repr(
        (found._replace(plan=found.plan._replace(fence=fence._replace(above=frozenset()))), sorted(fence.above))
    )


@pytest.mark.parametrize("settings", [{}, SETTINGS], ids=["nothing said", "much said"])
def test_what_is_kept_is_what_was_worked_out(site: Site, settings: dict[str, Any]) -> None:
    path = site.configure({**settings, "state-dir": str(site.state)})
    made = context.load(path).job
    with job.load(path) as first:
        assert described(first) == described(made)
    digest = job._digest(path)
    kept = job._kept(path, digest)
    assert kept is not None
    assert described(kept) == described(made)
    assert kept.plan == made.plan
    assert repr(kept.plan.portable) == repr(made.plan.portable)
    assert oct((made.state_dir / "job.json").stat().st_mode & 0o777) == "0o600"


def test_nothing_of_a_job_is_kept_that_holds_a_password(site: Site) -> None:
    secret = {"url": "https://user:secret@lists.example/a.txt", "format": "hosts"}
    path = site.configure({"state-dir": str(site.state), "lists": {"ads": {"sources": [secret]}}})
    with job.load(path) as found:
        assert any("secret" in source.location for source in found.plan.sources)
    assert not (found.state_dir / "job.json").exists()


def build(site: Site) -> set[str]:
    """The modules that a build by the interpreter itself has imported at its end."""
    code = "import sys, atexit; atexit.register(lambda: print(*sys.modules)); from sinkhole.cli import main; main()"
    command = [sys.executable, "-c", code, "build", "-q", "-c", "sinkhole.yaml"]
    done = subprocess.run(command, cwd=site.directory, env=site.environ(), capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_a_build_of_nothing_new_reads_no_yaml_and_no_list(site: Site) -> None:
    site.write("own.txt", NAMES)
    site.configure({"lists": {"ads": {"sources": ["./own.txt"]}}, "policy": [{"groups": ["all"], "lists": ["ads"]}]})
    heavy = {"yaml", "sinkhole.config", "sinkhole.formats", "requests", "rich", "re2", "dns"}
    assert heavy - {"requests", "dns"} <= build(site)
    assert sorted(heavy & build(site)) == []


@pytest.mark.parametrize("change", ["a name more", "an expectation", "damage", "half of it", "a list more", "is gone"])
def test_what_changed_is_seen_and_damage_is_not_believed(site: Site, change: str) -> None:
    site.write("own.txt", NAMES)
    listed: dict[str, Any] = {
        "lists": {"ads": {"sources": ["./own.txt"], "block": ["x.test"]}},
        "policy": [{"groups": ["all"], "lists": ["ads"]}],
    }
    site.configure(listed)
    site.run("build", "-c", "sinkhole.yaml")
    kept = site.state / "job.json"
    expected, code = ["x.test"], 0
    if change == "a name more":
        listed["lists"]["ads"]["block"] = expected = ["x.test", "y.test"]
    elif change == "an expectation":
        listed["expect"] = [{"client": "192.0.2.7", "name": "unlisted.test", "action": "block"}]
        listed["lists"]["ads"]["block"] = ["x.test", "z.test"]
        code = 1
    elif change == "damage":
        kept.write_bytes(kept.read_bytes().replace(b"x.test", b"q.test"))
    elif change == "half of it":
        kept.write_bytes(kept.read_bytes()[: kept.stat().st_size // 2])
    elif change == "a list more":
        listed["lists"]["more"] = {"block": ["w.test"]}
    else:
        kept.unlink()
    site.configure(listed)
    assert site.run("build", "-c", "sinkhole.yaml", code=code).code == code
    said = (site.state / "bundles" / "current" / "own.json").read_text()
    assert [name for name in ("q.test", "x.test", "y.test", "w.test", "z.test") if f'"name": "{name}"' in said] == [
        *expected,
        *(["w.test"] if change == "a list more" else []),
    ]


def test_a_change_of_the_catalogue_makes_another_job(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = site.configure({"state-dir": str(site.state)})
    with job.load(path):
        pass
    (tmp_path / "feeds").mkdir()
    monkeypatch.setattr(job, "catalogue_directory", lambda: tmp_path / "feeds")
    assert job._kept(path, job._digest(path)) is None

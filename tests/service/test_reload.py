from __future__ import annotations

import json
import os
import re
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import dns.edns
import dns.message
import dns.rcode
import pytest

from sinkhole import bundle
from sinkhole.service import control
from tests.cli.conftest import Web
from tests.conftest import FORWARDED, Running, Site

BLOCKED = ["0.0.0.0"]
SETTINGS = {"workers": 2, "block": ["bad.example.com"]}
SERVFAIL = dns.rcode.SERVFAIL


def addresses(answer: dns.message.Message) -> list[str]:
    return [str(record) for rrset in answer.answer for record in rrset]


def errors(answer: dns.message.Message) -> list[int]:
    return [option.code for option in answer.options if isinstance(option, dns.edns.EDEOption)]


def edit(running: Running, **settings: object) -> Path:
    """Rewrite the configuration file, and leave it at that."""
    return running.site.configure({**running._fixed, **SETTINGS, **settings})


def test_reload_and_status_from_the_command_line(site: Site) -> None:
    with site.running(SETTINGS) as running:
        config = edit(running, block=["other.example.com"])
        ran = site.run("reload", "-c", config)
        assert (ran.out, ran.err) == ("reloaded\n", "")
        assert addresses(running.ask("other.example.com")) == BLOCKED  # at once: it was waited for
        assert addresses(running.ask("bad.example.com")) == FORWARDED

        found = site.run("status", "-c", config, "--json").data
        assert found["pid"] == running.process.pid
        assert {worker["pid"] for worker in found["workers"]} == running.workers()
        assert all(worker["ready"] and worker["restarts"] == 0 for worker in found["workers"])
        assert (found["state"], found["missing"], found["rejected"]) == ("ready", [], None)
        assert found["bundle"]["name"] == os.readlink(site.state / "bundles" / "current")
        counters = found["counters"]
        assert (counters["queries"], counters["blocked"], counters["forwarded"]) == (2, 1, 1)
        assert found["reload"]["ok"] is True
        shown = site.run("status", "-c", config).out
        assert f"process {running.process.pid}, up for " in shown
        assert "state: ready: all lists are in force\n" in shown


def test_a_reload_of_a_bad_configuration_changes_nothing(site: Site) -> None:
    with site.running(SETTINGS) as running:
        config = edit(running, block=["other.example.com"], blocking={"mode": "nxdomian"})
        ran = site.run("reload", "-c", config, code=1)
        assert ran.out == ""
        assert re.fullmatch(rf"sinkhole: {config}:\d+:\d+: blocking.mode: unknown mode 'nxdomian'; .*\n", ran.err)
        assert addresses(running.ask("other.example.com")) == FORWARDED
        assert addresses(running.ask("bad.example.com")) == BLOCKED


@pytest.mark.parametrize("more", [{}, {"block": ["bad.example.com", "other.example.com"]}])
def test_a_reload_that_the_configuration_s_own_tests_fail_changes_nothing(site: Site, more: dict[str, Any]) -> None:
    """Whether there is anything to build for it or not."""
    with site.running(SETTINGS) as running:
        wrong = [{"name": "bad.example.com", "action": "forward"}]
        config = edit(running, expect=wrong, blocking={"mode": "nxdomain"}, **more)
        ran = site.run("reload", "-c", config, code=1)
        assert "bad.example.com A for 127.0.0.1 at " in ran.err
        assert "expected forward, is block" in ran.err
        assert addresses(running.ask("other.example.com")) == FORWARDED
        assert addresses(running.ask("bad.example.com")) == BLOCKED


def test_a_list_file_that_is_gone_is_no_fault_of_the_configuration_but_told_of(site: Site) -> None:
    lists = {"own": {"sources": ["./gone.txt"]}}
    with site.running(SETTINGS) as running:
        config = edit(running, lists=lists, policy=[{"groups": ["all"], "lists": ["own"]}])
        assert "gone.txt" in site.run("reload", "-c", config).err
        assert site.run("status", "-c", config, "--json", code=3).data["missing"] == ["gone.txt"]
        answer = running.ask("free.example.com")
        assert (addresses(answer), errors(answer)) == (FORWARDED, [14])
        assert addresses(running.ask("bad.example.com")) == BLOCKED


def test_every_problem_of_a_running_instances_own_file_comes_back(site: Site) -> None:
    """Also when the command was given another, valid file with the same state directory."""
    with site.running(SETTINGS) as running:
        other = site.configure({}, "other.yaml")
        edit(running, workers=0, blocking={"ttl": -1})
        ran = site.run("reload", "-c", other, code=1)
        assert ran.err.splitlines()[0] == "sinkhole: not reloaded, everything stays as it was:"
        assert len([line for line in ran.err.splitlines() if line.startswith("sinkhole.yaml:")]) == 2
        assert addresses(running.ask("bad.example.com")) == BLOCKED


def test_what_only_a_restart_changes_is_said(site: Site) -> None:
    with site.running(SETTINGS) as running:
        ran = site.run("reload", "-c", edit(running, workers=1))
        assert ran.err == "workers: the new value holds from the next start\n"
        assert len(running.workers()) == 2


@pytest.mark.parametrize("command", ["reload", "status"])
def test_without_an_instance_that_is_said(site: Site, command: str) -> None:
    ran = site.run(command, code=1)
    assert ran.err.startswith(f"sinkhole: no sinkhole runs with the state directory {site.state}; ")
    with site.running(SETTINGS) as running:
        running.process.kill()
        running.process.wait()
        assert (site.state / control.NAME).exists()
        assert "no sinkhole runs" in site.run(command, "-c", "sinkhole.yaml", code=1).err
    with site.running(SETTINGS):
        assert "process" in site.run("status", "-c", "sinkhole.yaml").out
    assert not (site.state / control.NAME).exists()


def damage(path: Path) -> None:
    target = path / "policy.json"
    target.unlink()
    target.write_text("{}")


def test_a_damaged_newest_bundle_gives_way_to_the_one_before(site: Site) -> None:
    """At the start, when the lists that it was made of are gone too, and it is said."""
    policy = [{"groups": ["all"], "lists": ["own"]}]
    settings = {"workers": 1, "lists": {"own": {"sources": ["./own.txt"]}}, "policy": policy}
    for name in ("first", "second"):
        site.write("own.txt", f"0.0.0.0 {name}.example.com\n0.0.0.0 both.example.com\n")
        config = site.configure({**settings, "upstream": {"servers": ["192.0.2.1"]}})
        site.run("build", "-c", config, "--no-exports")
    current = bundle.current(site.state / "bundles")
    assert current
    damage(current)
    (site.directory / "own.txt").unlink()
    shutil.rmtree(site.state / "feeds")
    shutil.rmtree(site.state / "parsed", ignore_errors=True)

    with site.running({**settings, "startup": "serve-last"}) as running:
        assert f"the bundle {current.name} cannot be used; trying the one before" in running.log
        assert addresses(running.ask("both.example.com")) == BLOCKED
        assert addresses(running.ask("first.example.com")) == BLOCKED


def test_a_new_bundle_that_is_damaged_is_left_alone_and_said_once(site: Site) -> None:
    with site.running(SETTINGS) as running:
        before = bundle.current(site.state / "bundles")
        assert before
        broken = site.state / "bundles" / "0123456789abcdef"
        shutil.copytree(before, broken)
        link = site.state / "bundles" / "new"
        link.symlink_to(broken.name)
        link.rename(site.state / "bundles" / "current")

        running.eventually(lambda: f"bundle {broken.name} is not taken over" in running.log)
        time.sleep(1.2)
        assert running.log.count("is not taken over") == 1
        assert addresses(running.ask("bad.example.com")) == BLOCKED
        assert site.run("status", "-c", "sinkhole.yaml", "--json", code=3).data["rejected"] == broken.name

        victim = min(running.workers())  # its replacement uses what is in force
        os.kill(victim, signal.SIGKILL)
        running.eventually(lambda: len(running.workers() - {victim}) == 2)
        running.eventually(
            lambda: all(
                w["ready"]
                for w in json.loads(site.run("status", "-c", "sinkhole.yaml", "--json", code=3).out)["workers"]
            )
        )
        for _ in range(8):
            assert addresses(running.ask("bad.example.com")) == BLOCKED


def test_a_new_worker_that_cannot_use_any_bundle_answers_servfail_and_not_everything(site: Site) -> None:
    with site.running({**SETTINGS, "workers": 1}) as running:
        current = bundle.current(site.state / "bundles")
        assert current
        damage(current)
        (victim,) = running.workers()
        os.kill(victim, signal.SIGKILL)
        running.eventually(lambda: "worker 1 cannot use what is in force, and answers SERVFAIL" in running.log)
        answer = running.ask("bad.example.com")
        assert (answer.rcode(), errors(answer)) == (SERVFAIL, [14])
        assert running.ask("free.example.com").rcode() == SERVFAIL


def test_a_worker_that_hangs_is_replaced(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import sinkhole.service.supervisor as s; s.PULSE, s.HUNG = 0.2, 4.0; "
        "import sys; from sinkhole.cli import main; sys.argv = ['sinkhole', *sys.argv[1:]]; main()"
    )
    with site.running(SETTINGS, program=program) as running:
        victim = min(running.workers())
        os.kill(victim, signal.SIGSTOP)
        running.eventually(lambda: victim not in running.workers() and len(running.workers()) == 2)
        assert "does not answer; it is replaced" in running.log
        for _ in range(8):
            assert addresses(running.ask("bad.example.com")) == BLOCKED


def feed(web: Web, **more: object) -> dict[str, object]:
    lists = {"ads": {"sources": [{"url": web.url, "local": True}]}}
    return {**SETTINGS, "lists": lists, "policy": [{"groups": ["all"], "lists": ["ads"]}], **more}


@pytest.mark.parametrize(
    ("mode", "state", "code"), [("serve-last", "incomplete", 3), ("fail-closed", "closed", 1), ("open", "open", 3)]
)
def test_before_a_list_was_ever_fetched(site: Site, web: Web, mode: str, state: str, code: int) -> None:
    """No mode answers in silence as if all were well, and each is ready when the list comes."""
    release = threading.Event()
    web.before = lambda: release.wait(20)
    with site.running(feed(web, startup=mode)) as running:
        found = site.run("status", "-c", "sinkhole.yaml", "--json", code=code).data
        assert (found["startup"], found["state"]) == (mode, state)
        assert f"{state}: " in running.log
        own, listed = running.ask("bad.example.com"), running.ask("ads-1.example.com")
        if state == "closed":
            assert [(answer.rcode(), errors(answer)) for answer in (own, listed)] == [(SERVFAIL, [14])] * 2
        else:
            assert addresses(own) == (FORWARDED if state == "open" else BLOCKED)
            assert (addresses(listed), errors(listed)) == (FORWARDED, [14])

        release.set()
        running.eventually(lambda: addresses(running.ask("ads-1.example.com")) == BLOCKED)
        assert addresses(running.ask("bad.example.com")) == BLOCKED
        assert errors(running.ask("free.example.com")) == []
        running.eventually(lambda: "ready: all lists are in force" in running.log)
        assert site.run("status", "-c", "sinkhole.yaml", "--json").data["state"] == "ready"


@pytest.mark.parametrize("mode", ["serve-last", "fail-closed", "open"])
def test_with_the_network_gone_the_next_start_is_by_the_last_copies(site: Site, web: Web, mode: str) -> None:
    with site.running(feed(web, startup=mode)) as running:
        running.eventually(lambda: addresses(running.ask("ads-1.example.com")) == BLOCKED)
    web.status = 404
    with site.running(feed(web, startup=mode)) as running:
        if mode == "serve-last":
            assert addresses(running.ask("ads-1.example.com")) == BLOCKED  # at once
        running.eventually(lambda: addresses(running.ask("ads-1.example.com")) == BLOCKED)
        running.eventually(lambda: "the build ended with exit code 3" in running.log)
        found = site.run("status", "-c", "sinkhole.yaml", "--json", code=3).data
        assert (found["state"], found["feeds"][0]["stale"]) == ("ready", True)


@pytest.mark.parametrize("mode", ["fail-closed", "open"])
def test_without_feeds_every_mode_is_ready_after_the_first_build(site: Site, mode: str) -> None:
    with site.running({**SETTINGS, "startup": mode}) as running:
        running.eventually(lambda: addresses(running.ask("bad.example.com")) == BLOCKED)
        running.eventually(lambda: "ready: all lists are in force" in running.log)
    with site.running({**SETTINGS, "startup": mode}) as running:
        assert addresses(running.ask("bad.example.com")) == BLOCKED


def test_a_list_that_a_reload_adds_never_closes_what_was_ready(site: Site, web: Web) -> None:
    web.status = 404
    with site.running({**SETTINGS, "startup": "fail-closed"}) as running:
        running.eventually(lambda: addresses(running.ask("bad.example.com")) == BLOCKED)
        site.run("reload", "-c", site.configure({**running._fixed, **feed(web, startup="fail-closed")}))
        assert addresses(running.ask("bad.example.com")) == BLOCKED
        assert addresses(running.ask("ads-1.example.com")) == FORWARDED
        assert site.run("status", "-c", "sinkhole.yaml", "--json", code=3).data["state"] == "incomplete"


def test_counters_outlive_the_workers(site: Site) -> None:
    with site.running({**SETTINGS, "workers": 1}) as running:
        for _ in range(5):
            running.ask("bad.example.com")
        assert site.run("status", "-c", "sinkhole.yaml", "--json").data["counters"]["blocked"] == 5
        (victim,) = running.workers()
        os.kill(victim, signal.SIGKILL)
        running.eventually(lambda: running.workers() - {victim})
        running.ask("bad.example.com")
        found = site.run("status", "-c", "sinkhole.yaml", "--json").data
        assert found["counters"]["blocked"] == 6
        assert found["workers"][0]["restarts"] == 1

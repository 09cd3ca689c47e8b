"""The units in deploy/, by the program that reads them."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import typer.main

from sinkhole.cli import application

DEPLOY = Path(__file__).parent.parent / "deploy"
UNITS = sorted(path for kind in ("service", "socket", "timer") for path in DEPLOY.glob(f"*.{kind}"))
#: The rights of root that each service has.
RIGHTS = {"sinkhole.service": {"CAP_NET_BIND_SERVICE"}, "sinkhole-build.service": set[str]()}


def test_systemd_finds_nothing_to_say(peer: Callable[[str], str]) -> None:
    ran = subprocess.run([peer("systemd-analyze"), "verify", *UNITS], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


@pytest.mark.parametrize("name", RIGHTS)
def test_a_service_may_do_little(name: str, peer: Callable[[str], str]) -> None:
    """The exposure that systemd works out, out of ten; and of root's rights none but low ports."""
    service = DEPLOY / name
    command = [peer("systemd-analyze"), "security", "--offline=true", "--no-pager", str(service)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    exposure = re.search(rf"Overall exposure level for {name}: ([\d.]+)", said)
    assert exposure, said
    assert float(exposure[1]) < 2.5
    assert set(re.findall(r"CAP_\w+", service.read_text())) == RIGHTS[name]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_names_what_exists(unit: Path) -> None:
    text = unit.read_text()
    for service in re.findall(r"^Service=(.*)$", text, re.M):
        assert (DEPLOY / service).exists()
    for page in re.findall(r"^Documentation=file:///usr/share/doc/sinkhole/(.*)$", text, re.M):
        assert (DEPLOY.parent / "docs" / page).exists()


def commands() -> list[str]:
    """The lines of the units and of the crontab that start the command."""
    texts = [path.read_text() for path in [*UNITS, DEPLOY / "sinkhole.cron"]]
    return [
        line for text in texts for line in re.findall(r"^(?:ExecStart=/usr/bin/env|\S+ \* \* \* \*) .*", text, re.M)
    ]


@pytest.mark.parametrize("line", commands())
def test_what_is_started_is_a_valid_command(line: str) -> None:
    words = shlex.split(line.partition("sinkhole ")[2].removeprefix("sinkhole "))
    command = typer.main.get_command(application()).commands[words[0]]  # type: ignore[attr-defined]
    assert command.make_context("sinkhole", words[1:]).params["config"] == Path("/etc/sinkhole/sinkhole.yaml")


def test_every_way_to_start_a_build_is_there() -> None:
    assert len(commands()) == 3


def test_the_crontab_has_a_line_as_cron_wants_it() -> None:
    """crontab(5): settings, and lines of five fields, a user and a command; a percent sign would be a line break."""
    lines = [line for line in (DEPLOY / "sinkhole.cron").read_text().split("\n") if line and not line.startswith("#")]
    settings, entries = lines[:-1], lines[-1:]
    assert all(re.fullmatch(r"[A-Z_]+=\S+", line) for line in settings)
    for line in entries:
        minute, *fields, user, command = line.split(None, 6)
        assert int(minute) in range(60)
        assert (fields, user) == (["*"] * 4, "sinkhole")
        assert command.startswith("sinkhole build --quiet ")
        assert "%" not in command


def test_the_timer_starts_the_build(peer: Callable[[str], str]) -> None:
    text = (DEPLOY / "sinkhole-build.timer").read_text()
    when = re.search(r"^OnCalendar=(.*)$", text, re.M)
    assert when
    said = subprocess.run([peer("systemd-analyze"), "calendar", when[1]], capture_output=True, text=True, check=True)
    assert "Normalized form: *-*-* *:00:00" in said.stdout
    assert (DEPLOY / "sinkhole-build.service").exists()

"""The units in deploy/, by the program that reads them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parent.parent / "deploy"
UNITS = sorted([*DEPLOY.glob("*.service"), *DEPLOY.glob("*.socket")])


def test_systemd_finds_nothing_to_say(peer: Callable[[str], str]) -> None:
    ran = subprocess.run([peer("systemd-analyze"), "verify", *UNITS], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_the_service_may_do_little(peer: Callable[[str], str]) -> None:
    """The exposure that systemd works out, out of ten; and of root's rights none but low ports."""
    service = DEPLOY / "sinkhole.service"
    command = [peer("systemd-analyze"), "security", "--offline=true", "--no-pager", str(service)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    exposure = re.search(r"Overall exposure level for sinkhole.service: ([\d.]+)", said)
    assert exposure, said
    assert float(exposure[1]) < 2.5
    assert set(re.findall(r"CAP_\w+", service.read_text())) == {"CAP_NET_BIND_SERVICE"}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_names_what_exists(unit: Path) -> None:
    text = unit.read_text()
    for service in re.findall(r"^Service=(.*)$", text, re.M):
        assert (DEPLOY / service).exists()
    for page in re.findall(r"^Documentation=file:///usr/share/doc/sinkhole/(.*)$", text, re.M):
        assert (DEPLOY.parent / "docs" / page).exists()

"""Workers are told apart, and held to what they may use."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import workers
from benchmarks.running import processor


def test_a_process_gets_its_share_of_a_core_and_the_group_is_gone_afterwards() -> None:
    if not any(
        os.access(path, os.W_OK) for path in (workers.GROUPS / "cpu", workers.GROUPS / "cgroup.subtree_control")
    ):
        pytest.skip("needs root and control groups")
    with (
        workers.held(f"sinkhole-test-{os.getpid()}", 0.3) as group,
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process,
    ):
        workers.hold([process.pid], sorted(os.sched_getaffinity(0)), [group])
        before = processor(process.pid)
        time.sleep(1)
        used = processor(process.pid) - before
        process.kill()
    assert 0.01 < used < 0.6
    assert not group.exists()


def test_groups_that_cannot_be_made_end_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "GROUPS", tmp_path / "none")
    with pytest.raises(SystemExit, match="three cores are needed"), workers.held("group", 0.2):
        pass

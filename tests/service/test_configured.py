from __future__ import annotations

import logging
from pathlib import Path

import pytest

from sinkhole.endpoint import Where
from sinkhole.service.configured import settings
from tests.bundles import configured
from tests.certificates import certificate


@pytest.mark.parametrize(("mode", "told"), [(0o600, False), (0o640, False), (0o644, True), (0o604, True)])
def test_a_key_that_everyone_may_read_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, told: bool
) -> None:
    pair = certificate(tmp_path)
    pair.key.chmod(mode)
    text = f"tls: {{cert: {pair.cert}, key: {pair.key}}}\nupstream: {{servers: [192.0.2.53]}}\n"

    with caplog.at_level(logging.WARNING):
        found = settings(configured(tmp_path, text), "token", Where((), (), ()))

    assert found.tls == (str(pair.cert), str(pair.key))
    assert any("everyone on this machine may read" in line for line in caplog.messages) is told

from __future__ import annotations

from pathlib import Path

import pytest

from tests.authority import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who vouches for the servers of these tests."""
    return Authority(Path(tmp_path_factory.mktemp("authority")))

"""The databases that have ORM sessions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pool.conftest import ORM, url_of


@pytest.fixture(params=ORM)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return url_of(request, tmp_path)

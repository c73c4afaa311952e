from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.needs("postgres"))])
def plugins(request: pytest.FixtureRequest, tmp_path: Path) -> Mapping[str, Any]:
    """Return the tables of other plugins that decide where sessions are remembered."""
    if request.param == "memory":
        return {}
    if request.param == "sqlite":
        return {"pool": {"url": f"sqlite:///{tmp_path}/sessions.db"}}
    server: Postgres = request.getfixturevalue("postgres")
    server.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return {"pool": {"url": server.url}}

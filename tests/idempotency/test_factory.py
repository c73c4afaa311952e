from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from scalekit import ConfigError, create_app
from scalekit.testing import running
from scalekit_idempotency.config import IdempotencyConfig
from scalekit_idempotency.factory import choose_store, verify_store

pytestmark = pytest.mark.anyio

REDIS = {"redis_url": "redis://127.0.0.1"}


@pytest.mark.parametrize(
    ("table", "has_database", "kind"),
    [
        ({}, True, "database"),
        ({}, False, "memory"),
        (REDIS, True, "database"),
        (REDIS, False, "redis"),
        ({"store": "redis", **REDIS}, True, "redis"),
        ({"store": "memory"}, True, "memory"),
    ],
)
def test_the_store_is_the_strongest_that_there_is(table: dict[str, Any], has_database: bool, kind: str) -> None:
    assert choose_store(IdempotencyConfig(**table), has_database) == kind


def test_a_store_that_cannot_work_is_refused_before_the_start() -> None:
    with pytest.raises(ConfigError, match=r'store = "database" needs \[plugins.pool\]'):
        verify_store(IdempotencyConfig(store="database"), has_database=False, workers=1)
    with pytest.raises(ConfigError, match="2 workers cannot share responses in memory"):
        verify_store(IdempotencyConfig(), has_database=False, workers=2)
    verify_store(IdempotencyConfig(), has_database=True, workers=2)


async def test_a_weaker_store_is_said_at_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pool = {"url": f"sqlite:///{tmp_path}/shop.db"}
    for tables in ({}, {"pool": pool}):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "scalekit.idempotency"):
            async with running(create_app({"plugins": {"idempotency": {}, **tables}}, app=Starlette())):
                pass
        said = [record.message for record in caplog.records if record.name == "scalekit.idempotency"]
        assert "all clients share one scope of keys" in said.pop(0)
        assert ["stores responses in memory, apart from the writes" in each for each in said] == [True] * (not tables)


@pytest.mark.parametrize(
    "tables",
    [{"idempotency": {"subject_header": "X-API-Key"}}, {"jwt": {"secret": "a secret for tests that is long enough"}}],
)
async def test_nothing_is_said_of_users_where_they_are_known(
    tables: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "scalekit.idempotency"):
        async with running(create_app({"plugins": {"idempotency": {}, **tables}}, app=Starlette())):
            pass
    assert "share one scope" not in caplog.text

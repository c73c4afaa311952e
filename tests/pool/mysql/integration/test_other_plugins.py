"""Plugins whose tables MySQL does not have yet say so at the start, and name the key that mends it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scalekit import StartError
from scalekit_idempotency.stores.schema import IdempotencySchema
from scalekit_jwt.session_store.database import DatabaseSessionStore
from scalekit_queue.schema import QueueSchema


@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (QueueSchema, r"outbox = false in \[plugins.queue\]"),
        (DatabaseSessionStore, r'session_store = "redis" or "memory" in \[plugins.jwt\]'),
        (IdempotencySchema, r'store = "redis" or "memory" in \[plugins.idempotency\]'),
    ],
)
def test_a_plugin_without_tables_for_mysql_refuses_to_start(make: Callable[..., Any], remedy: str) -> None:
    with pytest.raises(StartError, match=rf"PostgreSQL or SQLite.* has mysql; set {remedy}"):
        make(cast(Any, SimpleNamespace(dialect="mysql")))

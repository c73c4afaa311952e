"""Plugins whose tables MySQL does not have yet say so at the start, and name the key that mends it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from scalekit import StartError
from scalekit.contracts import DatabaseSchema
from scalekit_idempotency.stores.database import DatabaseIdempotencyStore
from scalekit_jwt.session_store.database import DatabaseSessionStore
from scalekit_queue.service import REMEDY

MYSQL: Any = cast(Any, SimpleNamespace(dialect="mysql"))


def test_a_plugin_without_tables_for_mysql_refuses_to_start() -> None:
    refused = r"need PostgreSQL or SQLite, and \[plugins.pool\] has mysql; set "
    with pytest.raises(StartError, match=refused + r"outbox = false in \[plugins.queue\]"):
        DatabaseSchema("queue", MYSQL, remedy=REMEDY)
    with pytest.raises(StartError, match=refused + r'session_store = "redis" or "memory" in \[plugins.jwt\]'):
        DatabaseSessionStore(MYSQL)
    with pytest.raises(StartError, match=refused + r'store = "redis" or "memory" in \[plugins.idempotency\]'):
        DatabaseIdempotencyStore(MYSQL, 1.0, 1, "read_committed")

"""Configuration errors and their remedies."""

from __future__ import annotations

from typing import Any

import pytest

from scalekit import ConfigError
from tests.broadcast.conftest import host_of

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"url": "amqp://127.0.0.1"}, "unsupported transport 'amqp://127.0.0.1'; write \"memory:\" or"),
    ({"url": "redis://127.0.0.1:0x"}, "write a port of 1 to 65535"),
    ({"prefix": "a b"}, "at most 64 letters"),
    ({"history": 0}, "greater than or equal to 1|at least 1"),
    ({"history": 10_001}, "10000"),
    ({"history": 2000}, "history 2000 times max_message_size 64KiB is more than 64MiB; lower one of them"),
    ({"history": 1, "max_message_size": "17MiB"}, "max_message_size 17MiB is more than 16MiB; publish a reference"),
    ({"history_ttl": "0s"}, "must be greater than zero"),
    ({"max_channels": 0}, "greater than or equal to 1|at least 1"),
    ({"slow_subscribers": "wait"}, "drop_oldest"),
    ({"channels": 3}, "max_channels"),
]


@pytest.mark.parametrize(("table", "message"), WRONG)
def test_an_invalid_table_is_rejected_with_the_remedy(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        host_of(**{"url": "memory:", **table})

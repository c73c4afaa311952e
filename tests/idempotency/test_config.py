from __future__ import annotations

from typing import Any

import pytest

from scalekit import ConfigError, create_app


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"store": "redis"}, 'store = "redis" needs redis_url'),
        ({"store": "memory", "redis_url": "redis://127.0.0.1"}, 'redis_url has no effect with store = "memory"'),
        ({"redis_url": "memcached://127.0.0.1"}, "unsupported scheme 'memcached'"),
        ({"methods": ["POST", "GET"]}, "safe methods need no key: remove GET"),
        ({"methods": []}, "methods"),
        ({"methods": ["POTS"]}, "'POTS' is no HTTP method; did you mean 'POST'"),
        ({"methods": ["FROBNICATE"]}, "'FROBNICATE' is no HTTP method"),
        ({"wait_timeout": "2m"}, "wait_timeout"),
        ({"memory_size": "1KiB"}, "max_response 1MiB is more than memory_size 1KiB"),
        ({"unstored_statuses": [200]}, "unstored_statuses"),
        ({"ttl": "0s"}, "must be greater than zero"),
    ],
)
def test_mistakes_are_named(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_app({"plugins": {"idempotency": table}}, app=lambda scope, receive, send: None)  # type: ignore[arg-type, return-value]

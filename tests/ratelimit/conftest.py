from __future__ import annotations

import pytest

from scalekit_redis.protocol import RedisProtocol


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the number of commands in each write to Redis, counting those of a combined command one by one."""
    seen: list[int] = []
    flush = RedisProtocol._flush

    def counting(self: RedisProtocol) -> None:
        seen.append(sum(len(entry.commands) for entry in self._unwritten))
        flush(self)

    monkeypatch.setattr(RedisProtocol, "_flush", counting)
    return seen

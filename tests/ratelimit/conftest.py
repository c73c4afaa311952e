from __future__ import annotations

import pytest

from scalekit_redis.protocol import Wire


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the number of calls in each write to Redis, those that go as one command one by one."""
    seen: list[int] = []
    flush = Wire._flush

    def counting(self: Wire) -> None:
        seen.append(sum(len(entry.calls) for entry in self._unwritten))
        flush(self)

    monkeypatch.setattr(Wire, "_flush", counting)
    return seen

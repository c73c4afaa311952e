from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from time import monotonic

import pytest

from scalekit.log_level import overrides
from scalekit.log_level.overrides import Change, Override, OverrideRegistry, ProcessOverrides, merge

pytestmark = pytest.mark.anyio
LATER = 3600.0


class RecordedLevels:
    """Levels that record how they are overridden."""

    configured: Mapping[str, str] = {"": "info"}

    def __init__(self) -> None:
        self.calls: list[dict[str, str]] = []
        self.changed = asyncio.Event()

    def override(self, levels: Mapping[str, str]) -> None:
        self.calls.append(dict(levels))
        self.changed.set()


def until(seconds: float, level: str = "debug") -> Override:
    return Override(level, monotonic() + seconds)


def test_a_change_replaces_the_override_of_its_logger_and_drops_those_that_have_ended() -> None:
    shop = until(LATER)
    before = {"": until(LATER), "shop": shop, "old": until(-1)}
    error = until(LATER, "error")
    assert merge(before, Change("", error)) == {"shop": shop, "": error}
    assert merge(before, Change("", None)) == {"shop": shop}
    assert merge(before, Change(None, None)) == {}


async def test_an_override_applies_at_once_and_ends_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "scalekit")
    process, levels = ProcessOverrides(), RecordedLevels()
    with process.applied_to(levels):
        await process.change(Change("", until(0.05)))
        await process.change(Change("shop", until(LATER)))
        assert levels.calls == [{}, {"": "debug"}, {"": "debug", "shop": "debug"}]
        levels.changed.clear()
        async with asyncio.timeout(20):
            await levels.changed.wait()
        assert levels.calls[-1] == {"shop": "debug"}
        assert process.active.keys() == {"shop"}
        await process.change(Change(None, None))
        assert levels.calls[-1] == {}
    assert [record.getMessage() for record in caplog.records] == ["the override of the log level has ended"]


async def test_overrides_that_arrive_before_the_plugin_has_started_apply_with_its_start() -> None:
    process, levels = ProcessOverrides(), RecordedLevels()
    await process.change(Change("", until(LATER)))
    await process.change(Change("old", until(-1)))
    with process.applied_to(levels):
        assert levels.calls == [{"": "debug"}]
    await process.change(Change(None, None))
    assert len(levels.calls) == 1


async def test_the_supervisor_merges_changes_and_tells_every_worker_and_each_new_one() -> None:
    registry = OverrideRegistry()
    workers = [ProcessOverrides(), ProcessOverrides()]

    def forward(content: bytes) -> None:
        for worker in workers:
            worker.receive(registry.change(content) if worker is workers[0] else registry.current())

    for worker in workers:
        worker.forward = forward
    await workers[0].change(Change("shop", until(LATER)))
    await workers[0].change(Change("", until(LATER, "error")))
    assert workers[0].active == workers[1].active
    replacement = ProcessOverrides()
    replacement.receive(registry.current())
    assert replacement.active == workers[0].active
    assert replacement.active.keys() == {"", "shop"}


async def test_a_supervisor_that_does_not_respond_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overrides, "CHANGE_TIMEOUT", 0.01)
    process = ProcessOverrides()
    sent: list[bytes] = []
    process.forward = sent.append
    with pytest.raises(TimeoutError):
        await process.change(Change("", until(LATER)))
    change_id = json.loads(sent[0])[0]
    process.receive(json.dumps([change_id, {}]).encode())
    assert process.active == {}


def test_the_registry_forgets_overrides_that_have_ended() -> None:
    registry = OverrideRegistry()
    registry.change(json.dumps(["1", "shop", until(-1)]).encode())
    assert json.loads(registry.current()) == ["", {}]

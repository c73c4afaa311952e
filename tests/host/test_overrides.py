from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from time import monotonic

import orjson
import pytest

from scalekit import overrides
from scalekit.contracts import Override, OverrideChange
from scalekit.overrides import OverrideRegistry, ProcessOverrides, merge

pytestmark = pytest.mark.anyio
LATER = 3600.0


class RecordedValues:
    """Records how the group *name* of *process* is applied, and what has ended."""

    def __init__(self, process: ProcessOverrides, name: str = "level") -> None:
        self.group = process.group(name)
        self.calls: list[dict[str, str]] = []
        self.ended: list[str] = []
        self.changed = asyncio.Event()

    def apply(self, values: Mapping[str, str]) -> None:
        self.calls.append(dict(values))
        self.changed.set()

    @contextmanager
    def applied(self) -> Generator[None, None, None]:
        with self.group.applied_with(self.apply, self.ended.append):
            yield


def until(seconds: float, value: str = "debug") -> Override:
    return Override(value, monotonic() + seconds)


def test_a_change_replaces_the_override_of_its_name_and_drops_those_that_have_ended() -> None:
    shop = until(LATER)
    before = {"": until(LATER), "shop": shop, "old": until(-1)}
    error = until(LATER, "error")
    assert merge(before, OverrideChange("", error)) == {"shop": shop, "": error}
    assert merge(before, OverrideChange("", None)) == {"shop": shop}
    assert merge(before, OverrideChange(None, None)) == {}


async def test_an_override_applies_at_once_and_ends_by_itself() -> None:
    values = RecordedValues(ProcessOverrides())
    with values.applied():
        await values.group.change(OverrideChange("", until(0.05)))
        await values.group.change(OverrideChange("shop", until(LATER)))
        assert values.calls == [{}, {"": "debug"}, {"": "debug", "shop": "debug"}]
        values.changed.clear()
        async with asyncio.timeout(20):
            await values.changed.wait()
        assert values.calls[-1] == {"shop": "debug"}
        assert values.group.active.keys() == {"shop"}
        await values.group.change(OverrideChange(None, None))
        assert values.calls[-1] == {}
    assert values.ended == [""]


async def test_overrides_that_arrive_before_the_plugin_has_started_apply_with_its_start() -> None:
    values = RecordedValues(ProcessOverrides())
    await values.group.change(OverrideChange("", until(LATER)))
    await values.group.change(OverrideChange("old", until(-1)))
    with values.applied():
        assert values.calls == [{"": "debug"}]
    await values.group.change(OverrideChange(None, None))
    assert len(values.calls) == 1


async def test_a_change_of_one_group_does_not_apply_another_one_again() -> None:
    registry, process = OverrideRegistry(), ProcessOverrides()
    levels, pauses = RecordedValues(process, "level"), RecordedValues(process, "pause")
    process.forward = lambda content: process.receive(registry.change(content))
    with levels.applied(), pauses.applied():
        await levels.group.change(OverrideChange("shop", until(LATER)))
        await pauses.group.change(OverrideChange("shop", until(LATER, "paused")))
        await pauses.group.change(OverrideChange("shop", None))
    assert levels.calls == [{}, {"shop": "debug"}]
    assert pauses.calls == [{}, {"shop": "paused"}, {}]


async def test_the_supervisor_merges_changes_and_tells_every_worker_and_each_new_one() -> None:
    registry = OverrideRegistry()
    workers = [ProcessOverrides(), ProcessOverrides()]

    def forward(content: bytes) -> None:
        for worker in workers:
            worker.receive(registry.change(content) if worker is workers[0] else registry.current())

    for worker in workers:
        worker.forward = forward
    await workers[0].group("level").change(OverrideChange("shop", until(LATER)))
    await workers[0].group("level").change(OverrideChange("", until(LATER, "error")))
    assert workers[0].group("level").active == workers[1].group("level").active
    replacement = ProcessOverrides()
    replacement.receive(registry.current())
    assert replacement.group("level").active == workers[0].group("level").active
    assert replacement.group("level").active.keys() == {"", "shop"}


async def test_a_supervisor_that_does_not_respond_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overrides, "CHANGE_TIMEOUT", 0.01)
    process = ProcessOverrides()
    sent: list[bytes] = []
    process.forward = sent.append
    with pytest.raises(TimeoutError):
        await process.group("level").change(OverrideChange("", until(LATER)))
    change_id = orjson.loads(sent[0])[0]
    process.receive(orjson.dumps([change_id, {"level": {}}]))
    assert process.group("level").active == {}


def test_the_registry_forgets_overrides_that_have_ended() -> None:
    registry = OverrideRegistry()
    registry.change(orjson.dumps(["1", "level", "shop", [*until(-1)]]))
    assert orjson.loads(registry.current()) == ["", {"level": {}}]

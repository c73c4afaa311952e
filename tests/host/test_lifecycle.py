from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from scalekit import Context, Key, Lifespan, StartError
from scalekit.config.tables import Server
from scalekit.lifecycle import Lifecycle, Phase, Step

pytestmark = pytest.mark.anyio

GOLD: Key[str] = Key("gold")


async def nothing() -> None:
    pass


class Story:
    """Steps that record their events."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.context = Context(Server(), {})

    def step(
        self,
        name: str,
        *,
        starting: Callable[[], Awaitable[None]] = nothing,
        stopping: Callable[[], Awaitable[None]] = nothing,
        **arguments: Any,
    ) -> Step:
        @asynccontextmanager
        async def run() -> AsyncGenerator[None, None]:
            await starting()
            self.events.append(f"{name}+")
            yield
            await stopping()  # not in a finally block: the host must resume here in any case
            self.events.append(f"{name}-")

        return Step(name, Lifespan(run, **arguments), start_timeout=0.2, stop_timeout=0.2)

    def lifecycle(self, *steps: Step) -> Lifecycle:
        return Lifecycle(steps, self.context)


def phase_of(lifecycle: Lifecycle) -> Phase:
    return lifecycle.phase


async def fail() -> None:
    raise OSError("no such host")


async def hang() -> None:
    await asyncio.Event().wait()


async def hang_for_good() -> None:
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if _released.is_set():
                raise


_released = asyncio.Event()


async def test_steps_start_in_order_and_stop_in_reverse(caplog: pytest.LogCaptureFixture) -> None:
    story = Story()
    lifecycle = story.lifecycle(story.step("a"), story.step("b"))
    await lifecycle.start()
    assert phase_of(lifecycle) is Phase.READY
    assert await lifecycle.stop() == []
    assert phase_of(lifecycle) is Phase.STOPPED
    assert story.events == ["a+", "b+", "b-", "a-"]
    assert (lifecycle.failed, caplog.text) == ({}, ""), "a stopped step has not failed"


async def test_a_step_that_fails_to_start_is_named_and_those_before_it_are_stopped_in_reverse(
    caplog: pytest.LogCaptureFixture,
) -> None:
    story = Story()
    lifecycle = story.lifecycle(story.step("a"), story.step("b"), story.step("c", starting=fail), story.step("d"))
    with pytest.raises(StartError, match="c did not start: OSError: no such host"):
        await lifecycle.start()
    assert story.events == ["a+", "b+", "b-", "a-"]
    assert caplog.text == "", "the caller reports the error"
    assert phase_of(lifecycle) is Phase.STOPPED


async def test_a_step_that_hangs_in_start_is_cancelled_and_named(caplog: pytest.LogCaptureFixture) -> None:
    story = Story()
    lifecycle = story.lifecycle(story.step("a"), story.step("b", starting=hang))
    with pytest.raises(StartError, match=r"b did not start within 0\.2s and was cancelled"):
        await lifecycle.start()
    assert story.events == ["a+", "a-"]
    assert caplog.text == "", "it is not left to hang in its stop too"


@pytest.mark.parametrize("stopping", [hang, hang_for_good])
async def test_a_step_that_hangs_in_stop_is_cancelled_and_named(
    stopping: Callable[[], Awaitable[None]], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scalekit.lifecycle.CANCEL_GRACE", 0.05)
    story = Story()
    lifecycle = story.lifecycle(story.step("a"), story.step("b", stopping=stopping), story.step("c"))
    await lifecycle.start()
    assert await lifecycle.stop() == ["b"]
    assert story.events == ["a+", "b+", "c+", "c-", "a-"]
    assert "b did not stop within 0.2s and was cancelled" in caplog.text
    await _release_the_hanging()


async def _release_the_hanging() -> None:
    _released.set()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    hanging = [task for task in left if task is not None and task.get_name().startswith("scalekit:")]
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
    _released.clear()


async def test_a_step_that_fails_to_stop_does_not_prevent_others_from_stopping(
    caplog: pytest.LogCaptureFixture,
) -> None:
    story = Story()
    lifecycle = story.lifecycle(story.step("a"), story.step("b", stopping=fail))
    await lifecycle.start()
    assert await lifecycle.stop() == []
    assert story.events == ["a+", "b+", "a-"]
    assert "b failed to stop" in caplog.text


async def test_a_step_that_stops_unexpectedly_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    crash = asyncio.Event()

    @asynccontextmanager
    async def run() -> AsyncGenerator[None, None]:
        async def work() -> None:
            await crash.wait()
            raise OSError("it broke")

        async with asyncio.TaskGroup() as group:
            group.create_task(work())
            yield

    story = Story()
    lifecycle = story.lifecycle(Step("a", Lifespan(run), 1.0, 1.0))
    await lifecycle.start()
    crash.set()
    while not lifecycle.failed:
        await asyncio.sleep(0)
    assert "OSError" in lifecycle.failed["a"]
    assert "a stopped unexpectedly" in caplog.text
    await lifecycle.stop()
    crash.clear()
    await lifecycle.start()
    assert lifecycle.failed == {}, "the step runs again"
    await lifecycle.stop()


async def test_a_step_must_provide_the_keys_that_it_declares() -> None:
    story = Story()
    with pytest.raises(StartError, match="a declares that it provides 'gold' but started without providing it"):
        await story.lifecycle(story.step("a", provides=(GOLD,))).start()


async def test_a_resource_is_withdrawn_when_its_step_has_stopped() -> None:
    story = Story()

    async def provide() -> None:
        story.context.provide(GOLD, "shiny")

    lifecycle = story.lifecycle(story.step("a", starting=provide, provides=(GOLD,)))
    await lifecycle.start()
    assert story.context.get(GOLD) == "shiny"
    await lifecycle.stop()
    assert not story.context.has(GOLD)
    await lifecycle.start()
    assert story.context.has(GOLD), "it can start again"
    await lifecycle.stop()


async def test_ready_and_drain_are_called_once_and_in_their_phase() -> None:
    story = Story()
    phases: list[tuple[str, Phase]] = []

    async def ready() -> None:
        phases.append(("ready", lifecycle.phase))

    async def drain() -> None:
        phases.append(("drain", lifecycle.phase))

    lifecycle = story.lifecycle(story.step("a", ready=ready, drain=drain))
    await lifecycle.start()
    await lifecycle.drain()
    await lifecycle.drain()
    assert phases == [("ready", Phase.STARTING), ("drain", Phase.DRAINING)]
    await lifecycle.stop()


@pytest.mark.parametrize("callback", [fail, hang])
async def test_a_drain_that_fails_or_hangs_does_not_block_others(
    callback: Callable[[], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    drained: list[str] = []

    async def drain() -> None:
        drained.append("b")

    story = Story()
    lifecycle = story.lifecycle(story.step("a", drain=callback), story.step("b", drain=drain))
    await lifecycle.start()
    await lifecycle.drain()
    assert drained == ["b"]
    assert "a: drain" in caplog.text
    await lifecycle.stop()


async def test_readiness_can_be_turned_off_from_a_signal_handler() -> None:
    story = Story()
    lifecycle = story.lifecycle()
    await lifecycle.start()
    lifecycle.begin_drain()
    assert phase_of(lifecycle) is Phase.DRAINING
    await lifecycle.stop()
    lifecycle.begin_drain()
    assert phase_of(lifecycle) is Phase.STOPPED, "a stopped lifecycle does not drain"


async def test_readiness_that_was_turned_off_while_starting_stays_off() -> None:
    async def ready() -> None:
        lifecycle.begin_drain()

    lifecycle = (story := Story()).lifecycle(story.step("a", ready=ready))
    await lifecycle.start()
    assert phase_of(lifecycle) is Phase.DRAINING
    await lifecycle.stop()


async def test_a_cancelled_start_task_stops_the_started_steps() -> None:
    story = Story()
    lifecycle = story.lifecycle(
        story.step("a"), Step("b", Lifespan(story.step("b", starting=hang).lifespan.run), None, 1)
    )
    task = asyncio.create_task(lifecycle.start())
    while "a+" not in story.events:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert story.events == ["a+", "a-"]


def without_timeouts(step: Step) -> Step:
    return Step(step.name, step.lifespan, None, 600)


async def test_cancel_start_stops_the_started_steps() -> None:
    story = Story()
    lifecycle = story.lifecycle(story.step("a"), without_timeouts(story.step("b", starting=hang)))
    task = asyncio.create_task(lifecycle.start())
    while "a+" not in story.events:
        await asyncio.sleep(0)
    lifecycle.cancel_start()
    with pytest.raises(StartError, match="the start was cancelled before it was complete"):
        await asyncio.wait_for(task, 60)
    assert story.events == ["a+", "a-"]
    assert phase_of(lifecycle) is Phase.STOPPED


async def test_cancel_start_after_a_complete_start_does_nothing() -> None:
    story = Story()
    lifecycle = story.lifecycle(story.step("a"))
    await lifecycle.start()
    lifecycle.cancel_start()
    await lifecycle.stop()
    await lifecycle.start()
    assert story.events == ["a+", "a-", "a+"]
    await lifecycle.stop()


async def test_force_stop_cancels_steps_that_drain_or_stop(caplog: pytest.LogCaptureFixture) -> None:
    story = Story()
    lifecycle = story.lifecycle(
        without_timeouts(story.step("a", drain=hang)), without_timeouts(story.step("b", stopping=hang))
    )
    await lifecycle.start()
    draining = asyncio.create_task(lifecycle.drain())
    await asyncio.sleep(0)
    lifecycle.force_stop()
    await asyncio.wait_for(draining, 60)
    assert "b" in await asyncio.wait_for(lifecycle.stop(), 60)
    assert "b did not stop at once and was cancelled" in caplog.text


async def test_a_running_stop_can_be_forced() -> None:
    stopping = asyncio.Event()

    async def stop() -> None:
        stopping.set()
        await hang()

    lifecycle = (story := Story()).lifecycle(without_timeouts(story.step("a", stopping=stop)))
    await lifecycle.start()
    task = asyncio.create_task(lifecycle.stop())
    await stopping.wait()
    lifecycle.force_stop()
    assert await asyncio.wait_for(task, 60) == ["a"]


async def leave() -> None:
    raise SystemExit("no licence")


async def test_a_step_that_exits_at_its_start_has_failed_to_start_and_those_before_it_are_stopped() -> None:
    story = Story()
    lifecycle = story.lifecycle(story.step("a"), story.step("b", starting=leave))
    with pytest.raises(StartError, match=r"b did not start: SystemExit: no licence \(.*test_lifecycle.py:\d+\)"):
        await lifecycle.start()
    assert story.events == ["a+", "a-"]


async def test_a_step_that_exits_at_its_stop_does_not_prevent_others_from_stopping(
    caplog: pytest.LogCaptureFixture,
) -> None:
    story = Story()
    lifecycle = story.lifecycle(story.step("a"), story.step("b", stopping=leave))
    await lifecycle.start()
    await lifecycle.stop()
    assert story.events == ["a+", "b+", "a-"]
    assert "SystemExit: no licence" in caplog.text

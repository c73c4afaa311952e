"""Several timeouts on one timer of a real event loop: which expire, and in which order."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from scalekit.runner.server.connection_timer import ConnectionTimeout, ConnectionTimer


class Course:
    """Deadlines that write down that they came."""

    def __init__(self) -> None:
        self.timer = ConnectionTimer(asyncio.get_running_loop())
        self.passed: list[str] = []
        self.over = asyncio.Event()

    def timeout(self, name: str, seconds: float) -> ConnectionTimeout:
        return self.timer.timeout(seconds, lambda: self.passed.append(name))

    async def end_after(self, seconds: float) -> list[str]:
        self.timer.timeout(seconds, self.over.set).start()
        await asyncio.wait_for(self.over.wait(), 60)
        return self.passed


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> asyncio.Runner:
    return asyncio.Runner(loop_factory=request.param)


def test_timeouts_expire_in_order_and_once(runner: asyncio.Runner) -> None:
    async def run() -> None:
        course = Course()
        late, early = course.timeout("late", 0.1), course.timeout("early", 0.03)
        late.start()
        early.start()
        assert await course.end_after(0.2) == ["early", "late"]
        assert not late.is_running()

    with runner:
        runner.run(run())


def test_a_stopped_timeout_does_not_expire_and_others_do(runner: asyncio.Runner) -> None:
    async def run() -> None:
        course = Course()
        stopped, other = course.timeout("stopped", 0.02), course.timeout("other", 0.05)
        stopped.start()
        other.start()
        stopped.stop()
        assert not stopped.is_running()
        assert await course.end_after(0.1) == ["other"]

    with runner:
        runner.run(run())


def test_a_restarted_timeout_expires_later(runner: asyncio.Runner) -> None:
    async def run() -> None:
        course = Course()
        prolonged = course.timeout("prolonged", 0.2)
        course.timer.timeout(0.1, prolonged.start).start()
        course.timeout("other", 0.25).start()
        prolonged.start()
        assert await course.end_after(0.4) == ["other", "prolonged"]

    with runner:
        runner.run(run())


def test_a_timeout_can_restart_itself(runner: asyncio.Runner) -> None:
    async def run() -> None:
        course = Course()
        rounds: list[ConnectionTimeout] = []
        came = asyncio.Event()

        def again() -> None:
            rounds.append(timeout)
            came.set() if len(rounds) == 3 else timeout.start()

        timeout = course.timer.timeout(0.01, again)
        timeout.start()
        await asyncio.wait_for(came.wait(), 60)

    with runner:
        runner.run(run())


def test_no_timeout_expires_after_the_end(runner: asyncio.Runner) -> None:
    async def run() -> None:
        course, other = Course(), Course()
        running, later = course.timeout("running", 0.02), course.timeout("later", 0.02)
        running.start()
        course.timer.end()
        later.start()
        await other.end_after(0.1)
        assert course.passed == []

    with runner:
        runner.run(run())

"""Several deadlines on one timer, on a real loop: which of them come, and in which order."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from scalekit.runner.server.connection_timeouts import ConnectionTimeout, ConnectionTimer


class Course:
    """Deadlines that write down that they came."""

    def __init__(self) -> None:
        self.timer = ConnectionTimer(asyncio.get_running_loop())
        self.passed: list[str] = []
        self.over = asyncio.Event()

    def deadline(self, name: str, seconds: float) -> ConnectionTimeout:
        return self.timer.deadline(seconds, lambda: self.passed.append(name))

    async def end_after(self, seconds: float) -> list[str]:
        self.timer.deadline(seconds, self.over.set).start()
        await asyncio.wait_for(self.over.wait(), 60)
        return self.passed


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> asyncio.Runner:
    return asyncio.Runner(loop_factory=request.param)


def test_deadlines_come_by_their_time_and_once(runner: asyncio.Runner) -> None:
    async def run() -> None:
        course = Course()
        late, early = course.deadline("late", 0.1), course.deadline("early", 0.03)
        late.start()
        early.start()
        assert await course.end_after(0.2) == ["early", "late"]
        assert not late.runs()

    with runner:
        runner.run(run())


def test_a_deadline_that_is_stopped_does_not_come_and_others_do(runner: asyncio.Runner) -> None:
    async def run() -> None:
        course = Course()
        stopped, other = course.deadline("stopped", 0.02), course.deadline("other", 0.05)
        stopped.start()
        other.start()
        stopped.stop()
        assert not stopped.runs()
        assert await course.end_after(0.1) == ["other"]

    with runner:
        runner.run(run())


def test_a_deadline_that_is_started_anew_comes_later(runner: asyncio.Runner) -> None:
    async def run() -> None:
        course = Course()
        prolonged = course.deadline("prolonged", 0.2)
        course.timer.deadline(0.1, prolonged.start).start()
        course.deadline("other", 0.25).start()
        prolonged.start()
        assert await course.end_after(0.4) == ["other", "prolonged"]

    with runner:
        runner.run(run())


def test_a_deadline_may_start_itself_again(runner: asyncio.Runner) -> None:
    async def run() -> None:
        course = Course()
        rounds: list[ConnectionTimeout] = []
        came = asyncio.Event()

        def again() -> None:
            rounds.append(deadline)
            came.set() if len(rounds) == 3 else deadline.start()

        deadline = course.timer.deadline(0.01, again)
        deadline.start()
        await asyncio.wait_for(came.wait(), 60)

    with runner:
        runner.run(run())


def test_after_the_end_nothing_comes(runner: asyncio.Runner) -> None:
    async def run() -> None:
        course, other = Course(), Course()
        running, later = course.deadline("running", 0.02), course.deadline("later", 0.02)
        running.start()
        course.timer.end()
        later.start()
        await other.end_after(0.1)
        assert course.passed == []

    with runner:
        runner.run(run())

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from scalekit import Check
from scalekit.health.monitor import Monitor, Status

pytestmark = pytest.mark.anyio


async def well() -> None:
    pass


async def ill() -> None:
    raise OSError("cannot reach redis://:hunter2@h")


async def hang() -> None:
    await asyncio.Event().wait()


def monitor(interval: float = 0.01, **checks: Check) -> Monitor:
    return Monitor(checks, interval, lambda text: text.replace("hunter2", "***"))


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("probe", "critical", "overall"),
    [
        (well, True, Status.HEALTHY),
        (ill, True, Status.UNHEALTHY),
        (ill, False, Status.DEGRADED),
        (hang, True, Status.UNHEALTHY),
        (hang, False, Status.DEGRADED),
    ],
)
async def test_a_failed_critical_check_is_unhealthy_another_degraded(
    probe: Any, critical: bool, overall: Status
) -> None:
    watched = monitor(a=Check("a", probe, critical, 0.01), b=Check("b", well))
    await watched.check_once()
    assert watched.overall() is overall
    assert watched.failing(critical=critical) == ([] if probe is well else ["a"])


async def test_no_checks_are_healthy() -> None:
    assert monitor().overall() is Status.HEALTHY


async def test_a_critical_check_without_a_result_counts_as_failing() -> None:
    watched = monitor(a=Check("a", hang, timeout=10))
    async with watched.run():
        assert watched.status("a") is Status.UNKNOWN
        assert watched.overall() is Status.UNHEALTHY


async def test_a_check_that_hangs_is_cancelled_and_delays_no_other() -> None:
    watched = monitor(a=Check("a", hang, timeout=0.01), b=Check("b", well, timeout=10))
    async with watched.run():
        await until(lambda: watched.results["a"].status is Status.UNHEALTHY)
        assert watched.results["a"].last_error == "no result within 0.01s"
        assert watched.results["b"].status is Status.HEALTHY


async def test_a_probe_that_cannot_be_cancelled_fails_when_its_result_is_too_old() -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                pass

    watched = monitor(a=Check("a", stubborn, timeout=0.01))
    async with watched.run():
        await until(lambda: watched.status("a") is Status.UNHEALTHY)
        assert "the probe hangs" in watched.results["a"].last_error
        release.set()


async def test_a_failed_check_whose_probe_hangs_later_keeps_its_error() -> None:
    watched = monitor(a=Check("a", ill))
    await watched.check_once()
    watched.results["a"].at -= 1000
    assert watched.status("a") is Status.UNHEALTHY
    assert watched.results["a"].last_error == "OSError: cannot reach redis://:***@h"


async def test_checks_repeat_and_recover_and_keep_the_last_error() -> None:
    probes = [ill, ill, well]

    async def probe() -> None:
        await (probes.pop(0) if len(probes) > 1 else probes[0])()

    watched = monitor(a=Check("a", probe))
    async with watched.run():
        await until(lambda: watched.results["a"].status is Status.HEALTHY)
    assert watched.results["a"].last_error == "OSError: cannot reach redis://:***@h"


async def test_no_task_is_left() -> None:
    before = asyncio.all_tasks()
    async with monitor(a=Check("a", hang, timeout=10)).run():
        pass
    assert asyncio.all_tasks() == before


async def test_a_timeout_error_of_the_probe_is_distinguished_from_the_checks_timeout() -> None:
    async def probe() -> None:
        raise TimeoutError("the driver gave up")

    watched = monitor(a=Check("a", probe, timeout=5))
    await watched.check_once()
    assert watched.results["a"].last_error == "TimeoutError: the driver gave up"

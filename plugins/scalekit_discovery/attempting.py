"""One attempt of a call, at one instance."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from math import ceil
from time import monotonic
from typing import Any, NamedTuple

import aiohttp
from yarl import URL

from scalekit.deadline import TIMEOUT
from scalekit_discovery.answering import FAILURES
from scalekit_discovery.balancing import Target
from scalekit_discovery.service import Service

GATEWAY_FAILURES = frozenset((502, 503, 504))
SHORT_OF_TIME = 0.05
"""Seconds before the end in which a hurried call may be told 503 because it had no time: that end is passed on."""
STEPS = 100
"""Steps of a second to which deadlines are rounded up, so that few are made."""


class End(NamedTuple):
    """When a call is over, on the monotonic clock; *hurried* where whoever waits gives it less than it may take."""

    at: float
    hurried: bool


async def attempt(
    service: Service, target: Target, method: str, path: str, options: dict[str, Any], end: End, another: bool
) -> aiohttp.ClientResponse:
    """Send the request to *target* and return the answer when it begins.

    It is over at *end*, or earlier where *another* attempt may follow. Raises what aiohttp does, and TimeoutError; that
    a caller had no time to wait is not the instance's failure, nor that the instance says so.
    """
    targets = service.targets
    began = monotonic()
    left = end.at - began
    if left <= 0:
        raise TimeoutError
    options["headers"][TIMEOUT] = str(int(left * 1e3))
    targets.begin(target)
    answered: aiohttp.ClientResponse | None = None
    try:
        request = service.session.request(
            method, URL(target.base + path), timeout=_timeout(ceil(left * STEPS)), **options
        )
        cut_after = service.attempt_timeout if another and service.attempt_timeout < left else None
        response = answered = await (request if cut_after is None else _in_time(request, cut_after))
    except FAILURES as error:
        now = monotonic()
        if isinstance(error, TimeoutError) and end.hurried and now >= end.at:
            targets.left(target)
        else:
            targets.failed(target, now - began, now)
        raise
    except BaseException:
        targets.left(target)
        raise
    finally:
        if answered is None or answered.connection is None:
            target.in_flight -= 1
        else:
            answered.connection.add_callback(target.finish)
    now = monotonic()
    if response.status in GATEWAY_FAILURES and end.hurried and now > end.at - SHORT_OF_TIME:
        targets.left(target)
    elif response.status in GATEWAY_FAILURES:
        targets.failed(target, now - began, now)
    else:
        targets.succeeded(target, now - began, now)
    return response


@lru_cache(1024)
def _timeout(steps: int) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=steps / STEPS)


class _Cut:
    """Cancels a task when it is called."""

    __slots__ = ("done", "task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.done = False

    def __call__(self) -> None:
        self.done = True
        self.task.cancel()


async def _in_time(request: Any, seconds: float) -> aiohttp.ClientResponse:
    """Do what ``asyncio.timeout`` does, which costs a fifth of all that a call may cost here."""
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a call is made in a task")
    cancelled_before = task.cancelling()
    cut = _Cut(task)
    handle = asyncio.get_running_loop().call_later(seconds, cut)
    try:
        response: aiohttp.ClientResponse = await request
    except asyncio.CancelledError:
        if cut.done and task.uncancel() <= cancelled_before:
            raise TimeoutError from None
        raise
    finally:
        handle.cancel()
    return response

"""One attempt of a call, at one instance."""

from __future__ import annotations

import asyncio
from functools import lru_cache, partial
from math import ceil
from time import monotonic
from typing import Any, NamedTuple

import aiohttp
from yarl import URL

from scalekit import TIMEOUT_HEADER
from scalekit_discovery.load_balancer import Endpoint, LoadBalancer
from scalekit_discovery.responses import FAILURES, UpstreamResponse
from scalekit_discovery.upstream import Upstream

GATEWAY_FAILURES = frozenset((502, 503, 504))
SHORT_OF_TIME = 0.05
"""Seconds before the end in which a hurried call may be told 503 because it had no time: that end is passed on."""
STEPS = 100
"""Steps of a second to which deadlines are rounded up, so that few are made."""


class CallDeadline(NamedTuple):
    """When a call is over, on the monotonic clock; *hurried* where whoever waits gives it less than it may take."""

    at: float
    hurried: bool


async def attempt(
    service: Upstream,
    target: Endpoint,
    method: str,
    path: str,
    options: dict[str, Any],
    end: CallDeadline,
    another: bool,
) -> aiohttp.ClientResponse:
    """Send the request to *target* and return the answer when it begins.

    It is over at *end*, or earlier where *another* attempt may follow. Raises what aiohttp does, and TimeoutError; that
    a caller had no time to wait is not the instance's failure, nor that the instance says so. It succeeds when the last
    byte of the body has come: an instance that breaks off every body is ejected like one that refuses connections.
    """
    targets = service.targets
    began = monotonic()
    left = end.at - began
    if left <= 0:
        raise TimeoutError
    options["headers"][TIMEOUT_HEADER] = str(int(left * 1e3))
    targets.begin(target)
    begun: aiohttp.ClientResponse | None = None
    try:
        request = service.session.request(
            method, URL(target.base + path), timeout=_timeout(ceil(left * STEPS)), **options
        )
        cut_after = service.attempt_timeout if another and service.attempt_timeout < left else None
        response = begun = await (request if cut_after is None else _in_time(request, cut_after))
    except FAILURES as error:
        _note_failure(targets, target, error, end, began)
        raise
    except BaseException:
        targets.left(target)
        raise
    finally:
        if begun is None or begun.connection is None:
            target.in_flight -= 1
    now = monotonic()
    if response.status not in GATEWAY_FAILURES:
        _note_success(targets, target, response, end, began, now)
        return response
    if response.connection is not None:
        response.connection.add_callback(target.finish)
    if end.hurried and now > end.at - SHORT_OF_TIME:
        targets.left(target)
    else:
        targets.failed(target, now - began, now)
    return response


def _note_failure(
    targets: LoadBalancer, target: Endpoint, error: BaseException, end: CallDeadline, began: float
) -> None:
    now = monotonic()
    if isinstance(error, TimeoutError) and end.hurried and now >= end.at:
        targets.left(target)
    else:
        targets.failed(target, now - began, now)


def _note_success(
    targets: LoadBalancer,
    target: Endpoint,
    response: aiohttp.ClientResponse,
    end: CallDeadline,
    began: float,
    now: float,
) -> None:
    """Note the success of an attempt at once when its body is there, else when the body ends."""
    if response.connection is None:
        targets.succeeded(target, now - began, now)
        return
    pending = PendingBody(targets, target, end, now - began)
    if isinstance(response, UpstreamResponse):
        response.on_broken = pending.fail
    response.connection.add_callback(partial(pending.finish, response.content))


class PendingBody:
    """An attempt whose response has begun and whose body is still to come; *latency* is in seconds."""

    __slots__ = ("_end", "_failed", "_latency", "_target", "_targets")

    def __init__(self, targets: LoadBalancer, target: Endpoint, end: CallDeadline, latency: float) -> None:
        self._targets = targets
        self._target = target
        self._end = end
        self._latency = latency
        self._failed = False

    def fail(self, error: BaseException) -> None:
        """Note, once, that the body does not come."""
        if not self._failed:
            self._failed = True
            _note_failure(self._targets, self._target, error, self._end, monotonic() - self._latency)

    def finish(self, content: aiohttp.StreamReader) -> None:
        """Note how the body ended when its connection is released or closed."""
        self._target.finish()
        error = content.exception()
        # A caller that closes early leaves a plain ClientConnectionError; what the transport reports is more special.
        if isinstance(error, FAILURES) and type(error) is not aiohttp.ClientConnectionError:
            self.fail(error)
        elif content.is_eof():
            self._targets.succeeded(self._target, self._latency, monotonic())
        else:
            self._targets.left(self._target)


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

"""One attempt of a call: send the request to one endpoint, and record whether its response arrives."""

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
from scalekit_discovery.propagation import CallDeadline
from scalekit_discovery.responses import FAILURES, UpstreamResponse
from scalekit_discovery.upstream import Upstream

GATEWAY_ERRORS = frozenset((502, 503, 504))
DEADLINE_MARGIN = 0.05
"""Seconds before an inherited deadline in which a gateway error may be due to the deadline, not to the instance."""
STEPS_PER_SECOND = 100
"""Timeouts are rounded up to these steps, so that few aiohttp.ClientTimeout objects are made."""


class CallRequest(NamedTuple):
    """Method, path and aiohttp's options of a call."""

    method: str
    path: str
    options: dict[str, Any]


async def attempt(
    upstream: Upstream, endpoint: Endpoint, request: CallRequest, deadline: CallDeadline, *, may_retry: bool
) -> aiohttp.ClientResponse:
    """Send *request* to *endpoint* and return the response when its head has arrived.

    The attempt ends at *deadline*, or after ``attempt_timeout`` when the call *may_retry* at another endpoint. Raises
    aiohttp's errors and TimeoutError. An expired inherited deadline is no failure of the instance. Success is recorded
    with the last byte of the body: an instance that breaks off its bodies is ejected like one that refuses connections.
    """
    balancer = upstream.load_balancer
    started = monotonic()
    left = deadline.at - started
    if left <= 0:
        raise TimeoutError
    request.options["headers"][TIMEOUT_HEADER] = str(int(left * 1e3))
    balancer.on_start(endpoint)
    received: aiohttp.ClientResponse | None = None
    try:
        pending = upstream.session.request(
            request.method,
            URL(endpoint.base_url + request.path),
            timeout=_timeout(ceil(left * STEPS_PER_SECOND)),
            **request.options,
        )
        limit = upstream.attempt_timeout if may_retry and upstream.attempt_timeout < left else None
        response = received = await (pending if limit is None else _with_timeout(pending, limit))
    except FAILURES as error:
        _record_failure(balancer, endpoint, error, deadline, started)
        raise
    except BaseException:
        balancer.on_abandoned(endpoint)
        raise
    finally:
        if received is None or received.connection is None:
            endpoint.in_flight -= 1
    now = monotonic()
    if response.status not in GATEWAY_ERRORS:
        _record_body(balancer, endpoint, response, deadline, now - started)
        return response
    if response.connection is not None:
        response.connection.add_callback(endpoint.release)
    if deadline.inherited and now > deadline.at - DEADLINE_MARGIN:
        balancer.on_abandoned(endpoint)
    else:
        balancer.on_failure(endpoint, now - started, now)
    return response


def _record_failure(
    balancer: LoadBalancer, endpoint: Endpoint, error: BaseException, deadline: CallDeadline, started: float
) -> None:
    now = monotonic()
    if isinstance(error, TimeoutError) and deadline.inherited and now >= deadline.at:
        balancer.on_abandoned(endpoint)
    else:
        balancer.on_failure(endpoint, now - started, now)


def _record_body(
    balancer: LoadBalancer,
    endpoint: Endpoint,
    response: aiohttp.ClientResponse,
    deadline: CallDeadline,
    latency: float,
) -> None:
    """Record success now when the whole body has arrived, else when the body ends."""
    if response.connection is None:
        balancer.on_success(endpoint, latency, monotonic())
        return
    body = PendingBody(balancer, endpoint, deadline, latency)
    if isinstance(response, UpstreamResponse):
        response.on_body_error = body.fail
    response.connection.add_callback(partial(body.finish, response.content))


class PendingBody:
    """The body of a response whose head has arrived; *latency* of the head is in seconds."""

    __slots__ = ("_balancer", "_deadline", "_endpoint", "_failed", "_latency")

    def __init__(self, balancer: LoadBalancer, endpoint: Endpoint, deadline: CallDeadline, latency: float) -> None:
        self._balancer = balancer
        self._endpoint = endpoint
        self._deadline = deadline
        self._latency = latency
        self._failed = False

    def fail(self, error: BaseException) -> None:
        """Record, once, that the body failed."""
        if not self._failed:
            self._failed = True
            _record_failure(self._balancer, self._endpoint, error, self._deadline, monotonic() - self._latency)

    def finish(self, content: aiohttp.StreamReader) -> None:
        """Record how the body ended, when its connection is released or closed."""
        self._endpoint.release()
        error = content.exception()
        # A caller that closes early leaves a plain ClientConnectionError; the transport's errors are subclasses.
        if isinstance(error, FAILURES) and type(error) is not aiohttp.ClientConnectionError:
            self.fail(error)
        elif content.is_eof():
            self._balancer.on_success(self._endpoint, self._latency, monotonic())
        else:
            self._balancer.on_abandoned(self._endpoint)


@lru_cache(1024)
def _timeout(steps: int) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=steps / STEPS_PER_SECOND)


class _TimeoutCancel:
    """Cancels a task when called."""

    __slots__ = ("expired", "task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.expired = False

    def __call__(self) -> None:
        self.expired = True
        self.task.cancel()


async def _with_timeout(pending: Any, seconds: float) -> aiohttp.ClientResponse:
    """Await *pending* for at most *seconds*; ``asyncio.timeout`` would cost a fifth of the overhead of a call."""
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a call must be made in a task")
    cancelled_before = task.cancelling()
    cancel = _TimeoutCancel(task)
    handle = asyncio.get_running_loop().call_later(seconds, cancel)
    try:
        response: aiohttp.ClientResponse = await pending
    except asyncio.CancelledError:
        if cancel.expired and task.uncancel() <= cancelled_before:
            raise TimeoutError from None
        raise
    finally:
        handle.cancel()
    return response

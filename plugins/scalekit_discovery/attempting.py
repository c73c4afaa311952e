"""One attempt of a call, at one instance."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

import aiohttp
from yarl import URL

from scalekit_discovery.balancing import Target
from scalekit_discovery.passing_on import TIMEOUT_HEADER
from scalekit_discovery.service import Service

GATEWAY_FAILURES = frozenset((502, 503, 504))


async def attempt(
    service: Service, target: Target, method: str, path: str, options: dict[str, Any], end: float, another: bool
) -> aiohttp.ClientResponse:
    """Send the request to *target* and return the answer when it begins.

    It is over at *end*, or earlier where *another* attempt may follow. Raises what aiohttp does, and TimeoutError.
    """
    targets = service.targets
    began = monotonic()
    left = end - began
    if left <= 0:
        raise TimeoutError
    options["headers"][TIMEOUT_HEADER] = str(int(left * 1e3))
    targets.begin(target)
    answered: aiohttp.ClientResponse | None = None
    try:
        request = service.session.request(
            method, URL(target.base + path), timeout=aiohttp.ClientTimeout(total=left), **options
        )
        if another and service.attempt_timeout < left:
            async with asyncio.timeout(service.attempt_timeout):
                answered = await request
        else:
            answered = await request
    except (aiohttp.ClientError, TimeoutError, OSError):
        now = monotonic()
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
    if answered.status in GATEWAY_FAILURES:
        targets.failed(target, now - began, now)
    else:
        targets.succeeded(target, now - began, now)
    service.metrics.answered.inc()
    service.metrics.seconds.observe(now - began)
    return answered

"""Call a service by its name: an attempt at one instance, and others where that may help."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any

import aiohttp
from aiohttp.client import _RequestContextManager as Call

from scalekit_discovery.attempt import CallDeadline, attempt
from scalekit_discovery.load_balancer import Endpoint
from scalekit_discovery.propagation import deadline, passed_on
from scalekit_discovery.responses import FAILURES, CallFailed
from scalekit_discovery.upstream import Upstream

IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"))
ANOTHER_MAY_DO = frozenset((502, 503, 504))
RESENDABLE = (bytes, str, type(None))


class UpstreamClient:
    """The requests of an aiohttp session, to paths of one service.

    ``async with client.get("/stock/1") as response:`` or ``await client.get("/stock/1")``; options are aiohttp's.
    *timeout* is seconds for the call with all its attempts. A redirect is a response like any other: following it would
    leave the service, its balancing and its deadline. Raises CallFailed.
    """

    def __init__(self, service: Upstream) -> None:
        self._service = service

    def request(self, method: str, path: str, **options: Any) -> Call:
        """Send a request of any *method*."""
        return Call(self._call(method.upper(), path, options))

    def get(self, path: str, **options: Any) -> Call:
        """Send a GET."""
        return Call(self._call("GET", path, options))

    def head(self, path: str, **options: Any) -> Call:
        """Send a HEAD."""
        return Call(self._call("HEAD", path, options))

    def options(self, path: str, **options: Any) -> Call:
        """Send an OPTIONS."""
        return Call(self._call("OPTIONS", path, options))

    def post(self, path: str, **options: Any) -> Call:
        """Send a POST, which is attempted anew only if it was not sent."""
        return Call(self._call("POST", path, options))

    def put(self, path: str, **options: Any) -> Call:
        """Send a PUT."""
        return Call(self._call("PUT", path, options))

    def patch(self, path: str, **options: Any) -> Call:
        """Send a PATCH, which is attempted anew only if it was not sent."""
        return Call(self._call("PATCH", path, options))

    def delete(self, path: str, **options: Any) -> Call:
        """Send a DELETE."""
        return Call(self._call("DELETE", path, options))

    async def _call(self, method: str, path: str, options: dict[str, Any]) -> aiohttp.ClientResponse:
        if not path.startswith("/"):
            raise ValueError(f"a path begins with /, got {path!r}; the service is named already")
        if options.get("allow_redirects"):
            raise ValueError(
                "a redirect leads out of the service; leave allow_redirects out and read the Location header"
            )
        options["allow_redirects"] = False
        service = self._service
        options["headers"] = {**passed_on(), **_fields(options.get("headers"))}
        began = monotonic()
        end = _end(began, options.pop("timeout", None), service.timeout)
        resendable = isinstance(options.get("data"), RESENDABLE)
        retries = service.retries if resendable else 0
        safe = retries and method in IDEMPOTENT
        if not service.targets.all:
            await service.wait_for_instances(end.at)
        service.budget.pay_in()
        tried: list[Endpoint] = []
        while True:
            target = service.choose(tried)
            again = bool(safe and len(tried) < retries)
            another = again and service.targets.has_another(target, tried, monotonic())
            try:
                response = await attempt(service, target, method, path, options, end, another)
            except FAILURES as error:
                unsent = isinstance(error, aiohttp.ClientConnectorError) and len(tried) < retries
                if not ((again or unsent) and monotonic() < end.at and service.may_retry()):
                    raise _failed(service, target, error, end) from error
            else:
                if not (response.status in ANOTHER_MAY_DO and another and monotonic() < end.at and service.may_retry()):
                    service.metrics.answered.inc()
                    service.metrics.seconds.observe(monotonic() - began)
                    return response
                response.release()
            tried.append(target)


def _fields(headers: Any) -> Mapping[str, str]:
    if not headers:
        return {}
    return {str(name).lower(): value for name, value in dict(headers).items()}


def _end(began: float, timeout: float | None, default: float) -> CallDeadline:
    """Return when the call is over: its own time, or that of whoever waits for it."""
    own = began + (default if timeout is None else timeout)
    asked = deadline()
    return CallDeadline(own, False) if asked is None or asked >= own else CallDeadline(asked, True)


def _failed(service: Upstream, target: Endpoint, error: BaseException, end: CallDeadline) -> CallFailed:
    service.metrics.failed.inc()
    if isinstance(error, TimeoutError) and end.hurried:
        return CallFailed(f"{service.name}: whoever waits for the call has no more time")
    what = "it did not answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    return CallFailed(f"{service.name}: instance {target.instance.id} failed: {what}")

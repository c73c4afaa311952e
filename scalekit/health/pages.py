"""The three health pages, which only read memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson
from starlette.types import Scope

from scalekit.health.monitor import Monitor, Result, Status
from scalekit.http.exchange import Exchange
from scalekit.http.filter import Decision
from scalekit.http.path_filters import PathFilter
from scalekit.http.response import LocalResponse, local_problem
from scalekit.lifecycle import Lifecycle, Phase

HEADERS = [(b"cache-control", b"no-store"), (b"content-type", b"application/json")]

Page = Callable[[bool], tuple[int, dict[str, object]]]


class HealthPages(PathFilter):
    """Serve the health pages outside of all layers, without access log and rate limit.

    *admits* returns whether the client may see details; other clients see only the status.
    """

    def __init__(
        self, path: str, lifecycle: Lifecycle, monitor: Monitor, admits: Callable[[Scope], bool] = lambda scope: True
    ) -> None:
        self.prefix = path
        self.lifecycle = lifecycle
        self.monitor = monitor
        self.admits = admits
        self.pages: dict[str, Page] = {path: self._summary, f"{path}/live": self._live, f"{path}/ready": self._ready}

    def on_request(self, exchange: Exchange) -> Decision:
        """Respond to requests for health pages."""
        page = self.pages.get(exchange.route_path)
        if page is None:
            return None
        if exchange.scope["method"] not in ("GET", "HEAD"):
            return local_problem(405, "use GET for health pages", headers={"allow": "GET, HEAD"})
        status, content = page(self.admits(exchange.scope))
        body = orjson.dumps(content)
        return LocalResponse(status, [*HEADERS, (b"content-length", b"%d" % len(body))], body)

    def _live(self, details: bool) -> tuple[int, dict[str, object]]:
        return 200, {"status": "alive"}

    def _ready(self, details: bool) -> tuple[int, dict[str, object]]:
        reason = self._not_ready(details)
        return (503, {"status": "not ready", "reason": reason}) if reason else (200, {"status": "ready"})

    def _summary(self, details: bool) -> tuple[int, dict[str, object]]:
        reason = self._not_ready(details)
        status = Status.UNHEALTHY if reason else self.monitor.overall()
        content: dict[str, object] = {"status": status}
        if details:
            now = asyncio.get_running_loop().time()
            results = self.monitor.results.items()
            content |= {"reason": reason, "phase": self.lifecycle.phase.value}
            content["checks"] = {name: self._details(name, result, now) for name, result in results}
        return 503 if reason else 200, content

    def _details(self, name: str, result: Result, now: float) -> dict[str, object]:
        return {
            "status": self.monitor.status(name),
            "critical": result.check.critical,
            "latency_ms": round(result.latency * 1e3, 3),
            "age_s": round(now - result.at, 3),
            "last_error": result.last_error,
        }

    def _not_ready(self, details: bool) -> str:
        """Return why this instance is not ready, with names only for operators; empty when it is ready."""
        if self.lifecycle.phase is not Phase.READY:
            return str(self.lifecycle.phase.value)
        if failed := self.lifecycle.failed:
            return f"stopped unexpectedly: {', '.join(failed)}" if details else "a plugin stopped unexpectedly"
        if failing := self.monitor.failing(critical=True):
            return f"critical checks fail: {', '.join(failing)}" if details else "a critical check fails"
        return ""

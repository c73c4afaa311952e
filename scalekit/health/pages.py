"""The three health pages. They read memory and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit.health.monitor import Monitor, Result, Status
from scalekit.lifecycle import Lifecycle, Phase
from scalekit.problem import refuse
from scalekit.routes import route_path

Page = Callable[[bool], tuple[int, dict[str, Any]]]


class HealthPages:
    """Answer the health pages before any layer: no log, no limit, no dependency stands between them and a probe.

    *admits* tells who sees details; anyone else learns the status and nothing more.
    """

    def __init__(
        self, app: ASGIApp, path: str, lifecycle: Lifecycle, monitor: Monitor, admits: Callable[[Scope], bool]
    ) -> None:
        self.app = app
        self.lifecycle = lifecycle
        self.monitor = monitor
        self.admits = admits
        self.pages: dict[str, Page] = {path: self._summary, f"{path}/live": self._live, f"{path}/ready": self._ready}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer a health page, pass on everything else without a step of its own."""
        if scope["type"] != "http":
            return self.app(scope, receive, send)
        page = self.pages.get(route_path(scope) if scope.get("root_path") else scope["path"])
        return self.app(scope, receive, send) if page is None else self._answer(page, scope, receive, send)

    async def _answer(self, page: Page, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await refuse(scope, send, 405, "health pages are read with GET", headers={"allow": "GET, HEAD"})
        else:
            status, content = page(self.admits(scope))
            headers = {"cache-control": "no-store"}
            response = Response(orjson.dumps(content), status, headers, media_type="application/json")
            await response(scope, receive, send)

    def _live(self, details: bool) -> tuple[int, dict[str, Any]]:
        return 200, {"status": "alive"}

    def _ready(self, details: bool) -> tuple[int, dict[str, Any]]:
        reason = self._not_ready(details)
        return (503, {"status": "not ready", "reason": reason}) if reason else (200, {"status": "ready"})

    def _summary(self, details: bool) -> tuple[int, dict[str, Any]]:
        reason = self._not_ready(details)
        status = Status.UNHEALTHY if reason else self.monitor.overall()
        content: dict[str, Any] = {"status": status}
        if details:
            now = asyncio.get_running_loop().time()
            results = self.monitor.results.items()
            content |= {"reason": reason, "phase": self.lifecycle.phase.value}
            content["checks"] = {name: self._details(name, result, now) for name, result in results}
        return 503 if reason else 200, content

    def _details(self, name: str, result: Result, now: float) -> dict[str, Any]:
        return {
            "status": self.monitor.status(name),
            "critical": result.check.critical,
            "latency_ms": round(result.latency * 1e3, 3),
            "age_s": round(now - result.at, 3),
            "last_error": result.last_error,
        }

    def _not_ready(self, details: bool) -> str:
        """Return why this instance is not ready, with names only for those who may see them; empty when it is."""
        if self.lifecycle.phase is not Phase.READY:
            return str(self.lifecycle.phase.value)
        if died := self.lifecycle.died:
            return f"stopped by itself: {', '.join(died)}" if details else "a plugin stopped by itself"
        if failing := self.monitor.failing(critical=True):
            return f"critical checks fail: {', '.join(failing)}" if details else "a critical check fails"
        return ""

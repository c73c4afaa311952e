"""Diagnostics of the application and of the interpreter: debug modes and cross-site request forgery."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

from starlette.types import ASGIApp

from scalekit.config.tables import Server
from scalekit.csrf_warning import csrf_warnings
from scalekit.diagnostic import Diagnostic, Finding, Severity
from scalekit.doctor.exposure import is_public
from scalekit.host import Host

MAX_DEPTH = 20
"""Levels of middleware that are searched."""


def application_diagnostics(host: Host) -> list[Diagnostic]:
    """Return the diagnostics of the application of *host*."""

    async def debug() -> Sequence[Finding]:
        return [*debug_findings(host.target, host.settings.server), *interpreter_findings(host.settings.server)]

    async def forgery() -> Sequence[Finding]:
        if host.settings.server.role != "web":
            return []
        remedy = "set csrf_protection = true in [plugins.headers]"
        warnings = csrf_warnings(host.context, host.target)
        return [Finding("csrf", Severity.WARNING, each.partition("; ")[0], remedy) for each in warnings]

    return [Diagnostic("debug modes", debug), Diagnostic("cross-site request forgery", forgery)]


def debug_findings(app: ASGIApp, server: Server) -> Iterator[Finding]:
    """Yield whether *app* shows tracebacks to clients."""
    if not is_in_debug_mode(app):
        return
    yield Finding(
        "debug",
        Severity.ERROR if is_public(server.host) else Severity.WARNING,
        "the application is in debug mode: clients see tracebacks, code and values of variables",
        "set debug = False in the application, DEBUG = False in the settings of Django",
        "debug",
        "true",
    )


def is_in_debug_mode(app: object) -> bool:
    """Return whether *app*, of Starlette, FastAPI, Litestar or Django, or what it wraps, is in debug mode."""
    for _ in range(MAX_DEPTH):
        if app is None:
            return False
        if getattr(app, "debug", False) is True:
            return True
        if type(app).__module__.startswith("django.") and "django.conf" in sys.modules:
            return bool(sys.modules["django.conf"].settings.DEBUG)
        app = getattr(app, "app", None)
    return False


def interpreter_findings(server: Server) -> Iterator[Finding]:
    """Yield modes of the interpreter that cost much time."""
    modes = {
        "python -X dev": sys.flags.dev_mode,
        "PYTHONASYNCIODEBUG": bool(os.environ.get("PYTHONASYNCIODEBUG")),
        "server.memory.tracemalloc": bool(server.memory.tracemalloc),
    }
    for key, is_on in modes.items():
        if is_on:
            message = f"{key} is on, which makes every request slower"
            yield Finding("debug", Severity.WARNING, message, "turn it off where clients are served", key, "on")

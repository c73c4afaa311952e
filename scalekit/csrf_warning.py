"""Warn in ``scalekit check`` about cookies of users without protection against cross-site request forgery (CSRF).

Plugins name their risks; sessions of the application are found by the middleware of its framework.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from starlette.types import ASGIApp

from scalekit.context import Context
from scalekit.contracts.csrf import CSRF_PROTECTION, CSRF_RISKS

MAX_DEPTH = 20
"""Levels of middleware that are searched."""
SESSIONS = "sessionmiddleware"
REMEDY = "to reject such requests, set csrf_protection = true in [plugins.headers]"


def csrf_warnings(context: Context, app: ASGIApp) -> list[str]:
    """Return a warning for each risk of the plugins of *context* and of *app*; none with protection."""
    if context.has(CSRF_PROTECTION):
        return []
    risks = [*context.get(CSRF_RISKS)] if context.has(CSRF_RISKS) else []
    names = [name.lower() for name in middleware_names(app)]
    if any(name.endswith(SESSIONS) for name in names) and not any("csrf" in name for name in names):
        risks.append("pages of other sites can send requests in the session of a user of the application")
    return [f"{risk} (CSRF); {REMEDY}" for risk in risks]


def middleware_names(app: object) -> Iterator[str]:
    """Yield the names of the classes of the middleware of *app*: Starlette, FastAPI, Litestar or Django."""
    for _ in range(MAX_DEPTH):
        if app is None:
            return
        yield type(app).__name__
        if type(app).__module__.startswith("django.") and "django.conf" in sys.modules:
            yield from map(str, sys.modules["django.conf"].settings.MIDDLEWARE)
        if getattr(app, "csrf_config", None) is not None:  # Litestar
            yield "csrf_config"
        for attribute in ("user_middleware", "middleware"):
            items = getattr(app, attribute, None)
            for item in items if isinstance(items, list | tuple) else ():
                kind = getattr(item, "cls", None) or getattr(item, "middleware", None) or item
                yield getattr(kind, "__name__", type(kind).__name__)
        app = getattr(app, "app", None)

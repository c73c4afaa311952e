"""Applications with rate limits, and the headers of their responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import http_sf
from starlette.types import ASGIApp

from scalekit import create_app
from scalekit.asgi_client import ReceivedResponse
from scalekit.host import Host
from scalekit.testing.conformance import bare_application

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"


def host(
    table: Mapping[str, Any], app: ASGIApp = bare_application, server: Mapping[str, Any] | None = None, **plugins: Any
) -> Host:
    """Return *app* with the limits of *table*, and other *plugins* by name."""
    source = {"server": dict(server or {}), "plugins": {"ratelimit": dict(table), **plugins}}
    return create_app(source, app=app)


def policy(name: str, limit: str | list[str], **more: Any) -> dict[str, Any]:
    return {"name": name, "limit": limit, **more}


def limit_items(response: ReceivedResponse, field: str = "ratelimit") -> dict[str, dict[str, int]]:
    """Return the parameters of each item of a rate limit header, by policy; fails for an invalid structured field."""
    values = [value for name, value in response.headers if name == field.encode()]
    members: Any = http_sf.parse(b", ".join(values), tltype="list")
    return {str(name): dict(parameters) for name, parameters in members}

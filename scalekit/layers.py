"""The layers of the filter chain."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, auto

from starlette.middleware import Middleware

from scalekit.http.filter import Filter


class Layer(IntEnum):
    """The order of the chain, outermost first.

    A filter sees the effects of every layer below it and must not depend on the layers above. A plugin names a layer,
    never another plugin; within one layer plugins are sorted by name.
    """

    LOG = auto()
    """Request id and access log: cover every request, rejected ones included."""
    METRICS = auto()
    """Request metrics: count rejected requests too."""
    TRACE = auto()
    """Spans: inside of log and metrics, which refer to the traces that are kept."""
    EDGE = auto()
    """Headers of responses, those of rejected requests included, such as those of CORS."""
    GUARD = auto()
    """The host's limits: allowed hosts, body size, time-outs of the body."""
    LIMIT_CLIENT = auto()
    """Rate limits by client address: before expensive work such as verifying a signature."""
    AUTHENTICATE = auto()
    """Authentication: verifies tokens and sets the user."""
    LIMIT_SUBJECT = auto()
    """Rate limits by authenticated user."""
    CACHE = auto()
    """The response cache: inside AUTHENTICATE, so that a private response never reaches another user."""
    RESOURCES = auto()
    """Resources of one request, such as its choice of a replica."""
    TRANSACTION = auto()
    """The database transaction of one request: innermost, so that outer filters see its response after the commit."""


@dataclass(frozen=True, slots=True)
class LayeredFilter:
    """A filter, or a pure ASGI middleware, and the layer it belongs to."""

    layer: Layer
    link: Filter | Middleware

"""Where filters stand in the chain."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, auto

from starlette.middleware import Middleware

from scalekit.http.filter import Filter


class Layer(IntEnum):
    """The order of the chain, outermost first.

    This list is the whole policy. A layer feels every layer below it and must not care who fills the layers above. A
    plugin names a layer, never another plugin; within one layer plugins are sorted by name.
    """

    LOG = auto()
    """Request id and access line: they exist for everything, refusals included."""
    METRICS = auto()
    """Metrics: they count refusals too."""
    GUARD = auto()
    """The host's own limits: which hosts, how large a body, how slow a client."""
    LIMIT_CLIENT = auto()
    """Limits by address: before any costly work, checking a signature included."""
    AUTHENTICATE = auto()
    """Tokens: who is asking."""
    LIMIT_SUBJECT = auto()
    """Limits by subject: they need to know who is asking."""
    CACHE = auto()
    """Stored answers: inside AUTHENTICATE, so that a private answer never reaches a stranger."""
    RESOURCES = auto()
    """Resources of one request, such as its choice of a replica: nearest to the handler."""


@dataclass(frozen=True, slots=True)
class LayeredFilter:
    """A filter, or a pure ASGI middleware, and the layer it belongs to."""

    layer: Layer
    link: Filter | Middleware

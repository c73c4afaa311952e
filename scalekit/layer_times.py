"""Measure the time that one request spends in each link of the chain."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit.host import ChainLink, Host, build_chain, links_with_recorder
from scalekit.http.filter_chain import FilterChain
from scalekit.http.trace_recorder import TraceRecorder
from scalekit.layers import Layer


@dataclass(slots=True)
class LayerTimer:
    """A link of the chain, and the seconds that a request spent in it and in all inner links."""

    place: str
    owner: str
    seconds: float = field(default=0.0)


class OwnTime(NamedTuple):
    """The seconds that a request spent in a link alone, without the inner ones."""

    place: str
    owner: str
    seconds: float


class TimingMiddleware:
    """Measures the duration of requests in *app*."""

    def __init__(self, app: ASGIApp, layer: LayerTimer) -> None:
        self.app = app
        self.layer = layer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request and store its duration."""
        started = time.perf_counter()
        try:
            await self.app(scope, receive, send)
        finally:
            self.layer.seconds = time.perf_counter() - started


def timed_chain(host: Host, recorder: TraceRecorder) -> tuple[FilterChain, list[LayerTimer]]:
    """Return the chain of *host* with *recorder* and a timer around each link, and the timers, outermost first."""
    recorded = links_with_recorder(host.links, recorder)
    layers = [LayerTimer(link.place, link.owner) for link in recorded]
    inner = LayerTimer("application", "application")
    links: list[ChainLink] = []
    for link, layer in zip(recorded, layers, strict=True):
        links += [ChainLink(link.place, link.owner, Middleware(TimingMiddleware, layer)), link]
    return build_chain(links, TimingMiddleware(host.target, inner), host.templates), [*layers, inner]


def own_times(layers: Sequence[LayerTimer]) -> list[OwnTime]:
    """Return the own time of each of *layers* that the request has reached, without that of the recorder."""
    inner = [layer.seconds for layer in layers[1:]] + [0.0]
    return [
        OwnTime(layer.place, layer.owner, layer.seconds - below)
        for layer, below in zip(layers, inner, strict=True)
        if layer.seconds and layer.place != Layer.TRACE.name
    ]

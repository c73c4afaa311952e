"""Hooks of the plugin ``compression``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Container, Sequence
from contextlib import asynccontextmanager
from typing import Any

from scalekit import Context, Key, Layer, LayeredFilter, Lifespan, Table, hookimpl
from scalekit.contracts import CODING_NEGOTIATOR
from scalekit_compression.config import CompressionConfig
from scalekit_compression.encoders import make_encoder
from scalekit_compression.filters import CompressionFilter, Negotiator

REMEDY = "pip install 'scalekit-asgi[compression]', or leave it out of plugins.compression.codings"


@hookimpl
def scalekit_config() -> type[Table]:
    """Return the model of ``[plugins.compression]``."""
    return CompressionConfig


@hookimpl
def scalekit_lifespan(context: Context) -> Lifespan:
    """Return a lifespan that only verifies that the libraries of all codings are installed."""
    config = context.config(CompressionConfig)

    def verify(provided: Container[Key[Any]]) -> None:
        for coding in config.codings:
            try:
                make_encoder(coding, config.level(coding))
            except ImportError as error:
                raise ImportError(f"plugins.compression: {coding} needs {error.name}: {REMEDY}") from None

    @asynccontextmanager
    async def run() -> AsyncGenerator[None, None]:
        yield

    return Lifespan(run, verify=verify)


@hookimpl
def scalekit_filters(context: Context) -> Sequence[LayeredFilter]:
    """Return the filter that compresses; its negotiator is that of the cache too."""
    config = context.config(CompressionConfig)
    negotiator = context.shared(CODING_NEGOTIATOR, lambda: Negotiator(config.codings, config.exclude))
    return [LayeredFilter(Layer.RESOURCES, CompressionFilter(config, negotiator))]

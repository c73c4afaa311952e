"""Read tables as the host does."""

from __future__ import annotations

from typing import Any

from scalekit import create_app
from scalekit.testing.conformance import bare_application
from scalekit_cors.config import CorsConfig


def read_config(**table: Any) -> CorsConfig:
    return create_app({"plugins": {"cors": table}}, app=bare_application).context.config(CorsConfig)

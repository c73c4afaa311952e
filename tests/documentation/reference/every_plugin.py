"""A host with every plugin, whose hooks the reference describes."""

from __future__ import annotations

from functools import cache

from starlette.applications import Starlette

from scalekit import create_app
from scalekit.host import Host
from scalekit.plugins import installed
from tests.runbook import PLUGINS


@cache
def host() -> Host:
    """Return a host with every plugin of this repository, which is not started."""
    server = {"operator_networks": ["127.0.0.1"]}
    return create_app({"server": server, "plugins": {**{name: {} for name in names()}, **PLUGINS}}, app=Starlette())


def names() -> list[str]:
    """Return the names of the plugins of this repository."""
    return [name for name, (first, *_) in installed().items() if first.distribution == "scalekit-asgi"]

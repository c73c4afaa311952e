"""The instances of this service: those that are found by its name, else those that the file names."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from scalekit.app import prepare
from scalekit.config.tables import Server
from scalekit.context import Key
from scalekit.contracts import SERVICES, Instance
from scalekit.lifecycle import Lifecycle, Step
from scalekit.runner.server.listeners import address_of
from scalekit.settings import Settings
from scalekit_nginx.config import NginxConfig

ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


async def addresses(settings: Settings) -> AsyncGenerator[list[str], None]:
    """Yield ``host:port`` of each instance, and again whenever they change.

    Only the plugin that finds services is started, and what it needs. Where none does, or this service has no name
    there, they are the upstreams of the file, or its own address, once.
    """
    prepared = prepare(settings)
    steps = providing(prepared.steps, SERVICES)
    if steps:
        async with Lifecycle(steps, prepared.context).running():
            services = prepared.context.get(SERVICES)
            if services.own:
                known = await services.instances(services.own)
                yield _addresses(known) or fixed(settings.server, settings.nginx)
                async for instances in services.watch(services.own):
                    if instances and instances != known:
                        known = instances
                        yield _addresses(instances)
    yield fixed(settings.server, settings.nginx)


def fixed(server: Server, table: NginxConfig) -> list[str]:
    """Return the addresses that the file names."""
    return list(table.upstreams) or [address_of(ANYWHERE.get(server.host, server.host), server.port)]


def _addresses(instances: Sequence[Instance]) -> list[str]:
    return [address_of(instance.address, instance.port) for instance in instances]


def providing(steps: Sequence[Step], key: Key[Any]) -> list[Step]:
    """Return, in their order, the step that provides *key* and those that it needs; none where nothing provides it."""
    wanted: set[Key[Any]] = {key}
    found: list[Step] = []
    for step in reversed(steps):
        if wanted & set(step.lifespan.provides):
            found.append(step)
            wanted |= {*step.lifespan.requires, *step.lifespan.after}
    return found[::-1]

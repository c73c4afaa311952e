"""Find the instances of this service: those that service discovery knows, else those that the file names."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from scalekit import Context, Server
from scalekit.contracts import SERVICES, Instance
from scalekit_nginx.config import NginxConfig

LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""The address under which a service that listens on every interface is reached on this machine."""


async def addresses(context: Context) -> AsyncGenerator[list[str], None]:
    """Yield ``host:port`` of every instance, again after each change.

    Only the plugin that provides SERVICES and its dependencies are started. Without such a plugin, or when this service
    has no name there, yield the addresses that the file names, once.
    """
    async with context.started(SERVICES):
        services = context.get(SERVICES) if context.has(SERVICES) else None
        if services is not None and services.own:
            known = await services.instances(services.own)
            yield _addresses(known) or static_addresses(context.server, context.config(NginxConfig))
            async for instances in services.watch(services.own):
                if instances and instances != known:
                    known = instances
                    yield _addresses(instances)
    yield static_addresses(context.server, context.config(NginxConfig))


def static_addresses(server: Server, config: NginxConfig) -> list[str]:
    """Return ``upstreams`` of the file or, when empty, the address of ``[server]``."""
    return list(config.upstreams) or [_address(LOOPBACK.get(server.host, server.host), server.port)]


def _addresses(instances: Sequence[Instance]) -> list[str]:
    return [_address(instance.address, instance.port) for instance in instances]


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

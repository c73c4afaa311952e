"""Addresses of the instances of this service: from service discovery, else from the configuration."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from scalekit import Context, Server, StartError, loopback_of
from scalekit.contracts import SERVICES, Instance
from scalekit_nginx.config import NginxConfig


async def addresses(context: Context) -> AsyncGenerator[list[str], None]:
    """Yield ``host:port`` of every instance, again after each change.

    Start only the plugin that provides SERVICES and its dependencies. Without such a plugin, or without a name of this
    service there, yield the configured addresses, once.
    """
    async with context.started(SERVICES):
        services = context.get(SERVICES) if context.has(SERVICES) else None
        if services is not None and services.own:
            current = await services.instances(services.own)
            yield _addresses(current) or static_addresses(context.server, context.config(NginxConfig))
            async for instances in services.watch(services.own):
                if instances and instances != current:
                    current = instances
                    yield _addresses(instances)
    yield static_addresses(context.server, context.config(NginxConfig))


def static_addresses(server: Server, config: NginxConfig) -> list[str]:
    """Return ``upstreams`` of the configuration or, when empty, the address of ``[server]``.

    Raises StartError when nginx cannot connect to that.
    """
    if config.upstreams:
        return list(config.upstreams)
    if server.host.startswith("unix:@"):
        raise StartError(f"nginx does not support abstract sockets, {server.host}; write a path: unix:/PATH")
    if server.host.startswith("unix:"):
        return [server.host]
    return [_address(loopback_of(server.host), server.port)]


def _addresses(instances: Sequence[Instance]) -> list[str]:
    return [_address(instance.address, instance.port) for instance in instances]


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

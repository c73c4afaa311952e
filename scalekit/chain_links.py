"""The links of the chain: the host's own before every layer, then the filters and middleware of each layer."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence

from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from scalekit.config.field_types import Proxy, socket_path
from scalekit.config.tables import Server, split_address
from scalekit.errors import PluginError
from scalekit.health.monitor import Monitor
from scalekit.health.pages import HealthPages
from scalekit.host import ChainLink
from scalekit.http.allowed_hosts import AllowedHosts
from scalekit.http.body_limit import BodyLimit
from scalekit.http.filter import Filter
from scalekit.http.filter_chain import FilterChain
from scalekit.http.operator_access import OperatorAccess
from scalekit.http.path_filters import PathFilter, PathFilters
from scalekit.http.proxy_headers import TrustedProxies
from scalekit.http.route_template import RouteTemplates
from scalekit.http.router import ManagementListener, ManagementRoute, PluginRoutes, is_for_operators, plugin_app
from scalekit.layers import Layer, LayeredFilter
from scalekit.lifecycle import Lifecycle
from scalekit.settings import Settings

logger = logging.getLogger("scalekit")


def entry_links(
    settings: Settings,
    lifecycle: Lifecycle,
    monitor: Monitor,
    routes: Mapping[str, Sequence[BaseRoute]],
    templates: RouteTemplates,
) -> list[ChainLink]:
    """Return the links before every layer: trusted proxies, health pages and operators' pages."""
    server = settings.server
    links: list[ChainLink] = []
    if server.trusted_proxies:
        _warn_of_open_proxies(server.trusted_proxies)
        links.append(ChainLink("proxies", "host", TrustedProxies(server.trusted_proxies, server.forwarded_headers)))
    path = settings.health.path
    pages: list[PathFilter] = []
    if server.management_address is None:
        admits = OperatorAccess(server.operator_networks, server.operator_token).admits
        pages.append(HealthPages(path, lifecycle, monitor, admits))
    else:
        managed = plugin_app([r for items in routes.values() for r in items if isinstance(r, ManagementRoute)])
        served = FilterChain([HealthPages(path, lifecycle, monitor)], managed, templates)
        port = socket_path(server.management_address) or split_address(server.management_address)[1]
        links.append(ChainLink("management", "host", ManagementListener(served, port)))
    operators = [
        route for items in routes.values() for route in public_routes(settings, items) if is_for_operators(route)
    ]
    if operators:
        guarded = FilterChain(_guards(server), plugin_app(operators), templates)
        pages.append(PluginRoutes(operators, guarded))
    if pages:
        links.append(ChainLink("pages", "host", PathFilters(pages)))
    return links


def layer_links(settings: Settings, by_plugin: Mapping[str, Sequence[LayeredFilter]]) -> list[ChainLink]:
    """Return the filters and middleware of the host and of plugins, in the order of their layers."""
    server = settings.server
    guards = [LayeredFilter(Layer.GUARD, guard) for guard in _guards(server)]
    owned = [(item, plugin) for plugin, items in {"host": guards, **by_plugin}.items() for item in items]
    owned.sort(key=lambda each: (each[0].layer, each[1]))
    for item, plugin in owned:
        _validate_link(item, plugin)
    return [ChainLink(item.layer.name, plugin, item.link) for item, plugin in _without_duplicates(owned)]


def _guards(server: Server) -> list[Filter]:
    hosts = [AllowedHosts(server.allowed_hosts)] if server.allowed_hosts else []
    return [*hosts, BodyLimit(server.max_body, server.body_timeout)]


def _without_duplicates(owned: Iterable[tuple[LayeredFilter, str]]) -> Iterator[tuple[LayeredFilter, str]]:
    """Yield a filter, or equal middleware, once when several plugins return it for one layer."""
    seen: list[tuple[Layer, object]] = []
    for item, plugin in owned:
        link = item.link
        same = (item.layer, link if isinstance(link, Filter) else (link.cls, link.args, link.kwargs))
        if same not in seen:
            seen.append(same)
            yield item, plugin


def _validate_link(item: LayeredFilter, plugin: str) -> None:
    link = item.link
    if isinstance(link, Filter):
        return
    if not isinstance(link, Middleware):
        remedy = "make it an instance of a subclass of scalekit.Filter, or a Middleware"
        raise PluginError(f"plugin {plugin!r}: {link!r} is not a filter; {remedy}")
    bases = getattr(link.cls, "__mro__", ())
    if any(base.__module__ == "starlette.middleware.base" for base in bases):
        name = getattr(link.cls, "__name__", "")
        raise PluginError(f"plugin {plugin!r}: {name} is a BaseHTTPMiddleware; write a pure ASGI class")


def public_routes(settings: Settings, routes: Sequence[BaseRoute]) -> list[BaseRoute]:
    """Return the *routes* of the public address: all of them without a management address."""
    apart = ManagementRoute if settings.server.management_address else ()
    return [route for route in routes if not isinstance(route, apart)]


def _warn_of_open_proxies(proxies: Sequence[Proxy]) -> None:
    everything = [str(proxy) for proxy in proxies if proxy != "unix" and proxy.prefixlen == 0]
    if everything:
        logger.warning(
            "server.trusted_proxies has %s: ANY client can forge its address, scheme and host; name your proxies",
            " and ".join(everything),
        )

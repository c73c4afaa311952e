"""Render the directives for the headers that name the client: ``X-Forwarded-*`` or ``Forwarded``."""

from __future__ import annotations

from collections.abc import Iterator

from scalekit import Server

EMPTY = '""'
"""A parameter without characters: nginx sends no header with it."""
TRUSTED_HEADERS = (
    "X-Real-IP",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Access-Token",
)
"""Headers that other proxies set, which are removed from the requests of other clients."""


def forwarding_maps(server: Server) -> Iterator[str]:
    """Yield the maps that forward client address, scheme and host from proxies in ``trusted_proxies``."""
    yield "geo $from_trusted {"
    yield "    default 0;"
    for network in dict.fromkeys(server.trusted_proxies):
        if network != "unix":  # nginx has no clients on Unix sockets
            yield f"    {network} 1;"
    yield "}"
    yield "map $from_trusted:$http_x_forwarded_proto $client_scheme {"
    yield "    default $scheme;"
    yield "    1:http http;"
    yield "    1:https https;"
    yield "}"
    for name in TRUSTED_HEADERS:
        yield f"map $from_trusted $trusted_{_variable(name)} {{ 1 $http_{_variable(name)}; default ''; }}"
    yield "map $http_host $request_host { default $http_host; '' $host; }"
    yield "map $from_trusted:$http_x_forwarded_host $client_host {"
    yield "    default $request_host;"
    yield '    "~^1:(?<forwarded_host>[A-Za-z0-9._:-]+)$" $forwarded_host;'
    yield "}"
    yield "map $from_trusted:$http_x_forwarded_for $client_chain {"
    yield "    default $remote_addr;"
    yield '    "~^1:(?<chain>[0-9a-fA-F:., ]+)$" "$chain, $remote_addr";'
    yield "}"
    yield "map $remote_addr $forwarded_for {"
    yield '    "~:" \'for="[$remote_addr]"\';'
    yield '    default "for=$remote_addr";'
    yield "}"
    yield "map $from_trusted:$http_forwarded $forwarded_chain {"
    yield '    default "$forwarded_for;proto=$scheme";'
    yield '    "~^1:(?<forwarded>.+)$" "$forwarded, $forwarded_for;proto=$scheme";'
    yield "}"


def forwarded_headers(server: Server) -> Iterator[str]:
    """Yield the directives for the headers that the application reads, and remove those that clients forge.

    They are set without ``trusted_proxies`` too: with them the application knows that the address is that of a proxy,
    does not take its clients for operators, and warns.
    """
    x_forwarded = {"X-Forwarded-For": "$client_chain", "X-Forwarded-Proto": "$client_scheme"}
    x_forwarded["X-Forwarded-Host"] = "$client_host"
    is_standard = server.forwarded_headers == "forwarded"
    for name, value in x_forwarded.items():
        yield f"proxy_set_header {name} {EMPTY if is_standard else value};"
    yield f"proxy_set_header Forwarded {'$forwarded_chain' if is_standard else EMPTY};"
    for name in TRUSTED_HEADERS:
        yield f"proxy_set_header {name} $trusted_{_variable(name)};"


def _variable(header: str) -> str:
    return header.lower().replace("-", "_")

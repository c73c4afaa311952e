"""Resolve the client address, scheme and host from the headers of trusted proxies.

Any client can forge a header, so only entries of trusted proxies are used. Proxies append: the nearest one wrote the
rightmost entry. The walk starts there and continues to the left while the address is a trusted proxy's; the first other
address is the client's, and entries further left are ignored as forgeable. An entry that is not an address ends the
walk at the proxy that forwarded it. Scheme and host are taken from the entries of the same hop.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from itertools import islice
from typing import NamedTuple

from starlette.types import Scope

from scalekit.config.field_types import Proxy
from scalekit.http.exchange import Exchange
from scalekit.http.filter import Decision, Filter

Headers = Sequence[tuple[bytes, bytes]]

FORWARDED = b"forwarded"
X_FORWARDED_FOR = b"x-forwarded-for"
X_FORWARDED_PROTO = b"x-forwarded-proto"
X_FORWARDED_HOST = b"x-forwarded-host"
X_FORWARDED = frozenset((X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST))
FORWARDING_HEADERS = X_FORWARDED | {FORWARDED}

RESOLVED_PORT = 0
"""The port of a client whose address comes from a header, which has no port."""

SECURE = {b"https": True, b"wss": True, b"http": False, b"ws": False}
SCHEMES = {"http": ("http", "https"), "websocket": ("ws", "wss")}

_CACHE_SIZE = 4096
_MAX_ADDRESS_LENGTH = 128
_MAX_ELEMENT_LENGTH = 512
_HOST = re.compile(rb"[A-Za-z0-9._-]{1,253}(?::\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::\d{1,5})?")
# Possessive quantifiers: a mismatch fails after one pass, without backtracking.
_PAIR = re.compile(rb'[\s;]*+([^\s;,="]++)=(?:"((?:\\.|[^"\\])*+)"|([^\s;,"]*+))\s*+(?:;|$)')


class Hop(NamedTuple):
    """The client as proxies report it: its address, and optionally whether it uses TLS, and the requested host.

    *is_client* is false when an entry is not an address; *address* is then that of the proxy that forwarded it.
    """

    address: str
    is_client: bool
    secure: bool | None = None
    host: bytes | None = None


class TrustedProxies(Filter):
    """Replace client, scheme and Host of a scope by the values that trusted proxies report."""

    def __init__(self, proxies: Sequence[Proxy], forwarded: str) -> None:
        self.networks = [proxy for proxy in proxies if proxy != "unix"]
        self.trusts_unix = "unix" in proxies
        self.forwarded = forwarded
        self._trusted: dict[str, bool] = {}

    def on_request(self, exchange: Exchange) -> Decision:
        """Resolve the client of a request or websocket."""
        client = exchange.scope.get("client")
        peer = client[0] if client else ""
        if self.trusts(peer) if client else self.trusts_unix:
            self._resolve(exchange, peer)
        return None

    on_open = on_request

    def trusts(self, address: str) -> bool:
        """Return whether *address* belongs to a trusted proxy."""
        known = self._trusted.get(address)
        if known is None:
            parsed = parse_address(address.encode())
            found = parsed is not None and any(ip_address(parsed) in network for network in self.networks)
            if len(self._trusted) >= _CACHE_SIZE:
                self._trusted.clear()
            known = self._trusted[address] = found
        return known

    def _resolve(self, exchange: Exchange, peer: str) -> None:
        scope: Scope = exchange.scope
        hop = self._resolve_hop(scope["headers"], peer)
        if hop is None:
            return
        if hop.is_client:
            scope["client"] = (hop.address, RESOLVED_PORT)
        elif client := scope.get("client"):
            scope["client"] = (hop.address, client[1])
        if hop.secure is not None:
            scope["scheme"] = SCHEMES[scope["type"]][hop.secure]
        if hop.host:
            others = [(name, value) for name, value in scope["headers"] if name != b"host"]
            exchange.replace_headers([*others, (b"host", hop.host)])

    def _resolve_hop(self, headers: Headers, peer: str) -> Hop | None:
        values = _forwarding_values(headers)
        x_forwarded = self.forwarded != "forwarded" and not X_FORWARDED.isdisjoint(values)
        forwarded = self.forwarded != "x-forwarded" and FORWARDED in values
        if x_forwarded and (X_FORWARDED_FOR in values or not forwarded):
            return self._x_forwarded(values, peer)
        if not forwarded:
            return None
        hop = self._rfc7239(values[FORWARDED], peer)
        return _merge(hop, self._x_forwarded(values, peer)) if x_forwarded else hop

    def _x_forwarded(self, values: dict[bytes, bytes], peer: str) -> Hop:
        if X_FORWARDED_FOR in values:
            address, is_client, distance = self._walk(_from_right(values[X_FORWARDED_FOR]), peer)
        else:  # the proxy reports no address, for example behind the PROXY protocol
            address, is_client, distance = peer, False, 0
        scheme = _at_distance(values.get(X_FORWARDED_PROTO, b""), distance)
        host = _at_distance(values.get(X_FORWARDED_HOST, b""), distance)
        return Hop(address, is_client, _secure(scheme), _valid_host(host))

    def _rfc7239(self, entries: bytes, peer: str) -> Hop:
        for_values = (_pairs(entry).get(b"for", b"") for entry in _from_right(entries))
        address, is_client, distance = self._walk(for_values, peer)
        pairs = _pairs(_at_distance(entries, distance))
        return Hop(address, is_client, _secure(pairs.get(b"proto", b"")), _valid_host(pairs.get(b"host", b"")))

    def _walk(self, entries: Iterator[bytes], peer: str) -> tuple[str, bool, int]:
        """Return the address, whether it is the client's, and the number of its entry from the right."""
        reached, distance = peer, 0
        for number, entry in enumerate(entries):
            address = parse_address(entry)
            if address is None:
                return reached, False, distance
            reached, distance = address, number
            if not self.trusts(address):
                break
        return reached, True, distance


def parse_address(text: bytes) -> str | None:
    """Return the address in *text* without port, brackets, zone or IPv4 mapping, or None when it is not an address."""
    return _parse_address(text) if len(text) <= _MAX_ADDRESS_LENGTH else None


@lru_cache(_CACHE_SIZE)
def _parse_address(text: bytes) -> str | None:
    bare = text.strip().decode("latin-1")
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def forwarding_header(headers: Headers) -> bytes | None:
    """Return the name of a header that any proxy added to the request, or None without one."""
    for name, _ in headers:
        if name[:12] == b"x-forwarded-" or name == FORWARDED:
            return name
    return None


def _merge(hop: Hop, other: Hop) -> Hop:
    """Return *hop* with the scheme and host of *other* where it has none."""
    return hop._replace(
        secure=other.secure if hop.secure is None else hop.secure, host=other.host if hop.host is None else hop.host
    )


def _forwarding_values(headers: Headers) -> dict[bytes, bytes]:
    """Return the values of the headers that proxies write; repeated headers are joined to one list."""
    values: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in FORWARDING_HEADERS:
            values[name] = values[name] + b"," + value if name in values else value
    return values


def _from_right(entries: bytes) -> Iterator[bytes]:
    rest, comma = entries, b","
    while comma:
        rest, comma, last = rest.rpartition(b",")
        yield last


def _at_distance(entries: bytes, distance: int) -> bytes:
    """Return the entry *distance* places from the right, or the leftmost when there are fewer."""
    if b"," not in entries:
        return entries.strip()
    nearest_first = list(islice(_from_right(entries), distance + 1))
    return nearest_first[-1].strip()


def _pairs(element: bytes) -> dict[bytes, bytes]:
    """Return the pairs of *element* up to the first malformed one; none for an element that is too long."""
    pairs: dict[bytes, bytes] = {}
    at = 0
    while len(element) <= _MAX_ELEMENT_LENGTH and (found := _PAIR.match(element, at)):
        name, quoted, token = found.groups(b"")
        pairs[name.lower()] = (quoted or token).replace(b"\\", b"")
        at = found.end()
    return pairs


def _secure(scheme: bytes) -> bool | None:
    return SECURE.get(scheme.strip().lower())


def _valid_host(text: bytes) -> bytes | None:
    return text if text and _HOST.fullmatch(text) else None

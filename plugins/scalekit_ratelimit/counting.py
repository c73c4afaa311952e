"""Who a request is counted for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from starlette.types import Scope

from scalekit.errors import PluginError

Counter = Callable[[Scope], str | None]
"""Returns who is counted, or None for who is not."""

NOBODY = "unknown"


@lru_cache(8192)
def network_of(address: str) -> str:
    """Return *address*, of IPv6 the /64: whoever has one address of that has them all."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return NOBODY if not address else digest(address)
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(IPv6Network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)


def digest(text: str) -> str:
    """Return what stands for *text*, which may be a secret and of any length."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def by_address(scope: Scope) -> str:
    """Count by the address of the client, as the host has worked it out."""
    client = scope.get("client")
    return network_of(client[0]) if client else NOBODY


def subject_of(scope: Scope) -> str:
    """Return the name of who asks, empty for who has not shown it."""
    user = scope.get("user")
    if user is None or not getattr(user, "is_authenticated", True):
        return ""
    for attribute in ("identity", "display_name"):
        try:
            name = str(getattr(user, attribute))
        except (AttributeError, NotImplementedError):
            continue
        if name:
            return name
    return ""


def by_subject(scope: Scope) -> str:
    """Count by who asks; who does not show it is counted by address."""
    name = subject_of(scope)
    return f"subject.{digest(name)}" if name else by_address(scope)


def by_header(name: str) -> Counter:
    """Return what counts by the header *name*; who does not send it is counted by address."""
    wanted = name.lower().encode()

    def count(scope: Scope) -> str:
        values = [value for key, value in scope["headers"] if key == wanted]
        return f"header.{digest(b','.join(values).decode('latin-1'))}" if values else by_address(scope)

    return count


def by_function(place: str) -> Counter:
    """Return what counts by what a function at ``module.path:name`` returns; raises PluginError where none is."""
    module, _, name = place.partition(":")
    try:
        function: Any = importlib.import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
    except (ImportError, AttributeError) as error:
        raise PluginError(f"by = {place!r}: {error}; name a function as module.path:name") from error
    if not callable(function):
        raise PluginError(f"by = {place!r} is no function, but {type(function).__name__}")

    def count(scope: Scope) -> str | None:
        found = function(scope)
        return None if found is None else f"function.{digest(str(found))}"

    return count


def counter(by: Sequence[str]) -> Counter:
    """Return what counts by all of *by* together."""
    counters = [_counter(each) for each in by]
    if len(counters) == 1:
        return counters[0]

    def together(scope: Scope) -> str | None:
        parts = [count(scope) for count in counters]
        return None if None in parts else digest("\0".join(map(str, parts)))

    return together


def _counter(by: str) -> Counter:
    if by == "ip":
        return by_address
    if by == "subject":
        return by_subject
    if by.startswith("header:"):
        return by_header(by.removeprefix("header:"))
    return by_function(by)


class Exempt:
    """Tells who is not counted: clients in the networks, and subjects."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.subjects = frozenset(each.removeprefix("subject:") for each in texts if each.startswith("subject:"))
        self._networks: list[IPv4Network | IPv6Network] = [
            ip_network(each) for each in texts if not each.startswith("subject:")
        ]
        self._in_networks = lru_cache(4096)(self._look)

    def __call__(self, scope: Scope) -> bool:
        """Tell whether *scope* is not counted."""
        client = scope.get("client")
        if client and self._networks and self._in_networks(client[0]):
            return True
        return bool(self.subjects) and subject_of(scope) in self.subjects

    def _look(self, address: str) -> bool:
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
        return any((mapped or parsed) in network for network in self._networks)

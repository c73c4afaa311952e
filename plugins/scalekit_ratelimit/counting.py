"""Who a request is counted for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from starlette.types import Scope

from scalekit.contracts import SubjectIdentifier, subject_in
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


def by_subject(scope: Scope) -> str:
    """Count by the authenticated user, of whichever issuer; who is none is counted by address."""
    subject = subject_in(scope)
    return _subject_key(subject) if subject is not None else by_address(scope)


@lru_cache(8192)
def _subject_key(subject: SubjectIdentifier) -> str:
    return f"subject.{blake2b(subject.encoded, digest_size=16).hexdigest()}"


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


Exemption = IPv4Network | IPv6Network | SubjectIdentifier


def exemption(value: Any) -> Exemption:
    """Return whom *value* exempts: a network, or a user of one issuer; raises ValueError for what names neither."""
    if isinstance(value, IPv4Network | IPv6Network | SubjectIdentifier):
        return value
    if isinstance(value, Mapping):
        issuer, subject = value.get("issuer"), value.get("subject")
        if value.keys() == {"issuer", "subject"} and isinstance(issuer, str) and isinstance(subject, str) and subject:
            return SubjectIdentifier(issuer, subject)
    if isinstance(value, str) and value.startswith("subject:"):
        name = value.removeprefix("subject:")
        raise ValueError(
            f"{value!r} does not say whose user that is, and another issuer may call somebody so too; write"
            f' {{ issuer = "https://login.example.com", subject = "{name}" }}, with issuer = "" for a user whom'
            " the application itself names"
        )
    try:
        return ip_network(value if isinstance(value, str) else "")  # which takes a number for an address
    except ValueError:
        raise ValueError(
            'expected a network such as "10.0.0.0/8" or a user as'
            f' {{ issuer = "https://login.example.com", subject = "ada" }}, got {value!r}'
        ) from None


class Exempt:
    """Tells who is not counted: clients in the networks, and users."""

    def __init__(self, whom: Sequence[Exemption]) -> None:
        self.subjects = frozenset(each for each in whom if isinstance(each, SubjectIdentifier))
        self._networks = [each for each in whom if not isinstance(each, SubjectIdentifier)]
        self._in_networks = lru_cache(4096)(self._look)

    def __call__(self, scope: Scope) -> bool:
        """Tell whether *scope* is not counted."""
        client = scope.get("client")
        if client and self._networks and self._in_networks(client[0]):
            return True
        return bool(self.subjects) and subject_in(scope) in self.subjects

    def _look(self, address: str) -> bool:
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
        return any((mapped or parsed) in network for network in self._networks)

"""Who a request is counted for."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, cast

from starlette.types import Scope

from scalekit import PluginError
from scalekit.contracts import SubjectIdentifier, subject_in

KeyFunc = Callable[[Scope], str | None]
"""Returns who is counted, or None for who is not."""

UNKNOWN_CLIENT = "unknown"
_BY = re.compile(r"ip|subject|code|header:[A-Za-z0-9!#$%&'*+.^_`|~-]+|[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
IPV6_PREFIX = 64
"""Bits of an IPv6 address that tell clients apart, by default: whoever has one address of a /64 has them all."""


def normalize_key_name(by: str) -> str:
    """Return the key name *by* in its canonical spelling; raises ValueError when it is not one."""
    word, colon, name = by.partition(":")
    if word.lower() in ("ip", "subject", "code", "header"):  # as other words, in either case
        by = f"{word.lower()}{colon}{name}"
    if not _BY.fullmatch(by):
        raise ValueError(
            f'expected "ip", "subject", "code", "header:X-API-Key" or a function as "module.path:name", got {by!r}'
        )
    return by


def network_key(address: str, prefix: int) -> str:
    """Return *address*, of IPv6 the network of *prefix* bits that it is in."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return UNKNOWN_CLIENT if not address else digest(address)
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(IPv6Network((int(parsed) >> 128 - prefix << 128 - prefix, prefix)))
    return str(parsed)


def digest(text: str) -> str:
    """Return what stands for *text*, which may be a secret and of any length."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


@lru_cache(129)
def address_key_func(prefix: int) -> KeyFunc:
    """Return what counts by the address of the client, as the host has worked it out; of IPv6 by *prefix* bits."""
    network = lru_cache(8192)(lambda address: network_key(address, prefix))

    def count(scope: Scope) -> str:
        client = scope.get("client")
        return network(client[0]) if client else UNKNOWN_CLIENT

    return count


address_key = address_key_func(IPV6_PREFIX)


def subject_key_func(address: KeyFunc) -> KeyFunc:
    """Return what counts by the authenticated user, of whichever issuer; who is none is counted by *address*."""

    def count(scope: Scope) -> str | None:
        subject = subject_in(scope)
        return _subject_key(subject) if subject is not None else address(scope)

    return count


@lru_cache(8192)
def _subject_key(subject: SubjectIdentifier) -> str:
    return f"subject.{blake2b(subject.encoded, digest_size=16).hexdigest()}"


def header_key_func(name: str, address: KeyFunc = address_key) -> KeyFunc:
    """Return what counts by the header *name*; who does not send it is counted by *address*."""
    wanted = name.lower().encode()

    def count(scope: Scope) -> str | None:
        values = [value for key, value in scope["headers"] if key == wanted]
        return f"header.{digest(b','.join(values).decode('latin-1'))}" if values else address(scope)

    return count


def load_function(place: str) -> Callable[[Scope], object]:
    """Return the function at ``module.path:name``; raises PluginError where none is."""
    module, _, name = place.partition(":")
    try:
        function: Any = importlib.import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
    except (ImportError, AttributeError) as error:
        raise PluginError(f"by = {place!r}: {error}; name a function as module.path:name") from error
    if not callable(function):
        raise PluginError(f"by = {place!r} is no function, but {type(function).__name__}")
    return cast(Callable[[Scope], object], function)


def custom_key_func(function: Callable[[Scope], object]) -> KeyFunc:
    """Return what counts by a digest of what *function* returns, and nobody where that is None."""

    def count(scope: Scope) -> str | None:
        found = function(scope)
        return None if found is None else f"function.{digest(str(found))}"

    return count


def key_func(by: Sequence[str], address: KeyFunc) -> KeyFunc:
    """Return what counts by all of *by* together, by *address* where that is one of them or takes the place of one."""
    counters = [_counter(each, address) for each in by]
    if len(counters) == 1:
        return counters[0]

    def together(scope: Scope) -> str | None:
        parts = [count(scope) for count in counters]
        return None if None in parts else digest("\0".join(map(str, parts)))

    return together


def _counter(by: str, address: KeyFunc) -> KeyFunc:
    if by == "ip":
        return address
    if by == "subject":
        return subject_key_func(address)
    if by.startswith("header:"):
        return header_key_func(by.removeprefix("header:"), address)
    return custom_key_func(load_function(by))


Exemption = IPv4Network | IPv6Network | SubjectIdentifier


def parse_exemption(value: Any) -> Exemption:
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


class Exemptions:
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

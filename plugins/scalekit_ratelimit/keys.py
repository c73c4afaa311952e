"""Key functions: by which client, user or header value a request is counted."""

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
"""Returns the key by which a request is counted, or None when it is not counted."""

UNKNOWN_CLIENT = "unknown"
APPLICATION = "application"
"""Name of the key that the application passes to ``LIMITS(request).hit``."""
IPV6_PREFIX = 64
"""Default number of address bits that identify an IPv6 client, because a client usually controls a whole /64."""

_NAMES = ("ip", "subject", APPLICATION, "header")
_KEY_NAME = re.compile(r"ip|subject|application|header:[A-Za-z0-9!#$%&'*+.^_`|~-]+|[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def normalize_key_name(key: str) -> str:
    """Return the key name *key* in lower case; raises ValueError when it is not one."""
    name, colon, argument = key.partition(":")
    if name.lower() in _NAMES:  # names are case-insensitive, paths of functions are not
        key = f"{name.lower()}{colon}{argument}"
    if not _KEY_NAME.fullmatch(key):
        raise ValueError(
            'expected "ip", "subject", "application", "header:X-API-Key" or a function as "module.path:name",'
            f" got {key!r}"
        )
    return key


def network_key(address: str, prefix: int) -> str:
    """Return *address* as a key; of an IPv6 address its network of *prefix* bits."""
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
    """Return a digest of *text*, which may be a secret and of any length."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


@lru_cache(129)
def address_key_func(prefix: int) -> KeyFunc:
    """Return the key function of the client address, of IPv6 the network of *prefix* bits."""
    network = lru_cache(8192)(lambda address: network_key(address, prefix))

    def key_func(scope: Scope) -> str:
        client = scope.get("client")
        return network(client[0]) if client else UNKNOWN_CLIENT

    return key_func


address_key = address_key_func(IPV6_PREFIX)


def subject_key_func(address: KeyFunc) -> KeyFunc:
    """Return the key function of the user, issuer and subject; requests without one are counted by *address*."""

    def key_func(scope: Scope) -> str | None:
        subject = subject_in(scope)
        return _subject_key(subject) if subject is not None else address(scope)

    return key_func


@lru_cache(8192)
def _subject_key(subject: SubjectIdentifier) -> str:
    return f"subject.{blake2b(subject.encoded, digest_size=16).hexdigest()}"


def header_key_func(name: str, address: KeyFunc = address_key) -> KeyFunc:
    """Return the key function of the header *name*; requests without it are counted by *address*."""
    field = name.lower().encode()

    def key_func(scope: Scope) -> str | None:
        values = [value for key, value in scope["headers"] if key == field]
        return f"header.{digest(b','.join(values).decode('latin-1'))}" if values else address(scope)

    return key_func


def load_function(path: str) -> Callable[[Scope], object]:
    """Return the function at ``module.path:name``; raises PluginError when it cannot be imported."""
    module, _, name = path.partition(":")
    try:
        function: Any = importlib.import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
    except (ImportError, AttributeError) as error:
        raise PluginError(f"key = {path!r}: {error}; name a function as module.path:name") from error
    if not callable(function):
        raise PluginError(f"key = {path!r} is not a function, but {type(function).__name__}")
    return cast(Callable[[Scope], object], function)


def custom_key_func(function: Callable[[Scope], object]) -> KeyFunc:
    """Return the key function that digests the result of *function*; requests with the result None are not counted."""

    def key_func(scope: Scope) -> str | None:
        key = function(scope)
        return None if key is None else f"function.{digest(str(key))}"

    return key_func


def application_key(key: str) -> str:
    """Return the key that is stored for *key* of the application."""
    return f"application.{digest(key)}"


def key_func(keys: Sequence[str], address: KeyFunc) -> KeyFunc:
    """Return the key function of the combination of *keys*; *address* is that of ``ip`` and of absent keys."""
    key_funcs = [_single_key_func(key, address) for key in keys]
    if len(key_funcs) == 1:
        return key_funcs[0]

    def combined(scope: Scope) -> str | None:
        parts = [each(scope) for each in key_funcs]
        return None if None in parts else digest("\0".join(map(str, parts)))

    return combined


def _single_key_func(key: str, address: KeyFunc) -> KeyFunc:
    if key == "ip":
        return address
    if key == "subject":
        return subject_key_func(address)
    if key.startswith("header:"):
        return header_key_func(key.removeprefix("header:"), address)
    return custom_key_func(load_function(key))


Exemption = IPv4Network | IPv6Network | SubjectIdentifier


def parse_exemption(value: object) -> Exemption:
    """Return the network or the user that *value* names; raises ValueError when it names neither."""
    if isinstance(value, IPv4Network | IPv6Network | SubjectIdentifier):
        return value
    if isinstance(value, Mapping):
        issuer, subject = value.get("issuer"), value.get("subject")
        if value.keys() == {"issuer", "subject"} and isinstance(issuer, str) and isinstance(subject, str) and subject:
            return SubjectIdentifier(issuer, subject)
    if isinstance(value, str) and value.startswith("subject:"):
        name = value.removeprefix("subject:")
        raise ValueError(
            f"{value!r} has no issuer, and two issuers may use one subject; write"
            f' {{ issuer = "https://login.example.com", subject = "{name}" }}, with issuer = "" for a user that'
            " the application itself authenticates"
        )
    try:
        return ip_network(value if isinstance(value, str) else "")  # ip_network accepts numbers as addresses
    except ValueError:
        raise ValueError(
            'expected a network such as "10.0.0.0/8" or a user as'
            f' {{ issuer = "https://login.example.com", subject = "ada" }}, got {value!r}'
        ) from None


class Exemptions:
    """The networks and users of *entries*, whose requests are not counted."""

    def __init__(self, entries: Sequence[Exemption]) -> None:
        self.subjects = frozenset(entry for entry in entries if isinstance(entry, SubjectIdentifier))
        self._networks = [entry for entry in entries if not isinstance(entry, SubjectIdentifier)]
        self._in_networks = lru_cache(4096)(self._contains_address)

    def __call__(self, scope: Scope) -> bool:
        """Return whether the request is exempt."""
        client = scope.get("client")
        if client and self._networks and self._in_networks(client[0]):
            return True
        return bool(self.subjects) and subject_in(scope) in self.subjects

    def _contains_address(self, address: str) -> bool:
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
        return any((mapped or parsed) in network for network in self._networks)

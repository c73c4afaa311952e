"""What answers are found by."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import parse_qsl

from scalekit.caching.items import Key

SCHEMES = {"http": b"http", "https": b"https"}

REWRITING = frozenset(
    {
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-forwarded-scheme",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-forwarded-server",
        b"x-forwarded-path",
        b"x-host",
        b"x-original-host",
        b"x-original-url",
        b"x-rewrite-url",
        b"x-http-method",
        b"x-http-method-override",
        b"x-method-override",
        b"x-http-host-override",
        b"forwarded",
    }
)
"""Headers from which applications work out who they are and what was asked. Whoever sends one has keys of his own."""


def primary_key(
    scheme: str, host: bytes, path: bytes, query: bytes, rewriting: Iterable[tuple[bytes, bytes]] = ()
) -> Key:
    """Return what answers to GET are found by, before what they vary by."""
    key: Key = (host, path, query, SCHEMES.get(scheme) or scheme.encode())
    for field in rewriting:
        key += field
    return key


def canonical_query(query: bytes, kept: frozenset[bytes] | None, is_sorted: bool) -> bytes:
    """Return *query* with only the parameters of the names in *kept*, sorted by name where *is_sorted*.

    Values of one name keep their order, which an application may care about. Nothing is decoded: who writes a name in
    another way has another key.
    """
    if not query or (kept is None and (not is_sorted or b"&" not in query)):
        return query
    parts = query.split(b"&")
    if kept is not None:
        parts = [part for part in parts if part.partition(b"=")[0] in kept]
    if is_sorted:
        parts.sort(key=_name)
    return b"&".join(parts)


def shows_secret(query: bytes, secrets: frozenset[bytes], kept: frozenset[bytes] | None) -> bool:
    """Tell whether *query* has a parameter of *secrets* that is not part of the key, as the *kept* ones are."""
    if kept is None or not query:
        return False
    found = {name.encode() for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)}
    return not found.isdisjoint(secrets - kept)


def _name(part: bytes) -> bytes:
    return part.partition(b"=")[0]

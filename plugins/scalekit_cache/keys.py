"""What answers are found by."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import parse_qsl, unquote_to_bytes

from scalekit_caching.items import Key

SCHEMES = {"http": b"http", "https": b"https"}

_REWRITING = (
    b"forwarded",
    b"front-end-https",
    b"x-envoy-original-path",
    b"x-forwarded-host",
    b"x-forwarded-method",
    b"x-forwarded-path",
    b"x-forwarded-pathbase",
    b"x-forwarded-port",
    b"x-forwarded-prefix",
    b"x-forwarded-proto",
    b"x-forwarded-protocol",
    b"x-forwarded-scheme",
    b"x-forwarded-server",
    b"x-forwarded-ssl",
    b"x-forwarded-uri",
    b"x-forwarded-url",
    b"x-host",
    b"x-http-host-override",
    b"x-http-method",
    b"x-http-method-override",
    b"x-http-path-override",
    b"x-method-override",
    b"x-original-host",
    b"x-original-method",
    b"x-original-prefix",
    b"x-original-proto",
    b"x-original-uri",
    b"x-original-url",
    b"x-proxy-host",
    b"x-proxy-url",
    b"x-replaced-path",
    b"x-rewrite-url",
    b"x-script-name",
    b"x-url-scheme",
)
REWRITING = frozenset({*_REWRITING, *(name.replace(b"-", b"_") for name in _REWRITING)})
"""Headers from which applications work out who they are and what was asked. Whoever sends one has keys of his own."""

_PLAIN_NAME = re.compile(rb"[A-Za-z0-9_.~*:,\[\]-]*")
_INVALID_NAME = re.compile(rb"%(?![0-9A-Fa-f]{2})|[\x00-\x20\x7f-\xff]")


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

    Names count as an application decodes them, parts stay as they are written. What applications may read in different
    ways stays too, and so does the order of a query that has such a part, or of values of one name.
    """
    if not query or (kept is None and (not is_sorted or b"&" not in query)):
        return query
    parts = [(parameter_name(part), part) for part in query.split(b"&")]
    if kept is not None:
        stems = _stems(kept)
        parts = [(name, part) for name, part in parts if name is None or _stem(name) in stems]
    if is_sorted and len(parts) > 1 and all(name is not None for name, _ in parts):
        parts.sort(key=lambda each: _stem(each[0] or b""))
    return b"&".join([part for _, part in parts])


def parameter_name(part: bytes) -> bytes | None:
    """Return the name of a *part* of a query, decoded; None when applications may read it in different ways.

    Such are parts that some split at ``;`` too, and names with blanks around them, with control characters, with bytes
    that should have been encoded, or with an encoding that is not valid.
    """
    name = part.partition(b"=")[0]
    if b";" in part or b"%3b" in name.lower():
        return None
    if _PLAIN_NAME.fullmatch(name):
        return name
    if _INVALID_NAME.search(name):
        return None
    decoded = unquote_to_bytes(name.replace(b"+", b" "))
    try:
        text = decoded.decode()
    except UnicodeDecodeError:
        return None
    return decoded if text == text.strip() and text.isprintable() else None


def has_secret_parameter(query: bytes, secrets: frozenset[bytes], kept: frozenset[bytes] | None) -> bool:
    """Tell whether *query* has a parameter of *secrets* that is not part of the key, as the *kept* ones are."""
    if kept is None or not query:
        return False
    found = {name.encode() for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)}
    return not found.isdisjoint(secrets - kept)


@lru_cache
def _stems(names: frozenset[bytes]) -> frozenset[bytes]:
    return frozenset(map(_stem, names))


def _stem(name: bytes) -> bytes:
    """Return *name* without an index: some read ``tag[]`` and ``tag[0]`` as one list."""
    return name.partition(b"[")[0]

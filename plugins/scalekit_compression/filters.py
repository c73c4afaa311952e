"""Choose the content coding before the cache, and compress next to the application.

The cache stores compressed responses, one variant for each coding, so a hit is compressed already.
"""

from __future__ import annotations

from collections.abc import Sequence

from scalekit import Exchange, Filter, PathTable, choose_coding
from scalekit_compression.config import CompressionConfig
from scalekit_compression.eligibility import Eligibility, Fields, fold_headers
from scalekit_compression.response_encoder import WEAK, Headers, ResponseEncoder, encoded_headers, weaken_etag

ACCEPT_ENCODING = b"accept-encoding"
IF_NONE_MATCH = b"if-none-match"
VARY = (b"vary", b"Accept-Encoding")
EVENT_STREAM = b"text/event-stream"
NOT_MODIFIED = 304
MAX_VALUES = 1000
"""Maximum number of values of Accept-Encoding whose choice is cached."""
MAX_VALUE = 256
"""Maximum size of such a value, in bytes."""


class Negotiator:
    """Chooses among *codings*, the preferred one first."""

    def __init__(self, codings: Sequence[str]) -> None:
        self._codings = codings
        self._choices: dict[bytes, bytes] = {}

    def choose(self, accept_encoding: bytes) -> bytes:
        """Return the coding that the client prefers, or an empty text for none."""
        choice = self._choices.get(accept_encoding)
        if choice is None:
            choice = choose_coding(accept_encoding.decode("latin-1"), self._codings).encode()
            if len(accept_encoding) <= MAX_VALUE:
                if len(self._choices) >= MAX_VALUES:
                    self._choices.clear()
                self._choices[accept_encoding] = choice
        return choice


class NegotiationFilter(Filter):
    """Replaces Accept-Encoding by the coding that was chosen: the cache has one variant for each, and no more."""

    request_headers = frozenset({ACCEPT_ENCODING})

    def __init__(self, config: CompressionConfig) -> None:
        self._negotiator = Negotiator(config.codings)
        self._excluded = excluded_paths(config)

    def on_request(self, exchange: Exchange) -> None:
        """Replace the value of Accept-Encoding by the chosen coding, or remove it; not on excluded paths."""
        value = accept_encoding(exchange)
        if value is None or (self._excluded is not None and self._excluded.find(exchange.route_path)):
            return
        coding = self._negotiator.choose(value)
        if value != coding or not value:
            exchange.replace_header(ACCEPT_ENCODING, coding)


class CompressionFilter(Filter):
    """Compresses responses of the application with the coding in Accept-Encoding."""

    def __init__(self, config: CompressionConfig) -> None:
        self._config = config
        self._eligibility = Eligibility(config)
        self._negotiator = Negotiator(config.codings)
        self._excluded = excluded_paths(config)
        self.request_headers = self._eligibility.credentials | {ACCEPT_ENCODING, IF_NONE_MATCH}

    def on_response_start(self, exchange: Exchange) -> None:
        """Compress the body when request and response allow it; add ``Vary`` to every compressible response."""
        if exchange.is_local_response:
            return
        if self._excluded is not None and self._excluded.find(exchange.route_path):
            return
        fields = fold_headers(exchange.current_headers)
        if exchange.status == NOT_MODIFIED:
            if self._eligibility.allows_not_modified(fields, exchange.headers):
                self._adapt_not_modified(exchange, fields)
        elif self._eligibility.allows(exchange.status, fields, exchange.headers) and exchange.scope["type"] == "http":
            add_vary(exchange.response_headers, fields)
            coding = self._coding(exchange)
            if coding:
                self._encode(exchange, coding, fields)

    def _coding(self, exchange: Exchange) -> str:
        """Return the chosen coding, also when a filter or middleware has replaced Accept-Encoding since."""
        value = accept_encoding(exchange)
        return self._negotiator.choose(value).decode() if value else ""

    def _encode(self, exchange: Exchange, coding: str, fields: Fields) -> None:
        length = fields.get(b"content-length")
        if exchange.scope["method"] != "HEAD":
            level, min_size = self._config.level(coding), self._eligibility.min_size
            event_stream = fields[b"content-type"].lower().startswith(EVENT_STREAM)
            ResponseEncoder(exchange, coding, level, min_size, length=length, event_stream=event_stream)
        elif length is not None:  # the response to GET is compressed
            exchange.response_headers[:] = encoded_headers(exchange.response_headers, coding.encode(), None)

    def _adapt_not_modified(self, exchange: Exchange, fields: Fields) -> None:
        """Send the Vary and, when the client has the compressed response, the ETag of the 200 (RFC 9110, 15.4.5)."""
        headers = exchange.response_headers
        add_vary(headers, fields)
        etag, tags = fields.get(b"etag"), exchange.headers.get(IF_NONE_MATCH, b"*")
        if etag is not None and (tags.strip() == b"*" or WEAK + etag in tags) and self._coding(exchange):
            headers[:] = weaken_etag(headers)


def excluded_paths(config: CompressionConfig) -> PathTable[bool] | None:
    """Return whether the responses of a path are never compressed, or None when no path is excluded."""
    return PathTable(False, [(glob, True) for glob in config.exclude]) if config.exclude else None


def accept_encoding(exchange: Exchange) -> bytes | None:
    """Return the value of Accept-Encoding, or None without one."""
    if ACCEPT_ENCODING in exchange.repeated:
        return b",".join(exchange.values(ACCEPT_ENCODING))
    return exchange.headers.get(ACCEPT_ENCODING)


def add_vary(headers: Headers, fields: Fields) -> None:
    """Add ``Vary: Accept-Encoding`` to *headers*, unless they have it."""
    names = {name.strip() for name in fields.get(b"vary", b"").lower().split(b",")}
    if ACCEPT_ENCODING not in names and b"*" not in names:
        headers.append(VARY)

"""Choose the content coding for the cache, and compress next to the application.

The cache stores compressed responses, one variant for each coding, so a hit is compressed already.
"""

from __future__ import annotations

from collections.abc import Sequence

from scalekit import Exchange, Filter, PathGlob, PathTable, choose_coding
from scalekit.contracts import CodingNegotiator
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
    """Chooses among *codings*, the preferred one first, for responses of all but *excluded* paths."""

    def __init__(self, codings: Sequence[str], excluded: Sequence[PathGlob] = ()) -> None:
        self._codings = codings
        self._excluded = PathTable(False, [(glob, True) for glob in excluded]) if excluded else None
        self._choices: dict[bytes, bytes] = {}

    def negotiate(self, exchange: Exchange) -> bytes | None:
        """Return the coding that the client prefers, empty for none; None on an excluded path."""
        if self._excluded is not None and self._excluded.find(exchange.route_path):
            return None
        value = exchange.headers.get(ACCEPT_ENCODING, b"")
        if exchange.repeated:
            value = b",".join(exchange.values(ACCEPT_ENCODING))
        choice = self._choices.get(value)
        return self.choose(value) if choice is None else choice

    def choose(self, accept_encoding: bytes) -> bytes:
        """Return the coding that the client prefers, or an empty text for none."""
        choice = choose_coding(accept_encoding.decode("latin-1"), self._codings).encode()
        if len(accept_encoding) <= MAX_VALUE:
            if len(self._choices) >= MAX_VALUES:
                self._choices.clear()
            self._choices[accept_encoding] = choice
        return choice


class CompressionFilter(Filter):
    """Compresses responses of the application with the coding in Accept-Encoding."""

    def __init__(self, config: CompressionConfig, negotiator: CodingNegotiator) -> None:
        self._config = config
        self._eligibility = Eligibility(config)
        self._negotiator = negotiator
        self.request_headers = self._eligibility.credentials | {ACCEPT_ENCODING, IF_NONE_MATCH}

    def on_response_start(self, exchange: Exchange) -> None:
        """Compress the body when request and response allow it; add ``Vary`` to every compressible response."""
        if exchange.is_local_response:
            return
        fields = fold_headers(exchange.current_headers)
        unmodified = exchange.status == NOT_MODIFIED
        allows = self._eligibility.allows_not_modified if unmodified else self._eligibility.allows
        if not allows(exchange.status, fields, exchange.headers) or exchange.scope["type"] != "http":
            return
        coding = self._negotiator.negotiate(exchange)
        if coding is None:
            return
        add_vary(exchange.response_headers, fields)
        if coding and unmodified:
            _adapt_not_modified(exchange, fields)
        elif coding:
            self._encode(exchange, coding.decode(), fields)

    def _encode(self, exchange: Exchange, coding: str, fields: Fields) -> None:
        length = fields.get(b"content-length")
        if exchange.scope["method"] != "HEAD":
            level, min_size = self._config.level(coding), self._eligibility.min_size
            event_stream = fields[b"content-type"].lower().startswith(EVENT_STREAM)
            ResponseEncoder(exchange, coding, level, min_size, length=length, event_stream=event_stream)
        elif length is not None:  # the response to GET is compressed
            exchange.current_headers = encoded_headers(exchange.current_headers, coding.encode(), None)


def _adapt_not_modified(exchange: Exchange, fields: Fields) -> None:
    """Send the ETag of the 200 when the client has the compressed response (RFC 9110, section 15.4.5)."""
    etag, tags = fields.get(b"etag"), exchange.headers.get(IF_NONE_MATCH, b"*")
    if etag is not None and (tags.strip() == b"*" or WEAK + etag in tags):
        exchange.current_headers = weaken_etag(exchange.current_headers)


def add_vary(headers: Headers, fields: Fields) -> None:
    """Add ``Vary: Accept-Encoding`` to *headers*, unless they have it."""
    names = {name.strip() for name in fields.get(b"vary", b"").lower().split(b",")}
    if ACCEPT_ENCODING not in names and b"*" not in names:
        headers.append(VARY)

"""Choose the content coding before the cache, and compress next to the application.

The cache stores compressed responses, one variant for each coding, so a hit is compressed already.
"""

from __future__ import annotations

from scalekit import Exchange, Filter
from scalekit_compression.config import CompressionConfig
from scalekit_compression.eligibility import Eligibility
from scalekit_compression.encoders import make_encoder
from scalekit_compression.negotiation import Negotiator
from scalekit_compression.response_encoder import ResponseEncoder

ACCEPT_ENCODING = b"accept-encoding"
CREDENTIALS = frozenset({b"authorization", b"cookie"})
VARY = (b"vary", b"Accept-Encoding")


class NegotiationFilter(Filter):
    """Replaces Accept-Encoding by the coding that was chosen: the cache has one variant for each, and no more."""

    request_headers = frozenset({ACCEPT_ENCODING})

    def __init__(self, config: CompressionConfig) -> None:
        self._negotiator = Negotiator(config.codings)

    def on_request(self, exchange: Exchange) -> None:
        """Replace the value of Accept-Encoding by the chosen coding, or remove it."""
        value = exchange.headers.get(ACCEPT_ENCODING)
        if value is None:
            return
        if ACCEPT_ENCODING in exchange.repeated:
            value = b",".join(exchange.values(ACCEPT_ENCODING))
        coding = self._negotiator.choose(value)
        if value != coding:
            exchange.replace_header(ACCEPT_ENCODING, coding)


class CompressionFilter(Filter):
    """Compresses responses of the application with the coding in Accept-Encoding."""

    request_headers = frozenset({ACCEPT_ENCODING, *CREDENTIALS})

    def __init__(self, config: CompressionConfig) -> None:
        self._config = config
        self._eligibility = Eligibility(config)

    def on_response_start(self, exchange: Exchange) -> None:
        """Compress the body when request and response allow it; add ``Vary`` to every compressible response."""
        if exchange.is_local_response or exchange.scope["type"] != "http":
            return
        headers = exchange.response_headers
        credentials = CREDENTIALS & exchange.headers.keys()
        if not self._eligibility.allows(exchange.status, headers, credentials):
            return
        if self._eligibility.excludes(exchange.route_path):
            return
        headers.append(VARY)
        coding = exchange.headers.get(ACCEPT_ENCODING, b"").decode("latin-1")
        if coding and exchange.scope["method"] != "HEAD":
            encoder = make_encoder(coding, self._config.level(coding))
            exchange.client_send = ResponseEncoder(exchange, coding, encoder, self._eligibility.min_size).send

"""Contract of the content coding of responses, by which a cache stores variants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from scalekit.context import Key

if TYPE_CHECKING:
    from scalekit.http.exchange import Exchange


class CodingNegotiator(Protocol):
    """Chooses the content coding of responses."""

    def negotiate(self, exchange: Exchange) -> bytes | None:
        """Return the coding of the response to *exchange* where it is compressed, empty for none.

        Return None when the response is left to the application: it may depend on all of Accept-Encoding.
        """
        ...


CODING_NEGOTIATOR: Key[CodingNegotiator] = Key("coding negotiator", plugin="compression")
"""Chooses the content coding of responses, of which a cache stores one variant each."""

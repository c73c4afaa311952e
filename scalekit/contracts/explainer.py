"""Contract of explaining a request: it is served within the running service, and its spans are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from scalekit.context import Key
from scalekit.telemetry import FinishedSpan


class FilterTime(NamedTuple):
    """The seconds that a request spent in one filter of the chain, without those inside of it."""

    layer: str
    owner: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ExplainedRequest:
    """The response to a request without its content, and what happened in between.

    *status* is 0 without a response, *error* is the traceback of an exception of the application, and *cut_off* says
    why the response was not awaited. *cache_decisions* has a sentence for each cache. Texts have secrets as they are.
    """

    status: int
    size: int
    seconds: float
    error: str
    cut_off: str
    cache_decisions: Sequence[str]
    filters: Sequence[FilterTime]
    spans: Sequence[FinishedSpan]


class RequestExplainer(Protocol):
    """Serves requests of operators in this process."""

    async def explain(self, method: str, url: str, seconds: float) -> ExplainedRequest:
        """Serve a request for *url*, a URL or a path with an optional query, for at most *seconds*.

        The request has no credentials and no body, and passes all filters as that of a client of this machine. Raises
        ValueError with the remedy for a method that is not safe, for an invalid URL, and while another one is served.
        """
        ...


REQUEST_EXPLAINER: Key[RequestExplainer] = Key("request explainer")
"""Provided by the host when a plugin shows pages."""

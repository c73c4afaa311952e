"""What a response on its way needs of the cache that it may be stored in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from scalekit_cache.policies import CachePolicies
from scalekit_cache.request import CacheRequest
from scalekit_cache.route_parameters import RouteInspector
from scalekit_cache.single_flight import Flight
from scalekit_cache.storability import StoragePolicies
from scalekit_cache.stored_response import StoredResponse


class Keeper(Protocol):
    """What an answer needs of the cache that it may be kept in."""

    name: bytes
    max_body: int
    rulings: StoragePolicies
    policies: CachePolicies
    routes: RouteInspector
    clock: Callable[[], float]

    def said(self, why: bytes, status: int, outcome: bytes) -> bytes:
        """Return what ``Cache-Status`` says of an answer with *status* that the application had to be asked for."""
        ...

    def reshape(self, flight: Flight, path: str, query: frozenset[bytes]) -> None:
        """Let what *flight* makes, and all later requests for *path*, be found by the parameters *query* only."""
        ...

    def keep(self, entry: StoredResponse, flight: Flight, asked: CacheRequest) -> StoredResponse:
        """Keep *entry*, which varies by its names, where it belongs."""
        ...

    def part(self, flight: Flight) -> None:
        """Take note that the answer is for its leader only."""
        ...

    def landed(self, flight: Flight) -> None:
        """Take note that nobody new may join *flight*."""
        ...

    def outgrown(self, flight: Flight) -> None:
        """Take note that what is made in *flight* is too large to be kept."""
        ...

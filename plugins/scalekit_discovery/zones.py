"""Prefer endpoints of the own zone, and leave it when it lacks capacity.

Callers are assumed to be spread evenly over the zones. The own zone keeps all calls while it has at least ``1/1.4`` of
its share of the available endpoints, as with Envoy's priority levels; below, calls leave it in proportion to what is
missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import random
from typing import Generic, Protocol, TypeVar

from scalekit_discovery.instances import ServiceInstance

OVERPROVISIONING = 1.4
"""How much more than its share of calls an endpoint may get (Envoy's ``overprovisioning_factor``)."""


class HasInstance(Protocol):
    """An endpoint of a load balancer."""

    instance: ServiceInstance


Endpoints = TypeVar("Endpoints", bound=HasInstance)


class ZoneSplit(Generic[Endpoints]):
    """The endpoints of the *own* zone and those of *others*; *share* of the calls stay in the own zone."""

    __slots__ = ("others", "own", "share")

    def __init__(self, own: Sequence[Endpoints], others: Sequence[Endpoints], share: float) -> None:
        self.own = own
        self.others = others
        self.share = share

    def keeps_call(self) -> bool:
        """Return whether the next call stays in the own zone."""
        return self.share >= 1.0 or random() < self.share


def split_by_zone(endpoints: Sequence[Endpoints]) -> ZoneSplit[Endpoints] | None:
    """Return *endpoints* by zone, None when all of them or none are of the own zone."""
    own = [each for each in endpoints if each.instance.same_zone]
    if not own or len(own) == len(endpoints):
        return None
    others = [each for each in endpoints if not each.instance.same_zone]
    # Topology hints prefer endpoints whose own zones may be unknown.
    zones = max(2, len({each.instance.zone for each in endpoints if each.instance.zone}))
    return ZoneSplit(own, others, OVERPROVISIONING * len(own) * zones / len(endpoints))

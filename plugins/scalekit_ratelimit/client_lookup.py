"""Find the counters of a client from what an operator knows of it: its address, its user or its key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from scalekit.contracts import SubjectIdentifier
from scalekit_ratelimit.keys import APPLICATION, UNKNOWN_CLIENT, KeyFunc, application_key
from scalekit_ratelimit.limit_statistics import LimitStatistics
from scalekit_ratelimit.limits import Hit
from scalekit_ratelimit.policies import RateLimitPolicy

_STORED_DIGEST = re.compile(r"(?:(?:subject|header|function|application)\.)?[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class LookupUser:
    """Stands in for the user of a request."""

    subject_identifier: SubjectIdentifier


class ClientLookup:
    """Finds clients in *policies* by name, and in those of decorated handlers that *statistics* has seen."""

    def __init__(
        self, policies: Mapping[str, RateLimitPolicy], address_key_func: KeyFunc, statistics: LimitStatistics
    ) -> None:
        self.policies = policies
        self._address_key_func = address_key_func
        self._statistics = statistics

    def hits(self, values: Mapping[str, str]) -> list[Hit]:
        """Return a hit for each limit, none when the client is exempt; raises ValueError with the remedy.

        *values* are the ``policy``, the ``client``, an address or a key, and the ``user`` with the ``issuer``.
        """
        policy = self._policy(values.get("policy", ""))
        client, user = values.get("client", "").strip(), values.get("user", "")
        if not client and not user:
            raise ValueError("no client; fill in its address, its key or its user")
        if _is_stored(client):
            return _hits(policy, client)
        if APPLICATION in policy.keys:
            return _hits(policy, application_key(client or user))
        if policy.keys and {"ip", "subject"}.issuperset(policy.keys):
            return policy.hits(_scope(policy, client, SubjectIdentifier(values.get("issuer", ""), user)))
        return _hits(policy, self._address_key(policy, client))  # of requests without the header, and of decorators

    def _address_key(self, policy: RateLimitPolicy, client: str) -> str:
        try:
            return str(self._address_key_func({"client": (str(ip_address(client)), 0)}))
        except ValueError:
            names = ", ".join(policy.keys) or "the key of its decorator"
            raise ValueError(
                f"policy {policy.name!r} counts by {names}; fill in an address, or a key of the table of refusals"
            ) from None

    def _policy(self, name: str) -> RateLimitPolicy:
        found = self.policies.get(name) or self.policies.get(name.rpartition(" ")[0])
        if found is not None:
            return found
        limits = self._statistics.find(name)
        if limits:
            return RateLimitPolicy(name, tuple(limits), keys=())
        raise ValueError(f"unknown policy {name!r}; policies: {', '.join(sorted(self.policies)) or 'none'}")


def _hits(policy: RateLimitPolicy, key: str) -> list[Hit]:
    return [Hit(limit, key, policy.cost, policy.dry_run) for limit in policy.limits]


def _is_stored(client: str) -> bool:
    """Return whether *client* is a key as it is stored: a digest, or a network of IPv6 clients."""
    if client == UNKNOWN_CLIENT or _STORED_DIGEST.fullmatch(client):
        return True
    try:
        return "/" in client and str(ip_network(client)) == client
    except ValueError:
        return False


def _scope(policy: RateLimitPolicy, address: str, subject: SubjectIdentifier) -> dict[str, Any]:
    """Return the scope of a request of the client, as far as keys are made from it."""
    scope: dict[str, Any] = {"type": "http", "headers": []}
    if subject.subject:
        scope["user"] = LookupUser(subject)
    if address or "ip" in policy.keys:
        try:
            scope["client"] = (str(ip_address(address)), 0)
        except ValueError:
            raise ValueError(f"expected the address of a client, such as 203.0.113.7, got {address[:100]!r}") from None
    return scope

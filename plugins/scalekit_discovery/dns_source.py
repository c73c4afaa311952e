"""DNS as the source of instances: SRV records, or A and AAAA records."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import dns.asyncresolver
import dns.exception
import dns.resolver

from scalekit import StartError, split_address
from scalekit_discovery.config import DiscoveryConfig
from scalekit_discovery.instances import ServiceInstance
from scalekit_discovery.sources import Report, SourceError

QUERY_TIMEOUT = 3.0
"""Seconds for a query with its retransmissions."""
MIN_INTERVAL = 1.0
NOT_FOUND = (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer)

InstancesAndTtl = tuple[Sequence[ServiceInstance], float]


class DnsSource:
    """Resolves services below a domain, again when the records' TTL ends."""

    cacheable = True

    def __init__(self, config: DiscoveryConfig) -> None:
        self._domain = config.domain.strip(".")
        self._port = config.dns_port
        self._interval = float(config.dns_interval)
        self._resolve = self._resolve_srv if config.records == "srv" else self._resolve_addresses
        self._resolver = _resolver(config.nameserver)
        self.name = f"DNS at {config.nameserver or 'the system'}"

    async def watch(self, name: str, report: Report) -> None:
        """Report the instances of *name* after each query."""
        while True:
            try:
                instances, ttl = await self._resolve(f"{name}.{self._domain}.")
            except NOT_FOUND:
                instances, ttl = [], self._interval
            except (dns.exception.DNSException, OSError) as error:
                raise self._unavailable(error) from None
            report(instances)
            await asyncio.sleep(max(MIN_INTERVAL, min(self._interval, ttl)))

    async def check(self) -> None:
        """Return when the server responds for the domain, also with NXDOMAIN; raise SourceError when not."""
        try:
            await self._resolver.resolve(f"{self._domain}.", "SOA", lifetime=QUERY_TIMEOUT)
        except NOT_FOUND:
            return
        except (dns.exception.DNSException, OSError) as error:
            raise self._unavailable(error) from None

    async def names(self) -> list[str]:
        """Return no name: DNS does not list services."""
        return []

    def _unavailable(self, error: Exception) -> SourceError:
        return SourceError(f"{self.name} is unavailable: {type(error).__name__}")

    async def _resolve_srv(self, name: str) -> InstancesAndTtl:
        """Query SRV records; only the lowest priority value counts (RFC 2782)."""
        answer = await self._resolver.resolve(name, "SRV", lifetime=QUERY_TIMEOUT)
        records = list(answer)
        priority = min(record.priority for record in records)
        instances = []
        ttl = _ttl(answer)
        for record in records:
            if record.priority == priority:
                target = record.target.to_text()
                addresses, address_ttl = await self._query_addresses(target)
                ttl = min(ttl, address_ttl)
                for address in addresses:
                    identifier = f"{target.rstrip('.')}:{record.port}@{address}"
                    instances.append(ServiceInstance(identifier, address, record.port, weight=max(1, record.weight)))
        return instances, ttl

    async def _resolve_addresses(self, name: str) -> InstancesAndTtl:
        addresses, ttl = await self._query_addresses(name)
        if not addresses:
            raise dns.resolver.NoAnswer
        return [ServiceInstance(f"{each}:{self._port}", each, self._port) for each in addresses], ttl

    async def _query_addresses(self, name: str) -> tuple[list[str], float]:
        """Return the addresses of *name* and their TTL in seconds."""
        addresses: list[str] = []
        ttl = self._interval
        for record_type in ("A", "AAAA"):
            try:
                answer = await self._resolver.resolve(name, record_type, lifetime=QUERY_TIMEOUT)
            except NOT_FOUND:
                continue
            addresses += [record.address for record in answer]
            ttl = min(ttl, _ttl(answer))
        return addresses, ttl


def _ttl(answer: dns.resolver.Answer) -> float:
    """Return the lowest TTL of *answer*, including the CNAME records."""
    return float(answer.chaining_result.minimum_ttl)


def _resolver(nameserver: str) -> dns.asyncresolver.Resolver:
    if not nameserver:
        try:
            return dns.asyncresolver.Resolver()
        except dns.exception.DNSException as error:
            raise StartError(f"the system configures no DNS server: {error}; set nameserver") from None
    host, port = split_address(nameserver)
    resolver = dns.asyncresolver.Resolver(configure=False)
    try:
        resolver.nameservers = [host]
    except ValueError:
        raise StartError(f"nameserver {nameserver!r} is not an address; write one such as 127.0.0.1:53") from None
    resolver.port = port
    return resolver

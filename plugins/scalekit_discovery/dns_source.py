"""Where services are, by DNS: SRV records, or A and AAAA ones."""

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

LIFETIME = 3.0
"""Seconds for a question with all its repetitions."""
LEAST_PAUSE = 1.0
NONE_THERE = (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer)

DnsRecords = tuple[Sequence[ServiceInstance], float]


class DnsSource:
    """What DNS says under a domain, asked again when the records' time is over."""

    remembered = True

    def __init__(self, config: DiscoveryConfig) -> None:
        self._domain = config.domain.strip(".")
        self._port = config.dns_port
        self._interval = float(config.dns_interval)
        self._ask = self._services if config.records == "srv" else self._addresses
        self._resolver = _resolver(config.nameserver)
        self.place = f"DNS at {config.nameserver or 'the system'}"

    async def follow(self, name: str, report: Report) -> None:
        """Report the instances of *name* in the domain, again and again."""
        while True:
            try:
                instances, pause = await self._ask(f"{name}.{self._domain}.")
            except NONE_THERE:
                instances, pause = [], self._interval
            except (dns.exception.DNSException, OSError) as error:
                raise self._unreachable(error) from None
            report(instances)
            await asyncio.sleep(max(LEAST_PAUSE, min(self._interval, pause)))

    async def check(self) -> None:
        """Return when the server knows the domain, or knows that it does not; raises SourceError otherwise."""
        try:
            await self._resolver.resolve(f"{self._domain}.", "SOA", lifetime=LIFETIME)
        except NONE_THERE:
            return
        except (dns.exception.DNSException, OSError) as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> SourceError:
        return SourceError(f"{self.place} cannot be asked: {type(error).__name__}")

    async def _services(self, name: str) -> DnsRecords:
        """Ask for SRV records; of several priorities only the first counts, as RFC 2782 says."""
        answer = await self._resolver.resolve(name, "SRV", lifetime=LIFETIME)
        records = list(answer)
        first = min(record.priority for record in records)
        instances = []
        lives = _lives(answer)
        for record in records:
            if record.priority == first:
                target = record.target.to_text()
                addresses, address_lives = await self._located(target)
                lives = min(lives, address_lives)
                for address in addresses:
                    identifier = f"{target.rstrip('.')}:{record.port}"
                    weight = max(1, record.weight)
                    instances.append(ServiceInstance(f"{identifier}@{address}", address, record.port, weight=weight))
        return instances, lives

    async def _addresses(self, name: str) -> DnsRecords:
        addresses, lives = await self._located(name)
        if not addresses:
            raise dns.resolver.NoAnswer
        return [ServiceInstance(f"{each}:{self._port}", each, self._port) for each in addresses], lives

    async def _located(self, name: str) -> tuple[list[str], float]:
        """Return the addresses of *name*, and the seconds that they are good for."""
        found: list[str] = []
        lives = self._interval
        for kind in ("A", "AAAA"):
            try:
                answer = await self._resolver.resolve(name, kind, lifetime=LIFETIME)
            except NONE_THERE:
                continue
            found += [record.address for record in answer]
            lives = min(lives, _lives(answer))
        return found, lives


def _lives(answer: dns.resolver.Answer) -> float:
    """Return the time to live of *answer*, aliases on the way to it included."""
    return float(answer.chaining_result.minimum_ttl)


def _resolver(nameserver: str) -> dns.asyncresolver.Resolver:
    if not nameserver:
        try:
            return dns.asyncresolver.Resolver()
        except dns.exception.DNSException as error:
            raise StartError(f"this machine names no DNS server: {error}; set nameserver") from None
    host, port = split_address(nameserver)
    resolver = dns.asyncresolver.Resolver(configure=False)
    try:
        resolver.nameservers = [host]
    except ValueError:
        raise StartError(f"nameserver {nameserver!r} is not an address; write one such as 127.0.0.1:53") from None
    resolver.port = port
    return resolver

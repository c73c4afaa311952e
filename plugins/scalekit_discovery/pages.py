"""The page of discovery: services with their instances, their source, and the registration of this instance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

from scalekit.pages import (
    ActionForm,
    Badge,
    Block,
    Cell,
    Column,
    ConsolePage,
    DataTable,
    Facts,
    FormField,
    Notice,
    PageAction,
    PageView,
    Tone,
    Unit,
)
from scalekit_discovery.config import DiscoveryConfig
from scalekit_discovery.load_balancer import Endpoint
from scalekit_discovery.recorded_calls import RecordedEndpoint
from scalekit_discovery.service import DiscoveryService
from scalekit_discovery.upstream import Upstream

MAX_INSTANCES = 200
"""Instances of each service that are shown."""
COUNTS = ("responses", "failures", "no_instance", "retries", "denied_retries", "ejections")
SERVICES = (
    Column("service"),
    Column("available instances"),
    Column("responses"),
    Column("failed"),
    Column("without an instance"),
    Column("retries"),
    Column("retries over the budget"),
    Column("ejections"),
    Column("retry budget left by worker"),
)
INSTANCES = (
    Column("instance", code=True),
    Column("address", code=True),
    Column("worker"),
    Column("state"),
    Column("ejection ends in", Unit.SECONDS),
    Column("action"),
    Column("zone", code=True),
    Column("weight"),
    Column("in flight"),
    Column("failures in a row"),
    Column("p50", Unit.SECONDS),
    Column("p95", Unit.SECONDS),
    Column("without a response", Unit.RATIO),
)


class DiscoveryPage:
    """The page of *service*; latencies and error rates are those of the last calls in each worker."""

    def __init__(self, service: DiscoveryService, config: DiscoveryConfig) -> None:
        self._service = service
        self._config = config

    def page(self) -> ConsolePage:
        """Return the page."""
        end = PageAction(
            "end-ejection",
            "End ejection",
            self.end_ejection,
            [FormField("service", "Service", required=True), FormField("instance", "Instance", required=True)],
            "all workers",
        )
        return ConsolePage(
            "discovery",
            "Discovery",
            self.render,
            self.collect,
            [end],
            description="Instances of each service with state, latency and errors, and the registration of this one.",
        )

    async def collect(self, query: Mapping[str, str]) -> dict[str, Any] | None:
        """Return the services that this worker has called."""
        directory, registrar = self._service.directory, self._service.registrar
        if directory is None:
            return None
        return {
            "registered": registrar and registrar.registered,
            "registration_error": registrar.last_error if registrar else "",
            "services": {name: _describe(upstream) for name, upstream in directory.upstreams.items()},
        }

    async def render(self, view: PageView) -> Sequence[Block]:
        """Return the blocks of the page."""
        workers = {worker: data for worker, data in view.workers.items() if data is not None}
        names = sorted({name for data in workers.values() for name in data["services"]})
        by_service = {
            name: {worker: data["services"][name] for worker, data in workers.items() if name in data["services"]}
            for name in names
        }
        return [
            *_source_errors(by_service),
            *(_unavailable(name) for name, parts in by_service.items() if _is_unavailable(parts)),
            self._facts(list(workers.values())),
            DataTable(
                SERVICES,
                [_service_row(*each) for each in by_service.items()],
                "Services",
                empty="no service has been called since the start; the first call finds its instances",
            ),
            *(_instances(name, parts) for name, parts in by_service.items()),
        ]

    async def end_ejection(self, values: Mapping[str, str]) -> str:
        """End the ejection of an instance in this worker."""
        directory = self._service.directory
        upstream = directory.upstreams.get(values["service"]) if directory else None
        endpoints = upstream.load_balancer.endpoints if upstream else ()
        found = [each for each in endpoints if each.instance.id == values["instance"] and each.ejected]
        if upstream is None or not found:
            return "the instance is not ejected"
        for endpoint in found:
            upstream.load_balancer.end_ejection(endpoint)
        return f"ended the ejection of {values['instance']}"

    def _facts(self, workers: Sequence[Mapping[str, Any]]) -> Facts:
        registrar, directory = self._service.registrar, self._service.directory
        facts: dict[str, Cell] = {"source": directory.source.name if directory else None}
        if registrar is not None:
            error = next((each["registration_error"] for each in workers if each["registration_error"]), "")
            registered = any(each["registered"] for each in workers)
            facts |= {
                "registered as": registrar.registration.id,
                "registration": Badge("registered", Tone.GOOD) if registered else Badge("not registered", Tone.BAD),
                "last error": error or None,
            }
        elif self._config.service:
            facts["registration"] = "only of servers, and with source = consul"
        return Facts(facts)


def _describe(upstream: Upstream) -> dict[str, Any]:
    now = monotonic()
    metrics, endpoints = upstream.metrics, upstream.load_balancer.endpoints
    return {
        "counts": [getattr(metrics, name).value for name in COUNTS],
        "budget": int(upstream.budget.balance(now)),
        "resolved": upstream.watcher.resolved,
        "error": upstream.watcher.last_error,
        "instances": [_endpoint(endpoint, now) for endpoint in endpoints[:MAX_INSTANCES]],
        "more": max(0, len(endpoints) - MAX_INSTANCES),
    }


def _endpoint(endpoint: Endpoint, now: float) -> dict[str, Any]:
    recorded = endpoint if isinstance(endpoint, RecordedEndpoint) else None
    latencies = recorded.latencies() if recorded else []
    return {
        "id": endpoint.instance.id,
        "address": endpoint.instance.url,
        "zone": endpoint.instance.zone or None,
        "weight": endpoint.instance.weight,
        "ejected": endpoint.ejected,
        "probing": endpoint.probing,
        "ejected_for": max(0.0, endpoint.ejected_until - now) if endpoint.ejected else None,
        "in_flight": endpoint.in_flight,
        "failures": endpoint.failures,
        "p50": latencies[len(latencies) // 2] if latencies else None,
        "p95": latencies[len(latencies) * 95 // 100] if latencies else None,
        "error_rate": recorded.error_rate() if recorded else None,
    }


def _source_errors(by_service: Mapping[str, Mapping[str, Any]]) -> list[Notice]:
    errors: dict[str, list[str]] = {}
    for name, parts in by_service.items():
        for error in {part["error"] for part in parts.values() if part["error"]}:
            errors.setdefault(error, []).append(name)
    return [
        Notice(error, f"The last known instances of {', '.join(names)} are used.") for error, names in errors.items()
    ]


def _unavailable(name: str) -> Notice:
    text = f"No instance of {name} is available: calls fail with 503."
    return Notice(text, "Look whether it runs; an ejected instance is tried again by itself.", Tone.BAD)


def _is_unavailable(parts: Mapping[str, Any]) -> bool:
    looked_up = any(part["resolved"] or part["error"] for part in parts.values())
    return looked_up and not _count_available(parts)[0]


def _count_available(parts: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many instances a worker can call, and how many there are."""
    instances = [each for part in parts.values() for each in part["instances"]]
    return len({each["id"] for each in instances if not each["ejected"]}), len({each["id"] for each in instances})


def _service_row(name: str, parts: Mapping[str, Any]) -> Sequence[Cell]:
    available, total = _count_available(parts)
    tone = Tone.GOOD if available == total > 0 else Tone.WARNING if available else Tone.BAD
    counts = [sum(values) for values in zip(*(part["counts"] for part in parts.values()), strict=True)]
    return (
        name,
        Badge(f"{available} of {total}", tone),
        *counts,
        ", ".join(f"{worker}: {part['budget']}" for worker, part in parts.items()),
    )


def _instances(name: str, parts: Mapping[str, Any]) -> DataTable:
    rows = [(worker, each) for worker, part in parts.items() for each in part["instances"]]
    rows.sort(key=lambda row: row[1]["id"])
    resolved = any(part["resolved"] for part in parts.values())
    empty = "no healthy instance" if resolved else "the source has not responded yet"
    more = sum(part["more"] for part in parts.values())
    return DataTable(INSTANCES, [_instance_row(name, *row) for row in rows], f"Instances of {name}", more, empty)


def _instance_row(service: str, worker: str, each: Mapping[str, Any]) -> Sequence[Cell]:
    end = ActionForm("end-ejection", {"service": service, "instance": each["id"]}) if each["ejected"] else None
    values = [each[name] for name in ("zone", "weight", "in_flight", "failures", "p50", "p95", "error_rate")]
    return (each["id"], each["address"], worker, _state(each), each["ejected_for"], end, *values)


def _state(each: Mapping[str, Any]) -> Badge:
    if not each["ejected"]:
        return Badge("healthy", Tone.GOOD)
    if each["probing"] or not each["ejected_for"]:
        return Badge("probed by the next call", Tone.WARNING)
    return Badge("ejected", Tone.BAD)

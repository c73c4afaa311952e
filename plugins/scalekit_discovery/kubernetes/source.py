"""Kubernetes as the source of instances: list the EndpointSlices of a service, then watch them."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from time import monotonic
from typing import Any
from urllib.parse import quote

from scalekit_discovery.config import DiscoveryConfig
from scalekit_discovery.instances import ServiceInstance
from scalekit_discovery.kubernetes.client import ExpiredVersion, KubernetesClient, is_expired
from scalekit_discovery.kubernetes.endpoint_slices import Location, ServicePort, Slice, instances_of
from scalekit_discovery.sources import Report, SourceError

SERVICE_LABEL = "kubernetes.io/service-name"
ZONE_LABEL = "topology.kubernetes.io/zone"
PAGE_SIZE = 500
MAX_PAGES = 100
"""Pages of one list; an API server fills all but the last one."""
MAX_SLICES = 1000
"""EndpointSlices of one service, each with 1000 endpoints at most."""
MIN_WATCH = 1.0
"""Seconds; of two watches in a row that end earlier without an event, the second is an error and causes a backoff."""
MAX_JITTER = 0.3
"""Seconds between two requests at most, so that many processes do not reconnect at the same time."""

logger = logging.getLogger("scalekit.discovery")


class KubernetesSource:
    """Watches the EndpointSlices of services, which the control plane maintains from the readiness of pods.

    A process does not register itself: a pod is an endpoint of its Service while its readiness probe passes.
    """

    cacheable = True

    def __init__(self, client: KubernetesClient, config: DiscoveryConfig) -> None:
        self.name = client.name
        self._client = client
        self._watch_timeout = float(config.watch_timeout)
        self._zone = config.zone
        self._node = "" if config.zone else config.node
        self._address_type = _address_type(client.host)
        self._zone_error_logged = False
        self._versions: dict[str, str] = {}

    async def watch(self, name: str, report: Report) -> None:
        """Report the instances of ``NAME[.NAMESPACE][:PORT]``, now and after each change."""
        target = ServicePort.parse(name, self._client.namespace)
        # The API server responds from its cache, with a state that is not older than the last one seen here.
        version = self._versions.get(name, "0")
        while True:
            slices = await self._list(target, version)
            await self._find_zone()
            try:
                await self._follow(slices, target, name, report)
                version = slices.version
            except ExpiredVersion:
                version = ""
                await asyncio.sleep(random.uniform(0.0, MAX_JITTER))

    async def check(self) -> None:
        """Return when the API lists EndpointSlices of the namespace; raise SourceError when not."""
        await self._client.get(_path(self._client.namespace), {"limit": "1"})

    async def names(self) -> list[str]:
        """Return the names of the services in the namespace that have EndpointSlices."""
        items, _ = await self._list_pages(self._client.namespace, {})
        return sorted({str(name) for each in items if (name := _labels(each).get(SERVICE_LABEL))})

    async def _list(self, target: ServicePort, version: str) -> SliceSet:
        query = {"labelSelector": f"{SERVICE_LABEL}={target.service}"}
        try:
            items, latest = await self._list_pages(target.namespace, {**query, **_not_older_than(version)})
        except ExpiredVersion:
            items, latest = await self._list_pages(target.namespace, query)
        return SliceSet(self.name, items, latest)

    async def _list_pages(self, namespace: str, query: Mapping[str, str]) -> tuple[list[Slice], str]:
        """Return all items of the list and its resource version."""
        items: list[Slice] = []
        page: Mapping[str, str] = {**query, "limit": str(PAGE_SIZE)}
        for _ in range(MAX_PAGES):
            data = await self._client.get(_path(namespace), page)
            try:
                items += [dict(each) for each in data.get("items") or ()]
                metadata = dict(data["metadata"])
            except (KeyError, TypeError, ValueError):
                raise SourceError(f"{self.name}: unexpected response, not the API of Kubernetes") from None
            if len(items) > MAX_SLICES:
                raise SourceError(f"{self.name}: more than {MAX_SLICES} EndpointSlices in one list")
            if not metadata.get("continue"):
                return items, str(metadata.get("resourceVersion", ""))
            # The continue token contains the resource version.
            selector = {name: value for name, value in query.items() if name == "labelSelector"}
            page = {**selector, "limit": str(PAGE_SIZE), "continue": str(metadata["continue"])}
        raise SourceError(f"{self.name}: a list has more than {MAX_PAGES} pages")

    async def _follow(self, slices: SliceSet, target: ServicePort, name: str, report: Report) -> None:
        """Report the instances of *slices* and of each later state; return when they have to be listed again.

        Raises SourceError when the watch fails.
        """
        location = Location(self._zone, self._address_type)

        def on_events(events: Sequence[Mapping[str, Any]]) -> None:
            if slices.apply(events):
                report(slices.instances(target, location))
            self._versions[name] = slices.version

        self._versions[name] = slices.version
        report(slices.instances(target, location))
        short_watches = 0
        while short_watches < 2:
            started, before = monotonic(), slices.version
            query = {"labelSelector": f"{SERVICE_LABEL}={target.service}", "resourceVersion": before}
            seconds = max(1, round(self._watch_timeout * random.uniform(0.5, 1.0)))
            await self._client.watch(_path(target.namespace), query, seconds, on_events)
            await asyncio.sleep(random.uniform(0.0, MAX_JITTER))
            if slices.version != before:
                short_watches = 0
            elif monotonic() - started > MIN_WATCH:
                # Not even a bookmark: a server that lost its state waits silently until it reaches the version again.
                return
            else:
                short_watches += 1
        raise SourceError(f"{self.name} ended two watches at once, without an event")

    async def _find_zone(self) -> None:
        """Read the zone from the labels of the node; no zone is preferred while that fails."""
        if not self._node:
            return
        try:
            node = await self._client.get(f"/api/v1/nodes/{quote(self._node, safe='')}", {})
        except SourceError as error:
            if not self._zone_error_logged:
                logger.warning("no zone is preferred, because that of node %r is unknown: %s", self._node, error)
            self._zone_error_logged = True
        else:
            self._zone = str(_labels(node).get(ZONE_LABEL, ""))
            self._node = ""


class SliceSet:
    """The EndpointSlices of one service by name, at a resource version."""

    def __init__(self, source: str, items: list[Slice], version: str) -> None:
        self.version = version
        self._source = source
        self._slices: dict[str, Slice] = {}
        for each in items:
            self._put(each)

    def apply(self, events: Sequence[Mapping[str, Any]]) -> bool:
        """Apply the *events* of a watch and return whether slices changed.

        Raises ExpiredVersion when the watch cannot continue from its version, and SourceError for another error.
        """
        changed = False
        for event in events:
            kind, item = event.get("type"), event.get("object")
            if not isinstance(item, dict) or not isinstance(item.get("metadata") or {}, dict):
                raise self._unexpected()
            if kind == "ERROR":
                message = f"{self._source} ended a watch: {item.get('message', '')}"
                raise (ExpiredVersion if is_expired(item.get("code"), item) else SourceError)(message)
            if kind != "BOOKMARK":
                changed = True
                self._remove(item) if kind == "DELETED" else self._put(item)
            self.version = str((item.get("metadata") or {}).get("resourceVersion", self.version))
        return changed

    def instances(self, target: ServicePort, location: Location) -> list[ServiceInstance]:
        """Return the instances of all slices; raise SourceError when they are not EndpointSlices."""
        try:
            return instances_of(self._slices.values(), target, location)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            raise self._unexpected() from None

    def _put(self, item: Slice) -> None:
        name = self._name(item)
        if len(self._slices) >= MAX_SLICES and name not in self._slices:
            raise SourceError(f"{self._source}: more than {MAX_SLICES} EndpointSlices of one service")
        self._slices[name] = item

    def _remove(self, item: Slice) -> None:
        self._slices.pop(self._name(item), None)

    def _name(self, item: Slice) -> str:
        metadata = item.get("metadata")
        if not isinstance(metadata, dict) or "name" not in metadata:
            raise self._unexpected()
        return str(metadata["name"])

    def _unexpected(self) -> SourceError:
        return SourceError(f"{self._source}: unexpected response, not the API of Kubernetes")


def _labels(item: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = item.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    return labels if isinstance(labels, dict) else {}


def _path(namespace: str) -> str:
    return f"/apis/discovery.k8s.io/v1/namespaces/{quote(namespace, safe='')}/endpointslices"


def _not_older_than(version: str) -> dict[str, str]:
    if version in ("", "0"):
        return {"resourceVersion": version} if version else {}
    return {"resourceVersion": version, "resourceVersionMatch": "NotOlderThan"}


def _address_type(host: str) -> str:
    """Return the address type of the cluster's primary family, which the API's own Service address has."""
    try:
        return f"IPv{ip_address(host).version}"
    except ValueError:
        return "IPv4"

"""An API server that speaks the public protocol of Kubernetes: list, watch, bookmarks, tokens and errors."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from typing import Any, NamedTuple, TypeVar

from aiohttp import web

from tests.certificates import Authority
from tests.processes import HOST

SLICES = "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
SERVICE_LABEL = "kubernetes.io/service-name"
ADMIN = "token-of-the-tests"

Value = TypeVar("Value")


class Change(NamedTuple):
    """A change of one object, with its resource version."""

    version: int
    kind: str
    item: dict[str, Any]


def status(code: int, reason: str, message: str, **headers: str) -> web.Response:
    """Return the response of an error, with a ``Status`` object."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
    return web.json_response({**body, "message": message}, status=code, headers=headers)


class ApiServer:
    """Serves EndpointSlices and nodes over TLS on the loopback address, in a thread.

    A token is valid while it is in *tokens*; *failures* are the responses of the next requests of a
    service; with *ends_watches* each
    watch ends at once.
    """

    def __init__(self, folder: Path) -> None:
        authority = Authority(folder)
        files = authority.issue("apiserver")
        self._ssl = SSLContext(PROTOCOL_TLS_SERVER)
        self._ssl.load_cert_chain(files.certificate, files.key)
        self.ca_file = authority.file
        self.token_file = folder / "token"
        self.tokens = {ADMIN}
        self.write_token(ADMIN)
        self.port = 0
        self.failures: deque[Callable[[], web.Response]] = deque()
        self.ends_watches = False
        self.nodes: dict[str, dict[str, str]] = {}
        self.requests: list[tuple[str, Mapping[str, str]]] = []
        self._version = 100
        self._compacted = 0
        self._items: dict[str, dict[str, Any]] = {}
        self._changes: list[Change] = []
        self._watches: list[tuple[asyncio.Queue[bytes], web.Request]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._runner: web.AppRunner | None = None

    def __enter__(self) -> ApiServer:
        self._thread.start()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}"

    def table(self, **more: Any) -> dict[str, Any]:
        """Return a table ``[plugins.discovery]`` with this server as the source."""
        tls = {"ca_file": str(self.ca_file)}
        table = {"source": "kubernetes", "kubernetes": self.url, "token_file": str(self.token_file), "tls": tls}
        return {**table, "namespace": "shop", **more}

    def write_token(self, token: str) -> None:
        self.token_file.write_text(token + "\n")

    def start(self) -> None:
        self._run(self._start)

    def stop(self) -> None:
        self._run(self._stop)

    def fail(self, response: Callable[[], web.Response]) -> None:
        """Respond with *response* to all requests of a service until `failures` is cleared."""
        self.failures.extend([response] * 1000)

    def put(self, service: str, *endpoints: Mapping[str, Any], name: str = "", **fields: Any) -> None:
        """Create or replace a slice of *service*, by default the one with its name."""
        namespace = fields.pop("namespace", "shop")
        name = name or f"{service}-1"
        metadata = {"name": name, "namespace": namespace, "labels": {SERVICE_LABEL: service}}
        item = {"addressType": "IPv4", "metadata": metadata, "endpoints": list(endpoints), **fields}
        self._run(self._change, "MODIFIED" if name in self._items else "ADDED", item)

    def delete(self, name: str) -> None:
        self._run(self._change, "DELETED", self._items[name])

    def bookmark(self) -> None:
        """Send a bookmark with a new resource version to all watches."""
        self._run(self._send_bookmark)

    def send_raw(self, line: bytes) -> None:
        """Send *line* to all watches."""
        self._run(self._broadcast, line)

    def compact(self) -> None:
        """Forget all changes: a watch from an older version has expired."""
        self._run(self._compact)

    def lose_state(self) -> None:
        """Restart the resource versions at 1, as after a restored backup; a watch of a later version gets no event."""
        self._run(self._reset)

    def end_watches(self) -> None:
        """End all watches after their events, as when their time is over."""
        self._run(self._broadcast, b"")

    def cut_watches(self) -> None:
        """Reset the connections of all watches."""
        self._run(self._abort)

    def wait_watches(self, count: int) -> bool:
        """Return whether *count* watches are open."""
        return len(self._watches) == count

    def queries(self, kind: str) -> list[Mapping[str, str]]:
        """Return the queries of all requests of a service's EndpointSlices that are a ``watch`` or a ``list``."""
        slices = [query for path, query in self.requests if path.endswith("endpointslices")]
        found = [query for query in slices if "labelSelector" in query]
        return [query for query in found if ("watch" in query) == (kind == "watch")]

    def _run(self, function: Callable[..., Any], *arguments: Any) -> None:
        async def run() -> None:
            result = function(*arguments)
            if asyncio.iscoroutine(result):
                await result

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(30)

    async def _start(self) -> None:
        application = web.Application(middlewares=[self._authorize])
        application.router.add_get(SLICES, self._serve_slices)
        application.router.add_get("/api/v1/nodes/{name}", self._serve_node)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self.port, ssl_context=self._ssl, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        self._abort()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _authorize(self, request: web.Request, handler: Callable[..., Any]) -> web.StreamResponse:
        self.requests.append((request.path, dict(request.query)))
        if self.failures and "labelSelector" in request.query:
            return self.failures.popleft()()
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return status(401, "Unauthorized", "Unauthorized")
        response: web.StreamResponse = await handler(request)
        return response

    async def _serve_node(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in self.nodes:
            return status(403, "Forbidden", f'nodes "{name}" is forbidden: cannot get resource "nodes"')
        return web.json_response({"metadata": {"name": name, "labels": self.nodes[name]}})

    async def _serve_slices(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") == "1":
            return await self._watch(request)
        return self._list(request)

    def _list(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        version = int(query.get("resourceVersion") or 0)
        if version > self._version:
            return status(504, "Timeout", f"Too large resource version: {version}, current: {self._version}")
        token = query.get("continue", "")
        listed, _, offset = token.partition(":")
        first = int(offset or 0)
        if token and int(listed) < self._compacted:
            return status(410, "Expired", "The provided continue parameter is too old")
        items = [item for item in self._items.values() if _matches(request, item)]
        # A list of version 0 comes from the cache, without pages.
        limit = len(items) if query.get("resourceVersion") == "0" else int(query.get("limit", len(items)))
        metadata = {"resourceVersion": str(self._version)}
        if first + limit < len(items):
            metadata["continue"] = f"{self._version}:{first + limit}"
        return web.json_response({"metadata": metadata, "items": items[first : first + limit]})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        version = int(request.query["resourceVersion"])
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if version < self._compacted:
            error = {
                "kind": "Status",
                "code": 410,
                "reason": "Expired",
                "message": f"too old resource version: {version}",
            }
            await response.write(_line("ERROR", error))
            return response
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        for change in self._changes:
            if change.version > version and _matches(request, change.item):
                queue.put_nowait(_line(change.kind, change.item))
        watch = (queue, request)
        self._watches.append(watch)
        try:
            async with asyncio.timeout(float(request.query["timeoutSeconds"])):
                while not self.ends_watches:
                    if not (line := await queue.get()):
                        break
                    # An event may arrive in pieces.
                    await response.write(line[:40])
                    await asyncio.sleep(0)
                    await response.write(line[40:])
        except (TimeoutError, ConnectionError):
            pass
        finally:
            self._watches.remove(watch)
        return response

    def _change(self, kind: str, item: dict[str, Any]) -> None:
        self._version += 1
        item = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self._version)}}
        name = item["metadata"]["name"]
        if kind == "DELETED":
            del self._items[name]
        else:
            self._items[name] = item
        self._changes.append(Change(self._version, kind, item))
        for queue, request in self._watches:
            if _matches(request, item) and int(request.query["resourceVersion"]) < self._version:
                queue.put_nowait(_line(kind, item))

    def _send_bookmark(self) -> None:
        self._version += 1
        self._broadcast(_line("BOOKMARK", {"metadata": {"resourceVersion": str(self._version)}}))

    def _broadcast(self, line: bytes) -> None:
        for queue, _ in self._watches:
            queue.put_nowait(line)

    def _compact(self) -> None:
        self._version += 1
        self._compacted = self._version
        self._changes.clear()

    def _reset(self) -> None:
        self._abort()
        self._version = 1
        self._compacted = 0
        self._changes.clear()

    def _abort(self) -> None:
        for _, request in self._watches:
            if request.transport is not None:
                request.transport.abort()


def _matches(request: web.Request, item: Mapping[str, Any]) -> bool:
    metadata = item["metadata"]
    selector = dict(part.split("=") for part in request.query.get("labelSelector", "").split(",") if part)
    labels = metadata["labels"]
    in_namespace = metadata["namespace"] == request.match_info["namespace"]
    return in_namespace and all(labels.get(name) == value for name, value in selector.items())


def _line(kind: str, item: Mapping[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


def endpoint(address: str = HOST, pod: str = "", **fields: Any) -> dict[str, Any]:
    """Return a ready endpoint of a pod."""
    pod = pod or f"pod-{address}"
    return {
        "addresses": [address],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "targetRef": {"kind": "Pod", "name": pod, "uid": f"uid-of-{pod}"},
        **fields,
    }


def port(number: int, name: str = "http", **fields: Any) -> dict[str, Any]:
    """Return a TCP port of a slice."""
    return {"port": number, "name": name, "protocol": "TCP", **fields}

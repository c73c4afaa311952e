from __future__ import annotations

import gc
import os
import signal
import tracemalloc
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from scalekit import create_app
from scalekit.config.tables import Memory
from scalekit.runner.memory.gc_control import collect_and_freeze
from scalekit.runner.memory.heap_growth import HeapGrowth
from scalekit.telemetry import TELEMETRY
from scalekit.testing import request, running
from scalekit.testing.conformance import bare_application
from tests.host.telemetry.test_telemetry import EXPORTER
from tests.plugin_source import Install
from tests.processes import free_ports, wait_for
from tests.servers import ask
from tests.service import Service
from tests.workers import supervised, workers_of


class Managed(Service):
    """A service whose health pages are elsewhere."""

    def is_ready(self) -> bool:
        return self.get("/") == "/ 0"


class Leaked:
    """An object that is leaked."""


@pytest.fixture
def collector() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


@pytest.mark.slow
@pytest.mark.usefixtures("collector")
def test_objects_of_the_start_are_frozen() -> None:
    gc.unfreeze()
    collect_and_freeze(Memory(gc_freeze=False))
    assert gc.get_freeze_count() == 0
    collect_and_freeze(Memory(gc_thresholds=(5000, 20, 30)))
    assert gc.get_freeze_count() > 1000
    assert gc.get_threshold() == (5000, 20, 30)


COLLECTOR = """
import gc
held_back = gc.get_threshold()[0] == 0
{}
async def app(scope, receive, send):
    if scope["type"] == "http":
        text = f"{{held_back}} {{gc.get_threshold()}} {{gc.isenabled()}} {{gc.get_freeze_count() > 0}}"
        await send({{"type": "http.response.start", "status": 200, "headers": []}})
        await send({{"type": "http.response.body", "body": text.encode()}})
"""


@pytest.mark.parametrize(
    ("own", "freeze", "thresholds"),
    [
        ("", True, gc.get_threshold()),
        ("", False, gc.get_threshold()),
        ("gc.set_threshold(123, 4, 5)", True, (123, 4, 5)),
    ],
)
def test_garbage_collection_is_disabled_during_imports(
    own: str, freeze: bool, thresholds: tuple[int, int, int]
) -> None:
    toml = f"[server.memory]\ngc_freeze = {str(freeze).lower()}\n"
    with Service(toml, {"service": COLLECTOR.format(own)}) as service:
        assert service.get("/") == f"True {thresholds} True {freeze}"


@pytest.mark.slow
def test_a_comparison_names_the_types_that_grew_since_the_last() -> None:
    growth = HeapGrowth()
    growth.compare()
    leaked = [Leaked() for _ in range(5000)]
    looked = growth.compare()
    name = f"{Leaked.__module__}.Leaked"
    assert {"type": name, "more": 5000, "objects": 5000} in looked["growing"]
    assert looked["allocations"] is None
    assert name not in [each["type"] for each in growth.compare()["growing"]]
    assert len(leaked) == 5000


@pytest.mark.anyio
async def test_the_memory_page_is_for_operators_only() -> None:
    async def status(server: dict[str, Any], **headers: str) -> int:
        host = create_app({"server": server}, app=bare_application)
        async with running(host) as state:
            response = await request(host, "/-/memory", state=state, headers=headers)
            return 0 if response.body == b"/-/memory" else response.status

    assert await status({}) == 0
    assert await status({"operator_networks": ["127.0.0.1"]}) == 200
    assert await status({"operator_networks": ["10.0.0.0/8"]}) == 403
    assert await status({"operator_token": "sesame"}) == 403
    assert await status({"operator_token": "sesame"}, authorization="Bearer sesame") == 200


def test_the_memory_page_shows_every_worker() -> None:
    with supervised(2, 'operator_networks = ["127.0.0.1"]') as service:
        pids = set(workers_of(service))
        for _ in range(3):
            shown = orjson.loads(service.get("/-/memory"))["workers"]
            assert sorted(shown) == ["1", "2"]
            assert {each["pid"] for each in shown.values()} == pids


def test_a_worker_that_does_not_respond_is_null_on_the_memory_page() -> None:
    with supervised(2, 'operator_networks = ["127.0.0.1"]\nhang_timeout = "10m"') as service:
        frozen = workers_of(service)[0]
        os.kill(frozen, signal.SIGSTOP)
        try:
            shown = wait_for("a response of the other worker", lambda: _shown(service))
        finally:
            os.kill(frozen, signal.SIGCONT)
        assert [each and each["pid"] for each in shown.values()].count(None) == 1


def _shown(service: Service) -> dict[str, Any]:
    try:
        shown: dict[str, Any] = orjson.loads(service.get("/-/memory"))["workers"]
    except TimeoutError:  # the connection went to the frozen one
        return {}
    return shown


@pytest.mark.anyio
async def test_allocations_are_traced_when_tracemalloc_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "scalekit.runner.workers.worker_queries.QUERY_TIMEOUT", 60.0
    )  # the process of the tests is large
    server = {"operator_networks": ["127.0.0.1"], "memory": {"tracemalloc": 1}}
    host = create_app({"server": server}, app=bare_application)
    async with running(host) as state:
        kept = [bytes(1000) for _ in range(10_000)]  # more than any import, which may be the first in this process
        content = orjson.loads((await request(host, "/-/memory", state=state)).body)["workers"]["1"]
        assert content["allocations"][0]["bytes"] > len(kept) * 1000
        assert content["allocations"][0]["line"].startswith(f"{__file__}:")
    assert not tracemalloc.is_tracing()


@pytest.mark.anyio
async def test_memory_is_in_the_metrics(install: Install) -> None:
    install("exporter", EXPORTER)
    host = create_app({"plugins": {"exporter": {}}}, app=bare_application)
    callbacks = len(gc.callbacks)
    async with running(host):
        for generation in range(3):
            gc.collect(generation)
        families = (await host.context.get(TELEMETRY).total()).families
    assert len(gc.callbacks) == callbacks
    for name in ("resident_bytes", "proportional_bytes", "allocated_blocks", "objects"):
        assert families[f"scalekit_memory_{name}"].data["1",] > 1000, name
    pauses = families["scalekit_gc_pause_seconds"].data
    assert all(sum(pauses[generation,][1]) >= 1 for generation in ("0", "1", "2"))


def test_the_memory_page_is_on_the_management_address() -> None:
    (port,) = free_ports(1)
    with Managed(f'[server]\nmanagement_address = "127.0.0.1:{port}"\n') as service:
        assert "growing" in ask(port, "GET", "/-/memory")
        assert service.get("/-/memory") == "/-/memory 0"

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from starlette.types import Scope

from scalekit import Check, Lifespan
from scalekit.health.monitor import Monitor
from scalekit.health.pages import HealthPages
from scalekit.lifecycle import Lifecycle, Step
from scalekit.testing.conformance import bare_application
from tests.host.asgi import Conversation, behind, http_scope
from tests.host.test_lifecycle import Story

pytestmark = pytest.mark.anyio


async def ill() -> None:
    raise OSError("no route")


async def hang() -> None:
    await asyncio.Event().wait()


class Instance:
    def __init__(self, *checks: Check, operator: bool = False) -> None:
        self.monitor = Monitor({check.name: check for check in checks}, 60, str)
        self.lifecycle = Story().lifecycle()
        self.pages = HealthPages("/health", self.lifecycle, self.monitor, lambda scope: operator)
        self.app = behind(bare_application, self.pages)

    async def ask(self, path: str, **scope: Any) -> tuple[int | None, Any]:
        client = Conversation()
        await client.run(self.app, http_scope(path, **scope))
        return client.status, orjson.loads(client.body) if client.body.startswith(b"{") else client.body


async def test_an_instance_is_alive_in_every_phase_and_ready_in_one() -> None:
    instance = Instance()
    assert await instance.ask("/health/live") == (200, {"status": "alive"})
    assert await instance.ask("/health/ready") == (503, {"status": "not ready", "reason": "stopped"})
    await instance.lifecycle.start()
    assert await instance.ask("/health/ready") == (200, {"status": "ready"})
    assert await instance.ask("/health") == (200, {"status": "healthy"})
    instance.lifecycle.begin_drain()
    assert await instance.ask("/health/ready") == (503, {"status": "not ready", "reason": "draining"})
    assert await instance.ask("/health") == (503, {"status": "unhealthy"})
    assert await instance.ask("/health/live") == (200, {"status": "alive"})


async def test_a_failed_critical_check_is_not_ready_and_only_operators_see_details() -> None:
    instance = Instance(Check("database", ill))
    await instance.lifecycle.start()
    await instance.monitor.check_once()
    assert await instance.ask("/health/ready") == (503, {"status": "not ready", "reason": "a critical check fails"})
    assert await instance.ask("/health") == (503, {"status": "unhealthy"})


async def test_another_check_only_degrades() -> None:
    instance = Instance(Check("mail", ill, critical=False))
    await instance.lifecycle.start()
    await instance.monitor.check_once()
    assert await instance.ask("/health/ready") == (200, {"status": "ready"})
    assert await instance.ask("/health") == (200, {"status": "degraded"})


async def test_operators_see_every_check_with_status_latency_age_and_last_error() -> None:
    instance = Instance(Check("database", ill), operator=True)
    await instance.lifecycle.start()
    await instance.monitor.check_once()
    status, content = await instance.ask("/health")
    assert status == 503
    assert content["reason"] == "critical checks fail: database"
    assert content["phase"] == "ready"
    check = content["checks"]["database"]
    assert (check["status"], check["critical"], check["last_error"]) == ("unhealthy", True, "OSError: no route")
    assert check["latency_ms"] >= 0
    assert check["age_s"] >= 0


async def test_a_plugin_that_stopped_unexpectedly_is_named_to_operators_only() -> None:
    for operator, reason in ((True, "stopped unexpectedly: queue"), (False, "a plugin stopped unexpectedly")):
        instance = Instance(operator=operator)
        await instance.lifecycle.start()
        instance.lifecycle.failed["queue"] = "OSError"
        assert (await instance.ask("/health/ready"))[1]["reason"] == reason


async def test_a_probe_reads_memory_even_while_a_dependency_hangs() -> None:
    instance = Instance(Check("database", hang, timeout=60))
    lifecycle = Lifecycle([Step("health", Lifespan(instance.monitor.run), None, 1)], Story().context)
    instance.pages.lifecycle = lifecycle
    await lifecycle.start()
    await asyncio.sleep(0)  # the check hangs from here on
    conversation = instance.ask("/health/ready")
    with pytest.raises(StopIteration) as finished:
        conversation.send(None)  # it ends in its first step: nothing in it waits
    assert finished.value.value[0] == 503
    await lifecycle.stop()


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
async def test_health_pages_accept_only_get_and_head(method: str) -> None:
    status, content = await Instance().ask("/health", method=method)
    assert (status, content["detail"]) == (405, "use GET for health pages")


async def test_everything_else_goes_to_the_application() -> None:
    for path in ("/", "/health/", "/healthy", "/health/live/x", "/Health"):
        assert await Instance().ask(path) == (200, path.encode())


async def test_the_prefix_of_a_proxy_does_not_hide_the_pages() -> None:
    assert await Instance().ask("/shop/health/live", root_path="/shop") == (200, {"status": "alive"})


async def test_responses_are_no_store() -> None:
    client = Conversation()
    scope: Scope = http_scope("/health/ready")
    await client.run(Instance().app, scope)
    assert (b"cache-control", b"no-store") in client.sent[0]["headers"]

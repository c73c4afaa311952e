"""Watching services at a real Consul, also while it restarts or loses its state."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from scalekit.contracts import Services
from scalekit.errors import Unavailable
from scalekit_discovery.consul.source import next_index
from tests.discovery.consul.api import checks, passing
from tests.discovery.harness import CallLoad, StockService, open_services, registered_toml, wait_instances, wait_until
from tests.processes import HOST
from tests.servers import Consul, ask

pytestmark = [pytest.mark.anyio, pytest.mark.needs("consul")]


@pytest.fixture
def consul() -> Iterator[Consul]:
    with Consul() as consul:
        yield consul


async def test_instances_follow_registrations_and_maintenance(shared: Consul) -> None:
    async with open_services(source="consul", consul=shared.url) as directory:
        assert await directory.instances("moving") == ()
        with StockService(registered_toml(shared, service="moving")) as first:
            assert await wait_instances(directory, 1, "moving") == [first.url]
            second = StockService(registered_toml(shared, service="moving"))
            await asyncio.to_thread(second.__enter__)
            try:
                assert await wait_instances(directory, 2, "moving") == sorted([first.url, second.url])
                second.signal(signal.SIGTERM)
                assert await wait_instances(directory, 1, "moving") == [first.url]
            finally:
                second.__exit__(None, None, None)


async def test_calls_continue_while_consul_is_killed_and_restarted(consul: Consul) -> None:
    with StockService(registered_toml(consul)) as first, StockService(registered_toml(consul)) as second:
        async with open_services(source="consul", consul=consul.url) as directory:
            assert await wait_instances(directory, 2) == sorted([first.url, second.url])
            load = CallLoad(directory.client("inventory"))
            async with load.running():
                await load.wait_for_pids(2)
                consul.kill()
                await load.wait_calls(300)
                await wait_until(consul.start)
                await wait_until(lambda: len(passing(consul, "inventory")) == 2)
                await load.wait_calls(300)
            assert load.errors == []
            assert await directory.instances("inventory")
            # later changes are seen again
            second.signal(signal.SIGTERM)
            assert await wait_instances(directory, 1) == [first.url]


class LoggingConsul(Consul):
    """A Consul that logs its requests."""

    def command(self) -> list[object]:
        return [*super().command(), "-log-level=debug"]

    def query_count(self, name: str, mode: str) -> int:
        """Return the number of queries for instances of the service *name* in consistency *mode*."""
        logged = "".join(path.read_text() for path in self.box.directory.glob("*.log"))
        return len(re.findall(rf"/v1/health/service/{name}\?\S*\b{mode}\b", logged))


async def test_a_consul_that_still_reads_its_state_removes_no_instance(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    def reported(text: str, times: int) -> bool:
        return caplog.text.count(text) == times

    with LoggingConsul() as consul, StockService(registered_toml(consul)) as service:
        async with open_services(source="consul", consul=consul.url) as directory:
            assert await wait_instances(directory, 1) == [service.url]
            for number in range(2000):
                ask(consul.port, "PUT", f"/v1/kv/{number}", "x" * 1000)
            watching = asyncio.create_task(lost(directory))
            for times in range(3):
                assert consul.query_count("inventory", "consistent") == times
                consul.kill()
                await wait_until(partial(reported, "is unavailable", times + 1))
                await wait_until(consul.start)
                await wait_until(lambda: passing(consul, "inventory"))
                await wait_until(partial(is_queried_again, consul, times))
                await wait_until(partial(reported, "is available again for", times + 1))
            assert not watching.done()
            watching.cancel()


def is_queried_again(consul: LoggingConsul, times: int) -> bool:
    return consul.query_count("inventory", "consistent") > times


async def lost(directory: Services) -> None:
    """Wait until the service has no instance."""
    async for instances in directory.watch("inventory"):
        if not instances:
            return


async def test_checks_that_a_restarted_agent_has_not_run_yet_remove_no_instance(consul: Consul) -> None:
    rarely_checked = registered_toml(consul).replace('check_interval = "2s"', 'check_interval = "10m"')
    with StockService(rarely_checked) as first, StockService(rarely_checked) as second:
        async with open_services(source="consul", consul=consul.url, restart_grace="1h") as directory:
            assert await wait_instances(directory, 2) == sorted([first.url, second.url])
            consul.kill()
            await wait_until(consul.start)
            await wait_until(lambda: "critical" in checks(consul, "inventory").values())
            with StockService(registered_toml(consul)) as third:  # a later state of Consul than that of the checks
                assert await wait_instances(directory, 3) == sorted([first.url, second.url, third.url])


@pytest.mark.parametrize(
    "failure", ["check/fail/service:{id}", "service/maintenance/{id}?enable=true"], ids=["ttl", "maintenance"]
)
async def test_an_instance_with_a_failed_check_without_output_is_removed(shared: Consul, failure: str) -> None:
    name = f"silent-{failure.partition('/')[0]}"
    definition = {"ID": name, "Name": name, "Address": HOST, "Port": 9, "Check": {"TTL": "1h", "Status": "passing"}}
    ask(shared.port, "PUT", "/v1/agent/service/register", json.dumps(definition))
    async with open_services(source="consul", consul=shared.url, restart_grace="1h") as directory:
        assert len(await wait_instances(directory, 1, name)) == 1
        ask(shared.port, "PUT", f"/v1/agent/{failure.format(id=name)}")
        assert await wait_instances(directory, 0, name) == []


async def test_a_check_that_a_restarted_agent_does_not_run_counts_after_restart_grace(consul: Consul) -> None:
    rarely_checked = registered_toml(consul).replace('check_interval = "2s"', 'check_interval = "10m"')
    with StockService(rarely_checked) as first:
        async with open_services(source="consul", consul=consul.url, restart_grace="1s") as directory:
            assert await wait_instances(directory, 1) == [first.url]
            consul.kill()
            await wait_until(consul.start)
            assert await wait_instances(directory, 0) == []


async def test_after_consul_lost_its_state_the_service_registers_again_and_the_watch_restarts_at_index_0(
    consul: Consul,
) -> None:
    with StockService(registered_toml(consul)) as service:
        async with open_services(source="consul", consul=consul.url) as directory:
            assert await wait_instances(directory, 1) == [service.url]
            for number in range(50):  # raises the index far above that of a new Consul
                ask(consul.port, "PUT", f"/v1/kv/{number}", "x")
            consul.kill()
            await asyncio.to_thread(consul.box.run, "rm", "-rf", f"{consul.box.directory}/data")
            await wait_until(consul.start)
            await wait_until(lambda: passing(consul, "inventory"))
            service.signal(signal.SIGTERM)
            assert await wait_instances(directory, 0) == []


async def test_a_start_without_consul_uses_the_cached_instances(consul: Consul, tmp_path: Path) -> None:
    cache_dir = str(tmp_path / "cache")
    with StockService(registered_toml(consul)) as service:
        async with open_services(source="consul", consul=consul.url, cache_dir=cache_dir) as directory:
            assert await wait_instances(directory, 1) == [service.url]
        consul.kill()
        async with open_services(source="consul", consul=consul.url, cache_dir=cache_dir) as directory:
            async with directory.client("inventory").get("/stock") as response:
                assert response.status == 200
            with pytest.raises(Unavailable, match=r"no instance is known: Consul at .* is unavailable"):
                await directory.client("unheard of").get("/")


async def test_a_call_without_healthy_instance_fails_at_once(shared: Consul) -> None:
    async with open_services(source="consul", consul=shared.url) as directory:
        assert await directory.instances("nothing") == ()
        with pytest.raises(Unavailable, match=r"^nothing: Consul at .* has no healthy instance$"):
            await directory.client("nothing").get("/")


@pytest.mark.parametrize(
    ("index", "latest", "next_one"), [(0, 7, 7), (7, 7, 7), (7, 9, 9), (9, 7, 0), (9, 0, 0), (0, 0, 0)]
)
def test_an_index_that_goes_back_restarts_at_0(index: int, latest: int, next_one: int) -> None:
    assert next_index(index, latest) == next_one

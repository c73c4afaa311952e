"""Registration and watches on a real Consul."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scalekit.contracts import Services
from scalekit.errors import Unavailable
from scalekit_discovery.consul.source import following
from tests.discovery.harness import Load, Stock, found, registered, services, until
from tests.processes import HOST, wait_for
from tests.servers import Consul, ask
from tests.workers import Supervised, wait_for_new_workers, workers_of

pytestmark = [pytest.mark.anyio, pytest.mark.needs("consul")]


@pytest.fixture(scope="module")
def shared() -> Iterator[Consul]:
    """For tests that leave it running, each with a service of another name."""
    with Consul() as consul:
        yield consul


@pytest.fixture
def consul() -> Iterator[Consul]:
    with Consul() as consul:
        yield consul


def entries(consul: Consul, name: str) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = json.loads(ask(consul.port, "GET", f"/v1/health/service/{name}"))
    return answer


def passing(consul: Consul, name: str) -> list[str]:
    answer = json.loads(ask(consul.port, "GET", f"/v1/health/service/{name}?passing=1"))
    return sorted(entry["Service"]["ID"] for entry in answer)


def checks(consul: Consul, name: str) -> dict[str, str]:
    return {check["CheckID"]: check["Status"] for entry in entries(consul, name) for check in entry["Checks"]}


def outputs(consul: Consul, identifier: str) -> str:
    """Return what the agent's check of the instance said last; the servers are told of that only now and then."""
    output: str = json.loads(ask(consul.port, "GET", "/v1/agent/checks"))[f"service:{identifier}"]["Output"]
    return output


def wait_until_registered(consul: Consul, name: str, count: int = 1) -> list[str]:
    def all_there() -> list[str]:
        ids = passing(consul, name)
        return ids if len(ids) == count else []

    return wait_for("the registration", all_there)


def test_a_service_is_registered_with_what_the_file_says(shared: Consul) -> None:
    more = 'tags = ["eu", "blue"]\nmeta = {version = "1.4"}\nweight = 7'
    with Stock(registered(shared, more=more, service="told")) as service:
        (identifier,) = wait_until_registered(shared, "told")
        assert identifier == f"told-127.0.0.1-{service.port}"
        (entry,) = entries(shared, "told")
        assert entry["Service"]["Tags"] == ["eu", "blue"]
        assert entry["Service"]["Meta"] == {"version": "1.4"}
        assert entry["Service"]["Weights"]["Passing"] == 7
        assert (entry["Service"]["Address"], entry["Service"]["Port"]) == ("127.0.0.1", service.port)
        wait_for("Consul to ask it", lambda: f"HTTP GET {service.url}/health/ready: 200" in outputs(shared, identifier))


def test_draining_is_maintenance_and_the_end_deregisters(shared: Consul) -> None:
    with Stock(registered(shared, server='graceful_timeout = "20s"', service="ending")) as service:
        (identifier,) = wait_until_registered(shared, "ending")
        service.signal(signal.SIGTERM)
        wait_for("maintenance", lambda: f"_service_maintenance:{identifier}" in checks(shared, "ending"))
        assert service.get("/count") == "0"  # it still serves whoever has not noticed
        assert service.wait() == 0
        assert entries(shared, "ending") == []


def test_what_consul_forgot_is_registered_anew(shared: Consul) -> None:
    with Stock(registered(shared, service="forgotten")):
        (identifier,) = wait_until_registered(shared, "forgotten")
        ask(shared.port, "PUT", f"/v1/agent/service/deregister/{identifier}")
        assert wait_until_registered(shared, "forgotten") == [identifier]


def test_a_ttl_check_passes_while_the_service_says_so_and_fails_when_it_hangs(shared: Consul) -> None:
    with Stock(registered(shared, more='check = "ttl"', service="ticking")) as service:
        wait_until_registered(shared, "ticking")
        service.pause()
        wait_for("silence to be noticed", lambda: passing(shared, "ticking") == [])
        service.resume()
        wait_until_registered(shared, "ticking")


def test_workers_are_one_instance_that_neither_a_crash_nor_a_reload_moves(shared: Consul) -> None:
    toml = registered(shared, server="workers = 2", service="many")
    with Supervised(toml) as service:
        (identifier,) = wait_until_registered(shared, "many")
        index = index_of(shared, identifier)
        for pid in workers_of(service):
            os.kill(pid, signal.SIGKILL)
            wait_for("another worker", partial(replaced, service, pid))
        old = workers_of(service)
        service.signal(signal.SIGHUP)
        wait_for_new_workers(service, old, 2)
        wait_for("a worker to take over", lambda: service.log().count("registered as") >= 2)
        assert passing(shared, "many") == [identifier]
        assert index_of(shared, identifier) == index, "the registration was changed or came anew"
        service.signal(signal.SIGTERM)
        wait_for("maintenance", lambda: f"_service_maintenance:{identifier}" in checks(shared, "many"))
        assert service.wait() == 0
        assert entries(shared, "many") == []


def replaced(service: Supervised, pid: int) -> bool:
    now = workers_of(service)
    return len(now) == 2 and pid not in now


def index_of(consul: Consul, identifier: str) -> int:
    """Return when the instance was registered, by Consul's index, which a registration that was gone does not keep."""
    (entry,) = entries(consul, "many")
    assert entry["Service"]["ID"] == identifier
    return int(entry["Service"]["CreateIndex"])


async def test_instances_come_and_go_as_consul_says(shared: Consul) -> None:
    async with services(source="consul", consul=shared.url) as live:
        assert await live.instances("moving") == ()
        with Stock(registered(shared, service="moving")) as first:
            assert await found(live, 1, "moving") == [first.url]
            second = Stock(registered(shared, service="moving"))
            await asyncio.to_thread(second.__enter__)
            try:
                assert await found(live, 2, "moving") == sorted([first.url, second.url])
                second.signal(signal.SIGTERM)
                assert await found(live, 1, "moving") == [first.url]
            finally:
                second.__exit__(None, None, None)


async def test_calls_go_on_while_consul_is_killed_and_when_it_comes_back(consul: Consul) -> None:
    with Stock(registered(consul)) as first, Stock(registered(consul)) as second:
        async with services(source="consul", consul=consul.url) as live:
            assert await found(live, 2) == sorted([first.url, second.url])
            load = Load(live.client("inventory"))
            async with load.running():
                await load.wait_for_pids(2)
                consul.kill()
                await load.go_on_for(300)
                await until(consul.start)
                await until(lambda: len(passing(consul, "inventory")) == 2)
                await load.go_on_for(300)
            assert load.errors == []
            assert await live.instances("inventory")
            # and what happens from then on is noticed
            second.signal(signal.SIGTERM)
            assert await found(live, 1) == [first.url]


class Talkative(Consul):
    """A Consul that logs what it is asked."""

    def command(self) -> list[object]:
        return [*super().command(), "-log-level=debug"]

    def asked(self, name: str, way: str) -> int:
        """Return how often it was asked for instances of the service *name* in this *way*."""
        logged = "".join(path.read_text() for path in self.box.directory.glob("*.log"))
        return len(re.findall(rf"/v1/health/service/{name}\?\S*\b{way}\b", logged))


async def test_a_consul_that_is_still_reading_what_it_kept_takes_nobody_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    def told(text: str, times: int) -> bool:
        return caplog.text.count(text) == times

    with Talkative() as consul, Stock(registered(consul)) as service:
        async with services(source="consul", consul=consul.url) as live:
            assert await found(live, 1) == [service.url]
            for number in range(2000):
                ask(consul.port, "PUT", f"/v1/kv/{number}", "x" * 1000)
            watching = asyncio.create_task(lost(live))
            for times in range(3):
                assert consul.asked("inventory", "consistent") == times
                consul.kill()
                await until(partial(told, "cannot be asked", times + 1))
                await until(consul.start)
                await until(lambda: passing(consul, "inventory"))
                await until(partial(is_asked_again, consul, times))
                await until(partial(told, "answers again about", times + 1))
            assert not watching.done()
            watching.cancel()


def is_asked_again(consul: Talkative, times: int) -> bool:
    return consul.asked("inventory", "consistent") > times


async def lost(live: Services) -> None:
    """Wait until the service has no instance."""
    async for instances in live.watch("inventory"):
        if not instances:
            return


async def test_checks_that_a_restarted_agent_has_not_run_yet_take_nobody_out(consul: Consul) -> None:
    seldom = registered(consul).replace('check_interval = "2s"', 'check_interval = "10m"')
    with Stock(seldom) as first, Stock(seldom) as second:
        async with services(source="consul", consul=consul.url, restart_grace="1h") as live:
            assert await found(live, 2) == sorted([first.url, second.url])
            consul.kill()
            await until(consul.start)
            await until(lambda: "critical" in checks(consul, "inventory").values())
            with Stock(registered(consul)) as third:  # when it is seen, so are the checks
                assert await found(live, 3) == sorted([first.url, second.url, third.url])


@pytest.mark.parametrize(
    "failure", ["check/fail/service:{id}", "service/maintenance/{id}?enable=true"], ids=["ttl", "maintenance"]
)
async def test_an_instance_that_fails_its_check_without_a_note_gets_no_more_calls(shared: Consul, failure: str) -> None:
    name = f"silent-{failure.partition('/')[0]}"
    definition = {"ID": name, "Name": name, "Address": HOST, "Port": 9, "Check": {"TTL": "1h", "Status": "passing"}}
    ask(shared.port, "PUT", "/v1/agent/service/register", json.dumps(definition))
    async with services(source="consul", consul=shared.url, restart_grace="1h") as live:
        assert len(await found(live, 1, name)) == 1
        ask(shared.port, "PUT", f"/v1/agent/{failure.format(id=name)}")
        assert await found(live, 0, name) == []


async def test_a_check_that_a_restarted_agent_does_not_run_counts_when_the_grace_is_over(consul: Consul) -> None:
    seldom = registered(consul).replace('check_interval = "2s"', 'check_interval = "10m"')
    with Stock(seldom) as first:
        async with services(source="consul", consul=consul.url, restart_grace="1s") as live:
            assert await found(live, 1) == [first.url]
            consul.kill()
            await until(consul.start)
            assert await found(live, 0) == []


async def test_a_consul_that_lost_everything_is_told_again_and_asked_from_the_beginning(consul: Consul) -> None:
    with Stock(registered(consul)) as service:
        async with services(source="consul", consul=consul.url) as live:
            assert await found(live, 1) == [service.url]
            for number in range(50):  # so that the index is far beyond that of a new Consul
                ask(consul.port, "PUT", f"/v1/kv/{number}", "x")
            consul.kill()
            await asyncio.to_thread(consul.box.run, "rm", "-rf", f"{consul.box.directory}/data")
            await until(consul.start)
            await until(lambda: passing(consul, "inventory"))
            service.signal(signal.SIGTERM)
            assert await found(live, 0) == []


async def test_a_start_without_consul_finds_what_was_kept(consul: Consul, tmp_path: Path) -> None:
    keep = str(tmp_path / "kept")
    with Stock(registered(consul)) as service:
        async with services(source="consul", consul=consul.url, keep=keep) as live:
            assert await found(live, 1) == [service.url]
        consul.kill()
        async with services(source="consul", consul=consul.url, keep=keep) as live:
            async with live.client("inventory").get("/stock") as answer:
                assert answer.status == 200
            with pytest.raises(Unavailable, match=r"no instance is known: Consul at .* cannot be asked"):
                await live.client("unheard of").get("/")


async def test_no_healthy_instance_is_a_clear_error_at_once(shared: Consul) -> None:
    async with services(source="consul", consul=shared.url) as live:
        assert await live.instances("nothing") == ()
        with pytest.raises(Unavailable, match=r"^nothing: Consul at .* knows no healthy instance$"):
            await live.client("nothing").get("/")


@pytest.mark.parametrize(
    ("index", "latest", "next_one"), [(0, 7, 7), (7, 7, 7), (7, 9, 9), (9, 7, 0), (9, 0, 0), (0, 0, 0)]
)
def test_an_index_that_goes_back_begins_anew(index: int, latest: int, next_one: int) -> None:
    assert following(index, latest) == next_one

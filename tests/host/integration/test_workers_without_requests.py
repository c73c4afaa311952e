"""Processes that run plugins and serve no requests."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from scalekit import Key, Lifespan, create_app
from scalekit.config.tables import Server
from scalekit.errors import ConfigError
from scalekit.runner.server.listeners import listen
from scalekit.runner.workers.worker_args import WorkerArgs
from scalekit.start_order import with_dependencies
from scalekit.testing import running
from tests.processes import HOST, free_ports

pytestmark = pytest.mark.anyio

ONE: Key[int] = Key("one")
TWO: Key[int] = Key("two")


@asynccontextmanager
async def nothing():  # type: ignore[no-untyped-def]
    yield


def test_selected_plugins_include_their_dependencies_and_exporters() -> None:
    lifespans = {
        "giver": Lifespan(nothing, provides=(ONE,)),
        "user": Lifespan(nothing, provides=(TWO,), requires=(ONE,)),
        "follower": Lifespan(nothing, after=(TWO, Key("without provider"))),
        "log": Lifespan(nothing, outermost=True),
        "export": Lifespan(nothing, series_budget=10),
        "other": Lifespan(nothing, after=(ONE,)),
    }
    assert list(with_dependencies(lifespans, ["giver"])) == ["giver", "log", "export"]
    assert list(with_dependencies(lifespans, ["follower"])) == ["giver", "user", "follower", "log", "export"]


def test_a_worker_without_requests_listens_only_on_the_management_address() -> None:
    assert listen(Server(role="worker")) == []
    (management,) = free_ports(1)
    (only,) = listen(Server(role="worker", management_address=f"{HOST}:{management}"))
    with only:
        assert only.getsockname()[1] == management
    assert WorkerArgs.read(str(WorkerArgs("1", 5, 6, ()))) == WorkerArgs("1", 5, 6, ())


async def test_a_worker_without_requests_has_no_application_and_only_selected_plugins() -> None:
    file = {"server": {"role": "worker"}, "plugins": {"visits": {}, "metrics": {}, "cache": {}}}
    host = create_app(file, only=["cache"])
    async with running(host):
        assert host.settings.plugins.names == ["cache", "metrics"]
        assert set(host.start_order) == {"cache", "metrics"}
        assert not {link.owner for link in host.links} & {"visits"}


def test_a_selected_plugin_that_is_not_enabled_is_reported() -> None:
    with pytest.raises(ConfigError, match="is not turned on, but --only wants it"):
        create_app({"server": {"role": "worker"}, "plugins": {"metrics": {}}}, only=["cash"])

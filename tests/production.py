"""The sample application with all its servers on this machine: ``make production``, or with PostgreSQL only.

Every server runs on a free port of the loopback address, in a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from tests.processes import HOST, family, wait_for
from tests.servers import Consul, Nginx, Postgres, RabbitMQ, Redis, RedisCluster, Server, ask, find, missing

FOLDER = Path(__file__).parent.parent / "sample_app"
NEEDED = ("consul", "nginx", "postgres", "rabbitmq", "redis")


class Instance(Server):
    """``scalekit run`` of a *file* of the sample, with addresses in *environment*."""

    name = "sample"
    death_signal = signal.SIGTERM  # a killed supervisor would leave its workers running

    def __init__(
        self, file: str, port_name: str, environment: Mapping[str, str], overrides: Sequence[str] = ()
    ) -> None:
        self.file = FOLDER / file
        self.port_name = port_name
        self.environment = environment
        self.options = [part for override in overrides for part in ("--set", override)]

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def prepare(self) -> None:
        self.box.environment |= {**self.environment, self.port_name: str(self.port)}

    def command(self) -> list[object]:
        return [sys.executable, "-m", "scalekit", "run", self.file, *self.options]

    def is_ready(self) -> bool:
        return ask(self.port, "GET", "/health/ready") == '{"status":"ready"}'


class Proxy(Nginx):
    """nginx with the configuration that ``scalekit nginx config --watch --reload`` updates."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__()
        self.environment = environment

    def prepare(self) -> None:
        here = {"NGINX_PORT": str(self.port), "NGINX_DIRECTORY": str(self.box.directory)}
        self.box.environment |= {**self.environment, **here}
        file = FOLDER / "production.toml"
        command = [sys.executable, "-m", "scalekit", "nginx", "config", "-c", file, "--output", "nginx.conf"]
        # Only the owner may write to the folder: workers of another user could not buffer large bodies there.
        user = ["--set", "plugins.nginx.user=root"] if os.geteuid() == 0 else []
        self.watcher = self.box.spawn(*command, *user, "--watch", "--reload", log="watcher.log")
        wait_for("a configuration", (self.box.directory / "nginx.conf").exists, self.watcher)

    def command(self) -> list[object]:
        folder = self.box.directory
        return [find("nginx"), "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"]

    def is_ready(self) -> bool:
        return len(family(self.process.pid)) > 1 and ask(self.port, "GET", "/health/ready") == '{"status":"ready"}'


class Servers:
    """The servers that the instances use."""

    def __init__(self) -> None:
        self.database, self.redis, self.cluster = Postgres(), Redis(), RedisCluster()
        self.rabbit, self.consul = RabbitMQ(), Consul()
        self.standby = self.database.replica("standby")

    def start(self, stack: ExitStack) -> dict[str, str]:
        """Start the servers concurrently and return their addresses as environment variables."""
        _enter_all(stack, [self.database, self.redis, self.cluster, self.rabbit, self.consul])
        stack.enter_context(self.standby)
        nodes = ",".join(url.removeprefix("redis://").partition("/")[0] for url in self.cluster.urls)
        return {
            "DATABASE_URL": self.database.url,
            "REPLICA_URL": self.standby.url,
            "REPLICA_SECRET": secrets.token_urlsafe(32),
            "REDIS_URL": self.redis.url,
            "REDIS_CLUSTER_URL": f"redis-cluster://{nodes}",
            "REDIS_CLUSTER_NODES": nodes,
            "JWT_SECRET": secrets.token_urlsafe(32),
            "AMQP_URL": self.rabbit.url,
            "CONSUL_HTTP_ADDR": self.consul.url,
        }


class Production:
    """All servers, two instances of the sample and one of the inventory behind nginx.

    *overrides* are keys of the sample's file, as after ``--set``.
    """

    def __init__(self, *overrides: str) -> None:
        self.overrides = overrides
        self.servers = Servers()
        self.instances: list[Instance] = []
        self._exit = ExitStack()

    def __enter__(self) -> Production:
        with ExitStack() as stack:
            environment = self.servers.start(stack)
            inventory = Instance("production_inventory.toml", "INVENTORY_PORT", environment)
            first, second = (Instance("production.toml", "PORT", environment, self.overrides) for _ in range(2))
            _enter_all(stack, [inventory, first])
            stack.enter_context(second)  # when the tables exist
            self.inventory, self.instances = inventory, [first, second]
            consul = int(environment["CONSUL_HTTP_ADDR"].rpartition(":")[2])
            wait_for(
                "the registrations in Consul",
                lambda: _registered(consul, "sample") == 2 and _registered(consul, "inventory"),
            )
            self.proxy = stack.enter_context(Proxy(environment))
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        for each in (*self.instances, self.inventory):
            each.process.send_signal(signal.SIGINT)  # ends at once; SIGTERM waits for drain_delay
        self._exit.__exit__(*error)

    @property
    def url(self) -> str:
        return self.proxy.url


class OneDatabase:
    """PostgreSQL, one instance of the sample that uses no other server, and one of the inventory.

    *overrides* are keys of the sample's file, as after ``--set``.
    """

    def __init__(self, *overrides: str) -> None:
        self.overrides = overrides
        self._exit = ExitStack()

    def __enter__(self) -> OneDatabase:
        with ExitStack() as stack:
            self.database = stack.enter_context(Postgres())
            self.inventory = stack.enter_context(Instance("inventory.toml", "INVENTORY_PORT", {}))
            environment = {
                "DATABASE_URL": self.database.url,
                "JWT_SECRET": secrets.token_urlsafe(32),
                "INVENTORY_PORT": str(self.inventory.port),
            }
            self.instance = stack.enter_context(Instance("one_database.toml", "PORT", environment, self.overrides))
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        for each in (self.instance, self.inventory):
            each.process.send_signal(signal.SIGINT)
        self._exit.__exit__(*error)

    @property
    def url(self) -> str:
        return self.instance.url


def _enter_all(stack: ExitStack, servers: list[Any]) -> None:
    with ThreadPoolExecutor(len(servers)) as pool:
        started = [pool.submit(stack.enter_context, server) for server in servers]
    for each in started:
        each.result()


def _registered(consul: int, name: str) -> int:
    return ask(consul, "GET", f"/v1/health/service/{name}?passing=1").count('"Checks"')


class Setup(NamedTuple):
    """A way to run the sample: what to start, the servers that must be installed, and their names."""

    start: type[Production | OneDatabase]
    needed: Sequence[str]
    servers: str


SETUPS = {
    "all": Setup(Production, NEEDED, "PostgreSQL with a standby, Redis, a Redis Cluster, RabbitMQ, Consul"),
    "one_database": Setup(OneDatabase, ("postgres",), "PostgreSQL"),
}


def main() -> int:
    """Run until a signal ends it."""
    parser = argparse.ArgumentParser(prog="make production", description=__doc__)
    parser.add_argument("--on", choices=SETUPS, default="all", help="the servers that the sample uses")
    setup = SETUPS[parser.parse_args().on]
    if absent := missing(*setup.needed):
        print(f"not installed: {', '.join(absent)}; run tests/install_servers.sh", file=sys.stderr)
        return 1
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    print(f"starting {setup.servers} ...", flush=True)
    with setup.start() as production:
        print(f"the sample application is on {production.url}", flush=True)
        print(f"try: curl {production.url}/ which shows how to log in", flush=True)
        print("Ctrl-C ends it all", flush=True)
        over.wait()
        print("stopping", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

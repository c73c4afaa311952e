"""The sample application as in production, with all that can fail there."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.drill.fault_runner import Found, drill, written
from tests.drill.faults import (
    DATA,
    DiskFull,
    Fault,
    Killed,
    MasterKilled,
    Paused,
    Restarted,
    SlowClients,
    WorkerKilled,
)
from tests.drill.load import Load
from tests.load.sample import UNLIMITED
from tests.processes import Box, wait_for
from tests.production import Instance, Production
from tests.servers import ask

WORKERS = 2
UNCOUNTED = "SELECT (SELECT count(*) FROM items) - (SELECT items FROM stats)"


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a file system of 16 MiB at *folder*; requires root, otherwise *folder* is a normal folder."""
    folder.mkdir()
    if os.geteuid() != 0:
        yield folder
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@dataclass(frozen=True)
class Setting:
    """The production setup, and where its log is."""

    production: Production
    disk: Path
    box: Box

    @property
    def url(self) -> str:
        return self.production.url

    def troubles(self) -> set[str]:
        """Return the failed checks of the health pages of all instances."""
        return set().union(*map(_troubles, self.production.instances))

    def faults(self) -> list[Fault]:
        """Return the faults of this environment, in the order of the drill."""
        servers, busy = self.production.servers, 50
        addresses = (self.url, self.production.instances[0].url)
        full = DiskFull("the disk of the log is full", self.disk, shows="logging")
        return [
            Killed("Redis is killed", servers.redis, shows="ratelimit"),
            Paused("Redis is paused", servers.redis, shows="ratelimit"),
            Restarted("Redis is restarted", servers.redis, shows="ratelimit"),
            MasterKilled("a master of the cluster is killed", servers.cluster, shows="cluster-cache"),
            Killed("the replica is killed", servers.standby, shows="replica"),
            Restarted("the primary is restarted", servers.database, takes=DATA, shows="pool"),
            Killed("RabbitMQ is killed", servers.rabbit, shows="queue"),
            Killed("Consul is killed", servers.consul, shows="discovery"),
            WorkerKilled("a worker is killed", self.production.instances[0], WORKERS, cuts=busy),
            *([full] if self.disk.is_mount() else []),
            SlowClients("clients send slow heads", addresses, ("-H",), self.box),
            SlowClients("clients send slow bodies", addresses, ("-B", "-s", 8192), self.box),
        ]

    def lost_rows(self, items: set[str]) -> int:
        """Return the number of *items* that are missing although their write was confirmed."""
        rows = self.production.servers.database.sql("SELECT name FROM items WHERE name LIKE 'drill-%'").split()
        return len(items - set(rows))

    def lost_messages(self, before: int) -> int:
        """Return how many rows no consumer has counted, besides those *before*; less than 0 are counted too often.

        While rows are being added, some are not counted yet: the result is the minimum of several measurements.
        """
        database = self.production.servers.database
        seen: list[int] = []

        def nothing_more() -> bool:
            seen.append(int(database.sql(UNCOUNTED)) - before)
            return seen[-1] == 0

        try:
            wait_for("consumers", nothing_more)
        except TimeoutError:
            return min(seen, key=abs)
        return 0


@contextmanager
def setting() -> Generator[Setting, None, None]:
    """Start and stop all servers."""
    with Box("drill") as box, small_disk(box.directory / "logs") as disk:
        log = (f"plugins.logging.directory={disk}", "plugins.logging.max_size=1MiB", "plugins.logging.backup_count=3")
        with Production(f"server.workers={WORKERS}", *UNLIMITED, *log, "health.check_interval=1s") as production:
            yield Setting(production, disk, box)


def drilled(hold: float, rate: int) -> Found:
    """Start all servers, inject each fault for *hold* seconds at *rate* requests per second, and count losses."""
    with setting() as place, Load(rate, 3600) as load:
        load.start(place.url)
        outcomes = drill(place.faults(), load, hold, place)
        page = load.finish().read_text()
        confirmed = written(load.responses)
        return Found(outcomes, len(confirmed), place.lost_rows(confirmed), place.lost_messages(0), page)


def _troubles(instance: Instance) -> set[str]:
    try:
        page = json.loads(ask(instance.port, "GET", "/health"))
    except OSError as error:  # 503, with the same page
        page = json.loads(str(error).partition(" 503 ")[2] or '{"checks": {}}')
    checks = page["checks"].items()
    return {f"{name} {check['status']}" for name, check in checks if check["status"] != "healthy"}

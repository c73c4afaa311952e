"""The sample application as in production, on real servers that belong to the drill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.drill.faults import DATA, DiskFull, Fault, Killed, Restarted, SlowClients, WorkerKilled
from tests.processes import Box
from tests.servers import Nginx, Postgres, Server, ask
from tests.service import ROOT

FILE = Path(os.environ.get("DRILL_FILE", ROOT / "sample_app/production.toml"))
WORKERS = 2


class Instance(Server):
    """``scalekit run`` with the file for production, and the environment that it names."""

    name = "instance"
    start_limit = 60.0

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment

    @property
    def pid(self) -> int:
        return self.process.pid

    def command(self) -> list[object]:
        self.box.environment |= {**self.environment, "PORT": str(self.port), "PYTHONPATH": f"{ROOT}:{FILE.parent}"}
        return [sys.executable, "-m", "scalekit", "run", FILE, "--set", f"server.workers={WORKERS}"]

    def answers(self) -> bool:
        return ask(self.port, "GET", "/health/ready") == '{"status":"ready"}'

    def troubles(self) -> set[str]:
        """Return what the health page says is wrong."""
        try:
            page = json.loads(ask(self.port, "GET", "/health"))
        except OSError as error:
            page = json.loads(str(error).partition(" 503 ")[2] or '{"checks": {}}')
        checks = page["checks"].items()
        return {f"{name} {check['status']}" for name, check in checks if check["status"] != "healthy"}


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a disk of 16 MiB at *folder*; only root can."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@dataclass(frozen=True)
class Production:
    """Two instances behind nginx, with all servers that they use."""

    primary: Postgres
    replica: Server
    instances: list[Instance]
    nginx: Nginx
    disk: Path
    box: Box

    @property
    def url(self) -> str:
        return self.nginx.url

    def troubles(self) -> set[str]:
        """Return what the health pages of the instances say is wrong."""
        return set().union(*(instance.troubles() for instance in self.instances))

    def faults(self) -> list[Fault]:
        """Return what can go wrong here, in the order of the drill."""
        busy = 50
        return [
            Killed("the replica is killed", self.replica),
            Restarted("the primary is restarted", self.primary, DATA),
            WorkerKilled("a worker is killed", self.instances[0], WORKERS, cuts=busy),
            DiskFull("the disk of the log is full", self.disk),
            SlowClients("clients send slow heads", self.url, ("-H",), self.box),
            SlowClients("clients send slow bodies", self.url, ("-B", "-s", 8192), self.box),
        ]

    def rows(self) -> set[str]:
        """Return the names of the rows that the load wrote."""
        return set(self.primary.sql("SELECT name FROM items WHERE name LIKE 'drill-%'").split())


@contextmanager
def production() -> Generator[Production, None, None]:
    """Start everything, and end it."""
    with ExitStack() as stack:
        box = stack.enter_context(Box("drill"))
        disk = stack.enter_context(small_disk(box.directory / "logs"))
        primary = stack.enter_context(Postgres("max_connections=100"))
        replica = stack.enter_context(primary.replica("r1"))
        environment = {
            "DATABASE_URL": primary.url,
            "REPLICA_URL": replica.url,
            "REPLICA_SECRET": "one secret for the length of a drill",
            "LOG_DIRECTORY": str(disk),
        }
        instances = [stack.enter_context(Instance(environment)) for _ in range(2)]
        nginx = stack.enter_context(Nginx(*(instance.port for instance in instances)))
        yield Production(primary, replica, instances, nginx, disk, box)
